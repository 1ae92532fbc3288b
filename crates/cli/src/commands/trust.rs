//! `trust`: whom a guard trusts, edited in place in the configuration file that the guard reads.
//!
//! Comments and order stay as they are. What is written was read before by the guard's own reader, and the file is
//! replaced whole or not at all.

mod file;
mod keys;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::server::HttpOrigin;
use rmcp_guard::identity::trust_level::TrustLevel;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::network::NetworkArgs;
use crate::output::{Output, Text, note};
use file::{Entry, TrustFile};

#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    Add(Box<Add>),
    /// List the issuers and the keys that are trusted.
    #[command(after_help = "EXAMPLE:\n  rmcp-guard trust list --config guard.toml")]
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
    Remove(Box<Remove>),
}

/// Trust an issuer with its keys, or the holder of a key (a did:key) with badges that it signs itself.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLES:\n  rmcp-guard trust add https://registry.example.com --discover --max-level 2 --config guard.toml\n  \
    rmcp-guard trust add https://registry.example.com --pin registry.jwks.json --thumbprint J3Zz.. --config guard.toml\n  \
    rmcp-guard trust add did:key:z6Mk.. --config guard.toml"
)]
pub(crate) struct Add {
    /// The issuer's https origin, or a did:key.
    who: Who,
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    keys: Keys,
    /// Refuse unless the set has exactly the key with this thumbprint (RFC 7638); may be repeated for several keys.
    #[arg(long, value_name = "THUMBPRINT")]
    thumbprint: Vec<String>,
    /// The highest level that the issuer may vouch for; 4 unless given.
    #[arg(long, value_name = "LEVEL")]
    max_level: Option<TrustLevel>,
    /// A subject that the issuer may vouch for: `did:key`, a DID, or `did:web:HOST:*`; may be repeated. Its own host and
    /// every did:key unless given.
    #[arg(long, value_name = "PATTERN")]
    subject: Vec<String>,
    /// Count the issuer only for tools that name it under `issuers`.
    #[arg(long)]
    additional: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

/// Trust an issuer, or the holder of a key, no more.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  rmcp-guard trust remove https://registry.example.com --config guard.toml")]
pub(crate) struct Remove {
    /// The issuer's origin, or the did:key.
    who: Who,
    #[command(flatten)]
    config: ConfigFile,
}

/// Where an issuer's keys come from.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Keys {
    /// The issuer's JWK set is in this file.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// The guard fetches the issuer's JWK set itself, and follows when its keys change.
    #[arg(long)]
    discover: bool,
    /// Fetch the issuer's JWK set now, keep it in this new file, and trust these keys only.
    #[arg(long, value_name = "FILE")]
    pin: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The guard's TOML file.
    #[arg(long = "config", value_name = "FILE", default_value = "guard.toml")]
    path: PathBuf,
}

/// Somebody who can be trusted.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// By its origin, as badges name it.
    Issuer(String),
    /// By its did:key.
    Holder(Did),
}

impl std::str::FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(did) = Did::parse(text) {
            let holder = did.public_key().is_some().then_some(Self::Holder(did));
            return holder.ok_or_else(|| "a did:web is vouched for by an issuer; name the issuer".to_owned());
        }
        match HttpOrigin::parse(text) {
            Ok(_) => Ok(Self::Issuer(text.trim_end_matches('/').to_owned())),
            Err(_) => Err("neither an https origin nor a did:key".to_owned()),
        }
    }
}

impl TrustCommand {
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Add(arguments) => arguments.run(output),
            Self::List { config } => list(output, &config.path),
            Self::Remove(arguments) => remove(output, &arguments.config.path, &arguments.who),
        }
    }
}

impl Add {
    fn run(&self, output: Output) -> Result<(), Failure> {
        let mut file = TrustFile::open_or_new(&self.config.path)?;
        let (added, keys) = match &self.who {
            Who::Holder(did) => {
                if !self.keys.is_empty() || self.has_limits() {
                    let advice = "a did:key is its own key, and has level 0: no other option applies";
                    return Err(Failure::new(advice).with_exit(Exit::Usage));
                }
                file.add_holder(did)?;
                (did.as_str(), Vec::new())
            }
            Who::Issuer(origin) => (origin.as_str(), self.add_issuer(&mut file, origin)?),
        };
        file.save()?;
        let json = json!({ "added": added, "config": self.config.path.to_string_lossy(), "keys": keys_json(&keys) });
        output.line(&json, format_args!("{}: {added} is trusted", self.config.path.display()))
    }

    fn has_limits(&self) -> bool {
        self.max_level.is_some() || self.additional || !self.subject.is_empty() || !self.thumbprint.is_empty()
    }

