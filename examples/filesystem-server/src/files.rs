//! Small files of the program, secrets among them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rmcp_guard::identity::key::MAX_PEM_BYTES;
use zeroize::Zeroizing;

/// A private key's text; refused if others than its owner can read the file.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>> {
    let read = || {
        let file = File::open(path)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = file.metadata()?.permissions().mode();
            ensure!(mode & 0o066 == 0, "others than its owner can use it; run `chmod go= {}`", path.display());
        }
        let mut text = Zeroizing::new(String::with_capacity(MAX_PEM_BYTES));
        file.take(u64::try_from(MAX_PEM_BYTES)?).read_to_string(&mut text)?;
        Ok(text)
    };
    read().with_context(|| format!("reading {}", path.display()))
}

/// A new directory that only its owner can look into, from the moment it exists.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// A new file that only its owner can read, from the moment it exists.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}
