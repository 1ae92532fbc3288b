//! The file form of the configuration: TOML, walked by hand so that every mistake is found and named by its key.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::{Table, Value};

use crate::enforce::config::GuardConfigBuilder;
use crate::enforce::config::builder::{EvidenceChoice, RevocationChoice};
use crate::evidence::EvidenceMode;
use crate::identity::badge::{Profile, Revocations};
use crate::identity::did::Did;
use crate::identity::trust_level::TrustLevel;
use crate::identity::trust_store::Issuer;
use crate::policy::{ConfigProblem, GuardedMethod, MAX_ADDITIONAL_ISSUERS, MethodAccess, ToolRequirement};

/// The largest configuration file in bytes: room for [`MAX_RULES`](crate::policy::MAX_RULES) rules of ordinary length.
pub const MAX_CONFIG_BYTES: u64 = 2 * 1024 * 1024;

const TOO_LONG: &str = "is longer than 2 MiB; a glob can stand for many rules";

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
    // a pipe would block in `open`, so look first; the handle is looked at again, since the name may change meanwhile
    check_file(&path.metadata().map_err(|error| error.to_string())?)?;
    let file = File::open(path).map_err(|error| error.to_string())?;
    check_file(&file.metadata().map_err(|error| error.to_string())?)?;
    let mut bytes = Vec::new();
    file.take(MAX_CONFIG_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_CONFIG_BYTES {
        return Err(TOO_LONG.to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// Refuses what is not a file, and on Unix what others than its owner can write: it says whom this process trusts (S33).
fn check_file(metadata: &std::fs::Metadata) -> Result<(), String> {
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o022 != 0 {
            return Err("can be written by its group or by everybody; run `chmod go-w` on it".to_owned());
        }
    }
    Ok(())
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

struct Reader<'a> {
    builder: GuardConfigBuilder,
    base: &'a Path,
}

/// A table whose members are taken out one by one; what is left over at the end is unknown.
struct Section {
    /// the key of the table itself, empty for the document
    key: String,
    members: Table,
}

impl Section {
    fn key_of(&self, name: &str) -> String {
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
        if let Some(mut section) = self.section(root, "revocations") {
            let file = self.text(&mut section, "file");
            let none = self.flag(&mut section, "insecure_none");
            match (file, none) {
                (Some(file), None | Some(false)) => {
                    let path = self.base.join(&file);
                    // a list that comes later is fine, and until then levels 2 and up are denied
                    if let Some(Err(advice)) = path.metadata().ok().map(|metadata| check_file(&metadata)) {
                        self.builder.problem("revocations.file", format!("`{file}`: {advice}"));
                    }
                    self.builder.revocations = Some(RevocationChoice::Checked(Revocations::file(path)));
                }
                (None, Some(true)) => self.builder.revocations = Some(RevocationChoice::Unchecked),
                (Some(_), Some(true)) | (None, Some(false) | None) => {
                    self.builder.problem("revocations", "write either `file` or `insecure_none = true`");
                }
            }
            self.unknown(&section);
        }
    }

    fn issuer(&mut self, section: &mut Section) {
        let origin = self.required_text(section, "origin", "write the issuer's https origin");
        let file = self.required_text(section, "jwks_file", "write the path of its JWK set");
        let level = self.level(section, "max_level");
        let subjects = section.members.contains_key("subjects").then(|| self.texts(section, "subjects"));
        let additional = self.flag(section, "additional").unwrap_or(false);
        let (Some(origin), Some(file)) = (origin, file) else { return };
        let path = self.base.join(&file);
        if let Err(advice) =
            path.metadata().map_err(|error| error.to_string()).and_then(|metadata| check_file(&metadata))
        {
            self.builder.problem(section.key_of("jwks_file"), format!("`{file}`: {advice}"));
            return;
        }
        let mut issuer = match Issuer::jwks_file(&origin, &path) {
            Ok(issuer) => issuer,
            Err(error) => return self.builder.problem(section.key.clone(), error.to_string()),
        };
        if let Some(level) = level {
            issuer = issuer.max_level(level);
        }
        if let Some(subjects) = subjects {
            issuer = match issuer.subjects(subjects) {
                Ok(issuer) => issuer,
                Err(error) => return self.builder.problem(section.key_of("subjects"), error.to_string()),
            };
        }
        if additional {
            self.builder.additional_issuers.push(issuer);
        } else {
            self.builder.issuers.push(issuer);
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

    fn evidence(&mut self, root: &mut Section) {
        let Some(mut section) = self.section(root, "evidence") else { return };
        let directory = self.required_text(&mut section, "dir", "write the directory that holds the records");
        let mode = match self.text(&mut section, "mode").as_deref() {
            None | Some("bounded") => EvidenceMode::Bounded,
            Some("strict") => EvidenceMode::Strict,
            // whether it may be is for the whole configuration to say
            Some("best-effort") => EvidenceMode::BestEffort,
            Some(_) => {
                self.builder.problem("evidence.mode", "write `bounded` or `strict`");
                EvidenceMode::Strict
            }
        };
        self.unknown(&section);
        if let Some(directory) = directory {
            self.builder.evidence = Some(EvidenceChoice::Directory(self.base.join(directory), mode));
        }
    }

    fn unknown(&mut self, section: &Section) {
        for name in section.members.keys() {
            let key = section.key_of(name);
            self.builder.problem(key, "is not a key that is known here; remove it or correct its spelling");
        }
    }

    fn text(&mut self, section: &mut Section, name: &str) -> Option<String> {
        let value = section.members.remove(name)?;
        value.as_str().map(str::to_owned).or_else(|| self.wrong(section, name, "a text in quotes", &value))
    }

    fn required_text(&mut self, section: &mut Section, name: &str, advice: &str) -> Option<String> {
        if !section.members.contains_key(name) {
            self.builder.problem(section.key_of(name), format!("is missing; {advice}"));
        }
        self.text(section, name)
    }

    fn flag(&mut self, section: &mut Section, name: &str) -> Option<bool> {
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

    fn section(&mut self, section: &mut Section, name: &str) -> Option<Section> {
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