    fn add_issuer(&self, file: &mut TrustFile, origin: &str) -> Result<Vec<keys::Key>, Failure> {
        let mut entry = Entry {
            origin: origin.to_owned(),
            jwks_file: None,
            discover: false,
            max_level: self.max_level.map(TrustLevel::as_u8),
            subjects: (!self.subject.is_empty()).then(|| self.subject.clone()),
            additional: self.additional,
        };
        let set = match &self.keys {
            Keys { jwks: Some(path), .. } => {
                entry.jwks_file = Some(file.relative(path)?);
                Some(keys::read(path)?)
            }
            Keys { pin: Some(path), .. } => {
                // Before anybody is asked: whether the entry can be at all.
                file.check_new(origin)?;
                let set = keys::fetch(origin, &self.network)?;
                keys::check_thumbprints(&set, &self.thumbprint)?;
                keys::write(path, &set)?;
                entry.jwks_file = Some(file.relative(path)?);
                Some(set)
            }
            Keys { discover: true, .. } => {
                entry.discover = true;
                // The guard will follow whatever the issuer publishes; thumbprints say what it publishes now.
                if self.thumbprint.is_empty() { None } else { Some(keys::fetch(origin, &self.network)?) }
            }
            Keys { .. } => {
                let advice = "say where the issuer's keys come from: --jwks, --discover or --pin";
                return Err(Failure::new(advice).with_exit(Exit::Usage));
            }
        };
        let listed = set.as_ref().map(|set| keys::list(set)).unwrap_or_default();
        let added = set.as_ref().map_or(Ok(()), |set| keys::check_thumbprints(set, &self.thumbprint));
        let added = added.and_then(|()| file.add_issuer(&entry));
        if let (Err(_), Some(pinned)) = (&added, &self.keys.pin) {
            // It would be in the way of the next attempt.
            let _ = std::fs::remove_file(pinned);
        }
        added.map(|()| listed)
    }
}

impl Keys {
    const fn is_empty(&self) -> bool {
        self.jwks.is_none() && !self.discover && self.pin.is_none()
    }
}

fn keys_json(keys: &[keys::Key]) -> Value {
    keys.iter().map(|key| json!({ "kid": key.kid, "thumbprint": key.thumbprint })).collect()
}

fn remove(output: Output, path: &Path, who: &Who) -> Result<(), Failure> {
    let mut file = TrustFile::open(path)?;
    let (removed, found) = match who {
        Who::Issuer(origin) => (origin.as_str(), file.remove_issuer(origin)),
        Who::Holder(did) => (did.as_str(), file.remove_holder(did)),
    };
    if !found {
        return Err(Failure::new(format!("{}: {removed} is not listed", path.display())));
    }
    file.save()?;
    let json = json!({ "removed": removed, "config": path.to_string_lossy() });
    output.line(&json, format_args!("{}: {removed} is not trusted any more", path.display()))
}

fn list(output: Output, path: &Path) -> Result<(), Failure> {
    let file = TrustFile::open(path)?;
    let mut text = Text::default();
    let mut issuers = Vec::new();
    let mut unreadable = Ok(());
    for entry in file.issuers() {
        let keys = entry.jwks_file.as_deref().map(|name| keys::read(&file.resolve(name)).map(|set| keys::list(&set)));
        text = text
            .field("issuer", &entry.origin)
            .field("  level", format_args!("at most {}", entry.max_level.unwrap_or(4)));
        if entry.additional {
            text = text.field("  counts", "only for tools that name it");
        }
        for subject in entry.subjects.iter().flatten() {
            text = text.field("  subject", subject);
        }
        text = text.field("  keys", entry.jwks_file.as_deref().unwrap_or("fetched from the issuer"));
        let keys = match keys.transpose() {
            Ok(keys) => keys,
            Err(failure) => {
                unreadable = Err(failure);
                None
            }
        };
        for key in keys.iter().flatten() {
            let kid = key.kid.as_deref().unwrap_or("without kid");
            text = text.field("  key", format_args!("{} ({kid})", key.thumbprint));
        }
        issuers.push(json!({
            "origin": entry.origin,
            "source": if entry.discover { "discover" } else { "file" },
            "jwks_file": entry.jwks_file,
            "max_level": entry.max_level.unwrap_or(4),
            "subjects": entry.subjects,
            "additional": entry.additional,
            "keys": keys.map(|keys| keys_json(&keys)),
        }));
    }
    let holders: Vec<_> = file.holders().collect();
    for did in &holders {
        text = text.field("self-signed", did);
    }
    if issuers.is_empty() && holders.is_empty() && !output.is_json() {
        note("nobody is trusted");
    }
    output.result(&json!({ "issuers": issuers, "self_signed": holders }), &text)?;
    unreadable
}
