//! The file form of the configuration: TOML, walked by hand so that every mistake is found and named by its key.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use toml::{Table, Value};

use crate::enforce::config::GuardConfigBuilder;
use crate::enforce::config::builder::{DocumentChoice, RevocationChoice};
use crate::identity::badge::{Profile, Revocations};
use crate::identity::did::Did;
use crate::identity::resolve::StaticDidDocuments;
use crate::identity::trust_level::TrustLevel;
use crate::identity::trust_store::Issuer;
use crate::policy::{ConfigProblem, GuardedMethod, MAX_ADDITIONAL_ISSUERS, MethodAccess, ToolRequirement};

/// The largest configuration file in bytes: room for [`MAX_RULES`](crate::policy::MAX_RULES) rules of ordinary length.
pub const MAX_CONFIG_BYTES: u64 = 2 * 1024 * 1024;

const TOO_LONG: &str = "is longer than 2 MiB";

pub(super) fn read(mut builder: GuardConfigBuilder, path: &Path) -> GuardConfigBuilder {
    match read_file(path) {
        Ok(text) => merge(builder, &text, path.parent().unwrap_or(Path::new(""))),
        Err(advice) => {
            builder.problem(path.display().to_string(), advice);
            builder.unread = true;
            builder
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    String::from_utf8(read_trusted(path)?).map_err(|_| "is not UTF-8".to_owned())
}

/// A file that says whom this process trusts, whole and unchanged by others.
fn read_trusted(path: &Path) -> Result<Vec<u8>, String> {
    // a pipe would block in `open`, so look first; the handle is looked at again, since the name may change meanwhile
    check_file(&path.metadata().map_err(|error| error.to_string())?)?;
    let file = File::open(path).map_err(|error| error.to_string())?;
    check_file(&file.metadata().map_err(|error| error.to_string())?)?;
    let mut bytes = Vec::new();
    file.take(MAX_CONFIG_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_CONFIG_BYTES {
        return Err(TOO_LONG.to_owned());
    }
    Ok(bytes)
}

/// Refuses what is not a file, and on Unix what others than its owner can write: it says whom this process trusts (S33).
fn check_file(metadata: &std::fs::Metadata) -> Result<(), String> {
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    check_mode(metadata)
}

fn check_mode(metadata: &std::fs::Metadata) -> Result<(), String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o022 != 0 {
            return Err("can be written by its group or by everybody; run `chmod go-w` on it".to_owned());
        }
    }
    let _ = metadata;
    Ok(())
}

/// DID documents name keys, so the directory and every file in it must be out of others' reach.
fn load_documents(directory: &Path) -> Result<StaticDidDocuments, String> {
    let metadata = directory.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Err("is not a directory".to_owned());
    }
    check_mode(&metadata)?;
    for entry in directory.read_dir().map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let metadata = entry.path().metadata().map_err(|error| error.to_string())?;
        check_mode(&metadata).map_err(|advice| format!("`{}` {advice}", entry.file_name().display()))?;
    }
    StaticDidDocuments::load(directory).map_err(|error| error.to_string())
}

pub(super) fn merge(mut builder: GuardConfigBuilder, text: &str, base: &Path) -> GuardConfigBuilder {
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_CONFIG_BYTES {
        builder.problem("configuration", TOO_LONG);
        builder.unread = true;
        return builder;
    }
    match text.parse::<Table>() {
        Ok(table) => Reader { builder, base }.document(table),
        Err(error) => {
            // the error's own text quotes the line, which may be one that holds a secret by mistake
            let line =
                error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.split('\n').count());
            builder.problem(format!("line {line}"), format!("is not TOML: {}", error.message()));
            builder.unread = true;
            builder
        }
    }
}

pub(super) struct Reader<'a> {
    pub(super) builder: GuardConfigBuilder,
    pub(super) base: &'a Path,
}

/// A table whose members are taken out one by one; what is left over at the end is unknown.
pub(super) struct Section {
    /// the key of the table itself, empty for the document
    key: String,
    members: Table,
}

