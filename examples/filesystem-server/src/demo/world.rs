//! What the demonstration needs in the world: an issuer, a server, two agents, files and a configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::identity::badge::{BadgeIssuer, BadgeRequest, Revocations};
use rmcp_guard::identity::did::Did;
use rmcp_guard::identity::key::SigningKey;
use rmcp_guard::identity::server::{ServerIdentity, StaticBadge};
use rmcp_guard::identity::trust_level::TrustLevel;
use rmcp_guard::identity::trust_store::Issuer;
use serde_json::json;

use crate::files::{read_private, write_private};

/// The development issuer. The name is reserved and never resolves: its keys come from a file.
pub(crate) const ISSUER: &str = "https://issuer.example.test";
/// Whom agents' badges are issued for. It is the server's name, not its address.
const AUDIENCE: &str = "https://files.example.test";
/// How long the badges live.
const LIFETIME: Duration = Duration::from_secs(600);

const CONFIG: &str = r#"# The configuration of the demonstration; examples/filesystem-server/filesystem.toml explains the parts.
policy_version = "demo-1"
audiences = ["https://files.example.test"]

[revocations]
file = "revocations.json"

# A machine that is busy with a build is no failing disk: a demonstration waits longer for its log than a server should.
[evidence]
dir = "evidence"
wait_limit_ms = 10000

[[issuer]]
origin = "https://issuer.example.test"
jwks_file = "issuer.jwks.json"

[tools]
list_directory = { anonymous = true }
stat = { anonymous = true }
read_file = { min_trust_level = 1 }
search_files = { min_trust_level = 1 }
write_file = { min_trust_level = 2 }
create_directory = { min_trust_level = 2 }
move_path = { min_trust_level = 2 }
delete_path = { min_trust_level = 3, durable_evidence = true }
"#;

/// Everything, as files in one directory.
pub(crate) struct World {
    directory: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) evidence: PathBuf,
    pub(crate) server: Party,
    pub(crate) agents: Vec<Agent>,
}

/// Somebody with a key and a badge.
pub(crate) struct Party {
    pub(crate) name: &'static str,
    pub(crate) did: Did,
    pub(crate) level: TrustLevel,
    pub(crate) key_file: PathBuf,
    pub(crate) badge_file: PathBuf,
}

/// A caller.
pub(crate) type Agent = Party;

impl World {
    pub(crate) fn make(directory: &Path) -> Result<Self> {
        let (root, config) = (directory.join("files"), directory.join("filesystem.toml"));
        fs::create_dir(&root)?;
        fs::write(root.join("hello.txt"), "Hello from below the root.\n")?;
        // The file says whom the server trusts: nobody else may write it, whatever the umask says.
        write_private(&config, CONFIG)?;
        let now = SystemClock.now();
        let revocations = json!({"revocations": [], "syncedAt": humantime::format_rfc3339_seconds(now).to_string()});
        write_private(&directory.join("revocations.json"), &revocations.to_string())?;

        let issuer_key = SigningKey::generate()?;
        write_private(&directory.join("issuer.key.pem"), &issuer_key.to_pkcs8_pem()?)?;
        let issuer = BadgeIssuer::new(ISSUER, "demo-1", Arc::new(issuer_key))?;
        write_private(&directory.join("issuer.jwks.json"), &issuer.jwks_json())?;

        let make = |name, level, domain, audience| Party::make(directory, &issuer, name, level, domain, audience);
        let server = make("server", TrustLevel::DomainValidated, Some("files.example.test"), None)?;
        let agents = vec![
            make("reader", TrustLevel::Registered, None, Some(AUDIENCE))?,
            make("keeper", TrustLevel::OrganizationValidated, Some("keeper.example.test"), Some(AUDIENCE))?,
        ];
        Ok(Self { directory: directory.to_owned(), root, config, evidence: directory.join("evidence"), server, agents })
    }

    pub(crate) fn issuer(&self) -> Result<Issuer> {
        Ok(Issuer::jwks_file(ISSUER, self.directory.join("issuer.jwks.json"))?)
    }

    pub(crate) fn revocations(&self) -> Revocations {
        Revocations::file(self.directory.join("revocations.json"))
    }

    /// The server's identity, for clients that reach it by `origin`.
    pub(crate) fn server_identity(&self, origin: &str) -> Result<ServerIdentity> {
        let key = SigningKey::from_pkcs8_pem(&read_private(&self.server.key_file)?)?;
        let badge = StaticBadge::new(&self.server.badge()?)?;
        Ok(ServerIdentity::builder(self.server.did.clone(), Arc::new(key)).badge(badge).origin(origin).build()?)
    }
}

impl Party {
    fn make(
        directory: &Path,
        issuer: &BadgeIssuer,
        name: &'static str,
        level: TrustLevel,
        domain: Option<&str>,
        audience: Option<&str>,
    ) -> Result<Self> {
        let key = SigningKey::generate()?;
        let did = key.did();
        let mut request = BadgeRequest::new(did.clone(), key.public_key(), level).lifetime(LIFETIME);
        if let Some(domain) = domain {
            request = request.domain(domain);
        }
        if let Some(audience) = audience {
            request = request.audience(audience);
        }
        let badge = issuer.issue(&request, SystemClock.now_unix()).with_context(|| format!("the badge of {name}"))?;
        let (key_file, badge_file) =
            (directory.join(format!("{name}.key.pem")), directory.join(format!("{name}.badge.jws")));
        write_private(&key_file, &key.to_pkcs8_pem()?)?;
        write_private(&badge_file, &badge)?;
        write_private(&directory.join(format!("{name}.did")), did.as_str())?;
        Ok(Self { name, did, level, key_file, badge_file })
    }

    pub(crate) fn badge(&self) -> Result<String> {
        fs::read_to_string(&self.badge_file).with_context(|| format!("reading {}", self.badge_file.display()))
    }
}
