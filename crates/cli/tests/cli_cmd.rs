//! Every command as a person types it, with what it prints and how it ends.
//!
//! The cases are in `tests/cmd`, with a Unix system's words for its errors; `TRYCMD=overwrite` writes what the commands
//! print now. The keys there are for these cases only.

#![cfg(unix)]

#[test]
fn commands_print_what_their_cases_say() {
    let cases = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cmd"));
    forbid_others_to_write(cases);
    trycmd::TestCases::new().env("NO_COLOR", "1").env("CAPISCIO_API_KEY", "").case("tests/cmd/*.trycmd");
}

/// A checkout under another umask leaves configurations that their group can write, which are refused.
fn forbid_others_to_write(folder: &std::path::Path) {
    #[cfg(unix)]
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = entry.path();
        if path.is_dir() {
            forbid_others_to_write(&path);
        } else if let Ok(metadata) = path.metadata() {
            let mode = metadata.permissions().mode() & !0o022;
            let _ = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        }
    }
    let _ = folder;
}