/// How far an issuer's word counts, from its table.
#[derive(Debug)]
pub(super) struct IssuerLimits {
    max_level: Option<TrustLevel>,
    subjects: Option<Vec<String>>,
    additional: bool,
}

impl IssuerLimits {
    /// Registers `issuer` within these limits; `key` is that of its table.
    pub(super) fn apply(self, mut issuer: Issuer, key: &str, builder: &mut GuardConfigBuilder) {
        if let Some(level) = self.max_level {
            issuer = issuer.max_level(level);
        }
        if let Some(subjects) = self.subjects {
            issuer = match issuer.subjects(subjects) {
                Ok(issuer) => issuer,
                Err(error) => return builder.problem(format!("{key}.subjects"), error.to_string()),
            };
        }
        if self.additional {
            builder.additional_issuers.push(issuer);
        } else {
            builder.issuers.push(issuer);
        }
    }
}

impl Section {
    /// Takes a member out, which makes it a known one.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name)
    }

    pub(super) fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }
}

impl Reader<'_> {
    fn document(mut self, members: Table) -> GuardConfigBuilder {
        let mut root = Section { key: String::new(), members };
        if let Some(version) = self.text(&mut root, "policy_version") {
            self.builder.policy_version = version;
        }
        if let Some(profile) = self.text(&mut root, "profile") {
            self.profile(&profile);
        }
        let audiences = self.texts(&mut root, "audiences");
        self.builder.audiences.extend(audiences);
        let own_dids = self.dids(&mut root, "own_dids");
        self.builder.own_dids.extend(own_dids);
        self.trust(&mut root);
        self.globals(&mut root);
        self.tools(&mut root);
        self.methods(&mut root);
        let custom_methods = self.texts(&mut root, "custom_methods");
        self.builder.custom_methods.extend(custom_methods);
        self.api_keys(&mut root);
        self.evidence(&mut root);
        self.unknown(&root);
        self.builder
    }

    fn profile(&mut self, profile: &str) {
        match profile {
            "interop" => self.builder.profile = Profile::Interop,
            "strict" => self.builder.profile = Profile::Strict,
            "dev" => self
                .builder
                .problem("profile", "a file cannot choose the profile for development; write `interop` or `strict`"),
            _ => self.builder.problem("profile", "write `interop` or `strict`"),
        }
    }

    fn trust(&mut self, root: &mut Section) {
        for mut issuer in self.sections(root, "issuer") {
            self.issuer(&mut issuer);
            self.unknown(&issuer);
        }
        let named = self.texts(root, "trusted_issuers");
        self.builder.named_issuers.extend(named);
        let self_signed = self.dids(root, "trusted_self_signed");
        self.builder.self_signed.extend(self_signed);
        if let Some(yes) = self.flag(root, "accept_level_zero") {
            self.builder.accept_level_zero = yes;
        }
        if let Some(yes) = self.flag(root, "allow_unbound_bearer") {
            self.builder.unbound_bearer = yes;
        }
        if let Some(yes) = self.flag(root, "bearer_badges") {
            self.builder.bearer_badges = yes;
        }
        self.revocations(root);
        self.did_documents(root);
        if let Some(section) = self.section(root, "network") {
            self.network(section);
        }
    }

    fn revocations(&mut self, root: &mut Section) {
        let Some(mut section) = self.section(root, "revocations") else { return };
        let mode = self.text(&mut section, "mode");
        let file = self.text(&mut section, "file");
        let cache = self.text(&mut section, "cache_dir");
        let none = self.flag(&mut section, "insecure_none") == Some(true);
        self.unknown(&section);
        if let Some(file) = &file {
            // a list that comes later is fine, and until then levels 2 and up are denied
            if let Some(Err(advice)) = self.base.join(file).metadata().ok().map(|metadata| check_file(&metadata)) {
                self.builder.problem("revocations.file", format!("`{file}`: {advice}"));
            }
        }
        let path = |name: Option<String>| name.map(|name| self.base.join(name));
        let (file, cache) = (path(file), path(cache));
        match (mode.as_deref(), file, cache) {
            (None, None, None) if none => self.builder.revocations = Some(RevocationChoice::Unchecked),
            _ if none => {
                self.builder
                    .problem("revocations", "`insecure_none = true` checks nothing; keep it alone, or remove it");
            }
            (None | Some("offline"), Some(file), None) => {
                self.builder.revocations = Some(RevocationChoice::Checked(Revocations::file(file)));
            }
            (Some("offline"), None, _) => {
                self.builder.problem("revocations.file", "is missing; write the path of the list");
            }
            (Some(mode @ ("online" | "synced" | "hybrid")), file, cache) => {
                self.network_revocations(mode, file, cache);
            }
            (None | Some("offline"), _, Some(_)) => {
                self.builder
                    .problem("revocations.cache_dir", "is for lists that are fetched; write `mode = \"synced\"`");
            }
            (None, None, None) => {
                self.builder.problem("revocations", "write a `mode`, a `file`, or `insecure_none = true`");
            }
            (Some(_), _, _) => {
                self.builder.problem("revocations.mode", "write `synced`, `online`, `hybrid` or `offline`");
            }
        }
    }

    fn did_documents(&mut self, root: &mut Section) {
        let Some(mut section) = self.section(root, "did_documents") else { return };
        let directory = self.text(&mut section, "directory");
        let resolve = self.flag(&mut section, "resolve").unwrap_or(false);
        self.unknown(&section);
        match (directory, resolve) {
            (None, true) => self.resolve_documents(),
            (Some(directory), false) => match load_documents(&self.base.join(&directory)) {
                Ok(documents) => self.builder.did_documents = Some(DocumentChoice::Source(Arc::new(documents))),
                Err(advice) => {
                    self.builder.problem("did_documents.directory", format!("`{directory}`: {advice}"));
                }
            },
            (Some(_), true) | (None, false) => {
                self.builder.problem("did_documents", "write either `resolve = true` or `directory`");
            }
        }
    }

    fn issuer(&mut self, section: &mut Section) {
        let origin = self.required_text(section, "origin", "write the issuer's https origin");
        let has_file = section.members.contains_key("jwks_file");
        let file = self.text(section, "jwks_file");
        let discover = self.flag(section, "discover").unwrap_or(false);
        let limits = IssuerLimits {
            max_level: self.level(section, "max_level"),
            subjects: section.members.contains_key("subjects").then(|| self.texts(section, "subjects")),
            additional: self.flag(section, "additional").unwrap_or(false),
        };
        match (has_file, discover) {
            (true, true) => {
                self.builder.problem(section.key.clone(), "write either `jwks_file` or `discover = true`, not both");
            }
            (false, false) => self.builder.problem(
                section.key_of("jwks_file"),
                "is missing; write the path of the issuer's JWK set, or `discover = true` to fetch it from there",
            ),
            (true, false) => {
                if let (Some(origin), Some(file)) = (origin, file) {
                    self.issuer_of_file(section, &origin, &file, limits);
                }
            }
            (false, true) => {
                if let Some(origin) = origin {
                    self.discovered(section.key.clone(), origin, limits);
                }
            }
        }
    }

    fn issuer_of_file(&mut self, section: &Section, origin: &str, file: &str, limits: IssuerLimits) {
        let path = self.base.join(file);
        if let Err(advice) =
            path.metadata().map_err(|error| error.to_string()).and_then(|metadata| check_file(&metadata))
        {
            self.builder.problem(section.key_of("jwks_file"), format!("`{file}`: {advice}"));
            return;
        }
        match Issuer::jwks_file(origin, &path) {
            Ok(issuer) => limits.apply(issuer, &section.key, &mut self.builder),
            Err(error) => self.builder.problem(section.key.clone(), error.to_string()),
        }
    }

    fn globals(&mut self, root: &mut Section) {
        if let Some(level) = self.level(root, "min_trust_level") {
            self.builder.min_trust_level = Some(level.as_u8());
        }
        if let Some(yes) = self.flag(root, "require_badge") {
            self.builder.require_badge = yes;
        }
        if root.members.contains_key("allowed_tools") {
            let patterns = self.texts(root, "allowed_tools");
            self.builder.allowed_tools.get_or_insert_default().extend(patterns);
        }
        if let Some(yes) = self.flag(root, "seed_semantics") {
            self.builder.seed = yes;
        }
        if let Some(origin) = self.text(root, "server_origin") {
            self.builder.server_origin = Some(origin);
        }
        if let Some(yes) = self.flag(root, "outcomes") {
            self.builder.outcomes = yes;
        }
        if let Some(yes) = self.flag(root, "result_hashes") {
            self.builder.result_hashes = yes;
        }
        if let Some(section) = self.section(root, "default_requirement") {
            self.builder.default_requirement = Some(self.requirement(section));
        }
    }

    fn tools(&mut self, root: &mut Section) {
        let Some(tools) = self.section(root, "tools") else { return };
        for (pattern, value) in tools.members {
            let key = ConfigProblem::tool_key(&pattern);
            if let Some(section) = self.as_section(key, value) {
                let requirement = self.requirement(section);
                self.builder.tools.push((pattern, requirement));
            }
        }
    }

    fn methods(&mut self, root: &mut Section) {
        let Some(mut methods) = self.section(root, "methods") else { return };
        for method in GuardedMethod::ALL {
            let key = methods.key_of(method.as_str());
            match methods.members.remove(method.as_str()) {
                None => {}
                Some(Value::String(word)) if word == "inner" => {
                    self.builder.methods.push((method, MethodAccess::Inner));
                }
                Some(Value::Table(members)) => {
                    let requirement = self.requirement(Section { key, members });
                    self.builder.methods.push((method, MethodAccess::Require(requirement)));
                }
                Some(_) => self.builder.problem(key, "write a table such as `{ min_trust_level = 1 }`, or `\"inner\"`"),
            }
        }
        self.unknown(&methods);
    }

    fn requirement(&mut self, mut section: Section) -> ToolRequirement {
        let level = self.level(&mut section, "min_trust_level");
        let badge = self.flag(&mut section, "require_badge").unwrap_or(false);
        let anonymous = self.flag(&mut section, "anonymous").unwrap_or(false);
        if anonymous && (badge || level.is_some()) {
            self.builder
                .problem(section.key_of("anonymous"), "contradicts `min_trust_level` and `require_badge`; keep one");
        }
        let mut requirement = match level {
            Some(level) => ToolRequirement::min_trust(level),
            None if anonymous => ToolRequirement::anonymous(),
            None => ToolRequirement::authenticated(),
        };
        if badge {
            requirement = requirement.require_badge();
        }
        if self.flag(&mut section, "durable_evidence") == Some(true) {
            requirement = requirement.durable_evidence();
        }
        if self.flag(&mut section, "allow_unbound_bearer") == Some(true) {
            requirement = requirement.allow_unbound_bearer();
        }
        let issuers = self.texts(&mut section, "issuers");
        if issuers.len() > MAX_ADDITIONAL_ISSUERS {
            self.builder.problem(section.key_of("issuers"), format!("name at most {MAX_ADDITIONAL_ISSUERS}"));
        }
        self.unknown(&section);
        issuers.into_iter().take(MAX_ADDITIONAL_ISSUERS).fold(requirement, ToolRequirement::trust_issuer)
    }

    fn api_keys(&mut self, root: &mut Section) {
        for mut section in self.sections(root, "api_key") {
            let name = self.required_text(&mut section, "name", "write the principal's name");
            let sha256 =
                self.required_text(&mut section, "sha256", "write the SHA-256 of the key as 64 hexadecimal digits");
            self.unknown(&section);
            if let (Some(name), Some(sha256)) = (name, sha256) {
                self.builder.api_keys.push((sha256, name));
            }
        }
    }

    pub(super) fn unknown(&mut self, section: &Section) {
        for name in section.members.keys() {
            let key = section.key_of(name);
            self.builder.problem(key, "is not a key that is known here; remove it or correct its spelling");
        }
    }

    pub(super) fn text(&mut self, section: &mut Section, name: &str) -> Option<String> {
        let value = section.members.remove(name)?;
        value.as_str().map(str::to_owned).or_else(|| self.wrong(section, name, "a text in quotes", &value))
    }

    pub(super) fn required_text(&mut self, section: &mut Section, name: &str, advice: &str) -> Option<String> {
        if !section.members.contains_key(name) {
            self.builder.problem(section.key_of(name), format!("is missing; {advice}"));
        }
        self.text(section, name)
    }

    pub(super) fn flag(&mut self, section: &mut Section, name: &str) -> Option<bool> {
        let value = section.members.remove(name)?;
        value.as_bool().or_else(|| self.wrong(section, name, "`true` or `false`", &value))
    }

    fn level(&mut self, section: &mut Section, name: &str) -> Option<TrustLevel> {
        let value = section.members.remove(name)?;
        let level = value.as_integer().and_then(|number| u8::try_from(number).ok()).map(TrustLevel::try_from);
        if let Some(Ok(level)) = level {
            return Some(level);
        }
        self.builder.problem(section.key_of(name), "write a trust level: 0, 1, 2, 3 or 4, without quotes");
        None
    }

    /// The items of a list, each with its key.
    #[cfg(feature = "registry")]
    pub(super) fn items(&mut self, section: &mut Section, name: &str) -> Vec<(String, Value)> {
        let Some(value) = section.members.remove(name) else { return Vec::new() };
        let Value::Array(items) = value else {
            return self.wrong(section, name, "a list", &value).unwrap_or_default();
        };
        items.into_iter().enumerate().map(|(n, item)| (section.key_of(&format!("{name}[{n}]")), item)).collect()
    }

    /// The content of a file that this one names.
    #[cfg(feature = "registry")]
    pub(super) fn read_trusted(&self, file: &str) -> Result<Vec<u8>, String> {
        read_trusted(&self.base.join(file))
    }

    fn texts(&mut self, section: &mut Section, name: &str) -> Vec<String> {
        let Some(value) = section.members.remove(name) else { return Vec::new() };
        let Some(items) = value.as_array() else {
            return self.wrong(section, name, "a list of texts such as `[\"..\"]`", &value).unwrap_or_default();
        };
        let mut texts = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            let text = item.as_str().map(str::to_owned);
            texts.extend(text.or_else(|| self.wrong(section, &format!("{name}[{number}]"), "a text in quotes", item)));
        }
        texts
    }

    fn dids(&mut self, section: &mut Section, name: &str) -> Vec<Did> {
        let texts = self.texts(section, name);
        let mut dids = Vec::with_capacity(texts.len());
        for (number, text) in texts.iter().enumerate() {
            match Did::parse(text) {
                Ok(did) => dids.push(did),
                Err(error) => self.builder.problem(section.key_of(&format!("{name}[{number}]")), error.to_string()),
            }
        }
        dids
    }

    pub(super) fn section(&mut self, section: &mut Section, name: &str) -> Option<Section> {
        let value = section.members.remove(name)?;
        let key = section.key_of(name);
        self.as_section(key, value)
    }

    fn sections(&mut self, section: &mut Section, name: &str) -> Vec<Section> {
        let Some(value) = section.members.remove(name) else { return Vec::new() };
        let Value::Array(items) = value else {
            self.builder
                .problem(section.key_of(name), format!("write a table with two brackets, `[[{name}]]`, for each"));
            return Vec::new();
        };
        let items = items.into_iter().enumerate();
        items.filter_map(|(number, item)| self.as_section(format!("{name}[{number}]"), item)).collect()
    }

    fn as_section(&mut self, key: String, value: Value) -> Option<Section> {
        if let Value::Table(members) = value {
            return Some(Section { key, members });
        }
        self.builder.problem(key, format!("write a table, not {}", value.type_str()));
        None
    }

    fn wrong<T>(&mut self, section: &Section, name: &str, expected: &str, found: &Value) -> Option<T> {
        self.builder.problem(section.key_of(name), format!("write {expected}, not {}", found.type_str()));
        None
    }
}
