//! The part of a guard's configuration file that says whom it trusts.

use std::path::{Path, PathBuf};

use rmcp_guard::enforce::GuardConfig;
use rmcp_guard::evidence::EvidenceLog;
use rmcp_guard::identity::did::Did;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use crate::exit::{Exit, Failure};
use crate::files;

const ISSUER: &str = "issuer";
const HOLDERS: &str = "trusted_self_signed";

/// An `[[issuer]]` table.
pub(super) struct Entry {
    pub(super) origin: String,
    pub(super) jwks_file: Option<String>,
    pub(super) discover: bool,
    pub(super) max_level: Option<u8>,
    pub(super) subjects: Option<Vec<String>>,
    pub(super) additional: bool,
}

/// A configuration file under the hand of its owner.
pub(super) struct TrustFile {
    path: PathBuf,
    document: DocumentMut,
    /// As it was read, to see whether somebody else changed it meanwhile; `None` for a file that is yet to be.
    before: Option<String>,
}

impl TrustFile {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let text = files::read_trusted(path)?;
        let document = text.parse().map_err(|error: toml_edit::TomlError| {
            // The error's own text quotes the line, which may be one that holds a secret by mistake.
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.split('\n').count());
            files::about(path, &format_args!("line {line}: is not TOML: {}", error.message()))
        })?;
        Ok(Self { path: path.to_owned(), document, before: Some(text) })
    }

    pub(super) fn open_or_new(path: &Path) -> Result<Self, Failure> {
        if path.try_exists().is_ok_and(|exists| !exists) {
            return Ok(Self { path: path.to_owned(), document: DocumentMut::new(), before: None });
        }
        Self::open(path)
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The file that `name` in this file means.
    pub(super) fn resolve(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// How this file names `path`: paths in it start at its own directory.
    pub(super) fn relative(&self, path: &Path) -> Result<String, Failure> {
        let absolute = std::path::absolute(path).map_err(|error| files::about(path, &error))?;
        let folder = std::path::absolute(self.folder().join("x")).map_err(|error| files::about(&self.path, &error))?;
        let inside = folder.parent().and_then(|folder| absolute.strip_prefix(folder).ok());
        let name = inside.unwrap_or(&absolute).to_str();
        name.map(str::to_owned).ok_or_else(|| files::about(path, &"its name is not UTF-8"))
    }

    pub(super) fn issuers(&self) -> impl Iterator<Item = Entry> {
        self.tables().map(|table| {
            let text = |name| table.get(name).and_then(Item::as_str).map(str::to_owned);
            let flag = |name| table.get(name).and_then(Item::as_bool).unwrap_or(false);
            Entry {
                origin: text("origin").unwrap_or_default(),
                jwks_file: text("jwks_file"),
                discover: flag("discover"),
                max_level: table.get("max_level").and_then(Item::as_integer).and_then(|level| u8::try_from(level).ok()),
                subjects: table.get("subjects").and_then(Item::as_array).map(|subjects| texts(subjects).collect()),
                additional: flag("additional"),
            }
        })
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.document.get(ISSUER).and_then(Item::as_array_of_tables).into_iter().flat_map(ArrayOfTables::iter)
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = String> {
        self.document.get(HOLDERS).and_then(Item::as_array).into_iter().flat_map(texts)
    }

    /// Refuses an issuer that is listed already.
    pub(super) fn check_new(&self, origin: &str) -> Result<(), Failure> {
        if self.issuers().any(|entry| entry.origin == origin) {
            return Err(files::about(&self.path, &format_args!("{origin} is listed already; remove it first"))
                .with_exit(Exit::Failed));
        }
        Ok(())
    }

    pub(super) fn add_issuer(&mut self, entry: &Entry) -> Result<(), Failure> {
        self.check_new(&entry.origin)?;
        let mut table = Table::new();
        table.insert("origin", value(entry.origin.as_str()));
        if let Some(file) = &entry.jwks_file {
            table.insert("jwks_file", value(file.as_str()));
        }
        if entry.discover {
            table.insert("discover", value(true));
        }
        if let Some(level) = entry.max_level {
            table.insert("max_level", value(i64::from(level)));
        }
        if let Some(subjects) = &entry.subjects {
            table.insert("subjects", value(subjects.iter().map(String::as_str).collect::<Array>()));
        }
        if entry.additional {
            table.insert("additional", value(true));
        }
        let item = self.document.entry(ISSUER).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        let Some(tables) = item.as_array_of_tables_mut() else {
            return Err(files::about(&self.path, &"`issuer` is not a list of tables; write `[[issuer]]` for each"));
        };
        tables.push(table);
        Ok(())
    }

    pub(super) fn add_holder(&mut self, did: &Did) -> Result<(), Failure> {
        if self.holders().any(|holder| holder == did.as_str()) {
            return Err(files::about(&self.path, &format_args!("{did} is listed already")).with_exit(Exit::Failed));
        }
        let item = self.document.entry(HOLDERS).or_insert_with(|| value(Array::new()));
        let Some(holders) = item.as_array_mut() else {
            return Err(files::about(&self.path, &format_args!("`{HOLDERS}` is not a list")));
        };
        holders.push(did.as_str());
        Ok(())
    }

    /// Whether there was one.
    pub(super) fn remove_issuer(&mut self, origin: &str) -> bool {
        let Some(tables) = self.document.get_mut(ISSUER).and_then(Item::as_array_of_tables_mut) else { return false };
        let before = tables.len();
        tables.retain(|table| table.get("origin").and_then(Item::as_str) != Some(origin));
        let removed = tables.len() < before;
        if removed && tables.is_empty() {
            self.document.remove(ISSUER);
        }
        removed
    }

    /// Whether there was one.
    pub(super) fn remove_holder(&mut self, did: &Did) -> bool {
        let Some(holders) = self.document.get_mut(HOLDERS).and_then(Item::as_array_mut) else { return false };
        let before = holders.len();
        holders.retain(|holder| holder.as_str() != Some(did.as_str()));
        holders.len() < before
    }

    /// Writes the file, unless a guard would refuse what it now says about trust, or somebody else changed it.
    pub(super) fn save(&self) -> Result<(), Failure> {
        let text = self.document.to_string();
        self.check(&text)?;
        let Some(before) = &self.before else { return files::write_secret(&self.path, &text) };
        if files::read_trusted(&self.path)? != *before {
            return Err(files::about(&self.path, &"was changed meanwhile; try again"));
        }
        files::replace_kept(&self.path, &text)
    }

    /// Lets the guard's own reader judge. A mistake elsewhere in the file is not this command's business.
    fn check(&self, text: &str) -> Result<(), Failure> {
        let builder = GuardConfig::builder().toml(text, self.folder()).evidence(EvidenceLog::in_memory());
        let Err(error) = builder.build() else { return Ok(()) };
        let ours = error
            .problems()
            .iter()
            .filter(|problem| problem.key.starts_with(ISSUER) || problem.key.starts_with(HOLDERS));
        let lines: Vec<_> = ours.map(|problem| format!("{}: {problem}", self.path.display())).collect();
        if lines.is_empty() { Ok(()) } else { Err(Failure::lines(lines).with_exit(Exit::Input)) }
    }
}

fn texts(array: &Array) -> impl Iterator<Item = String> {
    array.iter().filter_map(Value::as_str).map(str::to_owned)
}
