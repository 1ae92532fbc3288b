//! The keys of an issuer, from a file or from the issuer.

use std::path::Path;
use std::sync::Arc;

use rmcp_guard::identity::jwks::JwkSet;
use rmcp_guard::identity::remote::RemoteKeys;
use rmcp_guard::identity::resolve::KeySource as _;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::files;
use crate::network::{self, NetworkArgs};
use crate::output::with;

/// A key as people compare it.
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) thumbprint: String,
}

pub(super) fn list(set: &JwkSet) -> Vec<Key> {
    set.keys().map(|(kid, key)| Key { kid: kid.map(str::to_owned), thumbprint: key.thumbprint() }).collect()
}

pub(super) fn read(path: &Path) -> Result<Arc<JwkSet>, Failure> {
    let text = files::read_text(path)?;
    JwkSet::parse(text.as_bytes()).map(Arc::new).map_err(|error| files::about(path, &error))
}

pub(super) fn fetch(origin: &str, network: &NetworkArgs) -> Result<Arc<JwkSet>, Failure> {
    network::check_origin(origin, network)?;
    let keys = RemoteKeys::new(origin, network.fetcher()?);
    network::wait("fetching the issuer's keys", async {
        keys.refresh().await.map_err(|error| {
            let exit = network::exit_of_fetch(&error);
            Failure::from(error).about(origin).with_exit(exit)
        })?;
        keys.keys(None).await.map_err(|error| Failure::from(error).about(origin).with_exit(Exit::Network))
    })
}

/// Refuses unless the set has these keys and no other; without thumbprints every set will do.
pub(super) fn check_thumbprints(set: &JwkSet, wanted: &[String]) -> Result<(), Failure> {
    if wanted.is_empty() {
        return Ok(());
    }
    let have: Vec<_> = set.keys().map(|(_, key)| key.thumbprint()).collect();
    let missing = wanted.iter().filter(|wanted| !have.contains(wanted)).map(|key| format!("the set has no key {key}"));
    let surplus = have.iter().filter(|key| !wanted.contains(key)).map(|key| format!("the set has another key, {key}"));
    let lines: Vec<_> = missing.chain(surplus).collect();
    if lines.is_empty() { Ok(()) } else { Err(Failure::lines(lines)) }
}

/// Writes the usable keys of `set`, and nothing else that the issuer published, to a new file.
pub(super) fn write(path: &Path, set: &JwkSet) -> Result<(), Failure> {
    let keys = set.keys().map(|(kid, key)| {
        let named = kid.map_or_else(|| json!({}), |kid| json!({ "kid": kid }));
        with(with(key.to_jwk(), json!({ "alg": "EdDSA", "use": "sig" })), named)
    });
    let keys: Value = keys.collect();
    files::write_secret(path, &format!("{:#}\n", json!({ "keys": keys })))
}
