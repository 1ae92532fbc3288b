//! Sources that ask the network: what a file says about them, and how they are made once everything is known.
//!
//! A file can add roots, ports and networks for its own issuers. Loopback and plain http it cannot: that takes a fetcher
//! made by code (S35).

use std::collections::BTreeSet;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::encoding::base64url;
use crate::enforce::config::GuardConfigBuilder;
use crate::enforce::config::builder::{DocumentChoice, RevocationChoice};
use crate::enforce::config::file::{IssuerLimits, Reader, Section};
use crate::identity::badge::{Profile, Revocations};
use crate::identity::fetch::{Fetcher, FetcherBuildError};
use crate::identity::remote::{DidWebDocuments, OnlineStatus, RemoteKeys, RevocationSync, RevocationSyncError};
use crate::identity::resolve::{RevocationFile, StatusSource};
use crate::identity::server::HttpOrigin;
use crate::identity::trust_store::{Issuer, IssuerError};

/// The port that every fetcher may connect to.
const HTTPS: u16 = 443;

/// This machine, its link, and the metadata services of clouds, most of which listen there. No file opens them.
const NEVER_BY_FILE: [&str; 10] = [
    "127.0.0.0/8",
    "0.0.0.0/8",
    "169.254.0.0/16",
    "::1/128",
    "fe80::/10",
    "::ffff:0:0/96",
    "100.100.100.200/32", // Alibaba
    "168.63.129.16/32",   // Azure
    "192.0.0.192/32",     // Oracle
    "fd00:ec2::/32",      // Amazon
];

/// What is known about the network while a configuration is collected.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// the application's own, and after [`discover`] the one in use
    pub(super) fetcher: Option<Fetcher>,
    table: Option<NetworkTable>,
    issuers: Vec<DiscoveredIssuer>,
    /// what the digest says about who fetches what
    description: Value,
}

/// The `[network]` table.
#[derive(Debug, Default)]
struct NetworkTable {
    root_certificates: Option<Vec<u8>>,
    ports: BTreeSet<u16>,
    networks: BTreeSet<IpNet>,
}

#[derive(Debug)]
struct DiscoveredIssuer {
    /// the key of its table in the file
    key: String,
    origin: String,
    limits: IssuerLimits,
}

/// Sources of revocation and status that ask the issuers.
#[derive(Debug)]
pub(super) enum NetworkRevocations {
    Online,
    Synced { cache: Option<PathBuf> },
    Hybrid { file: Option<PathBuf>, cache: Option<PathBuf> },
}

impl NetworkRevocations {
    /// What the digest says: the mode, and which list stands behind the live source.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Synced { .. } => "synced",
            Self::Hybrid { file: None, .. } => "hybrid",
            Self::Hybrid { file: Some(_), .. } => "hybrid with a file",
        }
    }
}

impl Network {
    /// What a configuration's digest says: whom a file lets answer for its issuers, and at which addresses.
    pub(super) fn describe(&self) -> Value {
        self.description.clone()
    }
}

impl NetworkTable {
    fn describe(&self) -> Value {
        json!({
            "root_certificates": self.root_certificates.as_ref().map(|pem| base64url(&Sha256::digest(pem))),
            "ports": self.ports,
            "networks": self.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }

    fn fetcher(&self) -> Result<Fetcher, FetcherBuildError> {
        let mut fetcher = Fetcher::builder();
        if let Some(pem) = &self.root_certificates {
            fetcher = fetcher.add_root_certificate_pem(pem);
        }
        for port in &self.ports {
            fetcher = fetcher.allow_port(*port);
        }
        for network in &self.networks {
            fetcher = fetcher.insecure_allow_network(network.to_string());
        }
        fetcher.build()
    }
}

/// Makes the fetcher, the issuers whose keys are fetched, and the resolver of DID documents. Asks nobody.
pub(super) fn discover(draft: &mut GuardConfigBuilder) {
    let issuers = mem::take(&mut draft.network.issuers);
    let resolves = matches!(draft.did_documents, Some(DocumentChoice::Resolve));
    let asks_status = matches!(draft.revocations, Some(RevocationChoice::Network(_)));
    let table = draft.network.table.take();
    if !resolves && !asks_status && issuers.is_empty() && table.is_none() {
        return;
    }
    let by_code = draft.network.fetcher.is_some();
    if by_code && table.is_some() {
        draft
            .problem("network", "the application brings its own fetcher, which this table would not change; remove it");
    }
    let table = table.unwrap_or_default();
    let fetched_by = if by_code { json!("application") } else { table.describe() };
    draft.network.description = json!({ "fetcher": fetched_by, "resolves_documents": resolves });
    let fetcher = match draft.network.fetcher.take() {
        Some(fetcher) => fetcher,
        None => match table.fetcher() {
            Ok(fetcher) => fetcher,
            Err(error) => {
                let roots = matches!(error, FetcherBuildError::RootCertificate);
                let key = if roots { "network.root_certificates" } else { "network" };
                return draft.problem(key, error.to_string());
            }
        },
    };
    for issuer in issuers {
        let allowed = if by_code { None } else { Some(&table.ports) };
        discover_issuer(draft, issuer, &fetcher, allowed);
    }
    if resolves {
        let documents = DidWebDocuments::new(fetcher.clone()).with_clock(Arc::clone(&draft.clock));
        draft.did_documents = Some(DocumentChoice::Source(Arc::new(documents)));
    }
    draft.network.fetcher = Some(fetcher);
}

/// `ports` are those that a file lists; `None` when code made the fetcher, which then knows better.
fn discover_issuer(
    draft: &mut GuardConfigBuilder,
    issuer: DiscoveredIssuer,
    fetcher: &Fetcher,
    ports: Option<&BTreeSet<u16>>,
) {
    let DiscoveredIssuer { key, origin, limits } = issuer;
    let key_of_origin = format!("{key}.origin");
    let Ok(parsed) = HttpOrigin::parse(&origin) else {
        return draft.problem(key_of_origin, IssuerError::Origin.to_string());
    };
    if ports.is_some() && parsed.is_loopback() {
        return draft.problem(
            key_of_origin,
            "an issuer on this machine is for development; pass a fetcher with `dangerous_allow_loopback` in code",
        );
    }
    if !parsed.is_tls() && draft.profile != Profile::Dev {
        return draft.problem(key_of_origin, IssuerError::Origin.to_string());
    }
    if ports.is_some_and(|ports| parsed.port() != HTTPS && !ports.contains(&parsed.port())) {
        return draft.problem(key_of_origin, format!("port {} is not listed in `network.ports`", parsed.port()));
    }
    let keys = RemoteKeys::new(&origin, fetcher.clone()).with_clock(Arc::clone(&draft.clock));
    match Issuer::with_keys(&origin, Arc::new(keys)) {
        Ok(issuer) => limits.apply(issuer, &key, draft),
        Err(error) => draft.problem(key_of_origin, error.to_string()),
    }
}

/// Makes the sources of revocation. Comes last, since a list may have a directory of its own.
pub(super) fn open_revocations(draft: &mut GuardConfigBuilder) {
    let Some(RevocationChoice::Network(plan)) = &draft.revocations else { return };
    let Some(fetcher) = draft.network.fetcher.clone() else { return };
    let live = Arc::new(OnlineStatus::new(fetcher.clone()));
    let list = |cache: Option<&PathBuf>| {
        let mut list = RevocationSync::builder(fetcher).clock(Arc::clone(&draft.clock));
        for issuer in draft.issuers.iter().chain(&draft.additional_issuers) {
            list = list.issuer(issuer.origin());
        }
        if let Some(directory) = cache {
            list = list.cache_dir(directory);
        }
        list.build().map(Arc::new)
    };
    let opened = match plan {
        NetworkRevocations::Online => Ok(Revocations::online(live)),
        NetworkRevocations::Synced { cache } => list(cache.as_ref()).map(|list| Revocations::synced(list, live)),
        NetworkRevocations::Hybrid { file: Some(file), .. } => {
            Ok(Revocations::hybrid(live, Arc::new(RevocationFile::new(file))))
        }
        NetworkRevocations::Hybrid { file: None, cache } => {
            list(cache.as_ref()).map(|list| Revocations::hybrid(live, list as Arc<dyn StatusSource>))
        }
    };
    match opened {
        Ok(revocations) => draft.revocations = Some(RevocationChoice::Checked(revocations)),
        Err(error @ RevocationSyncError::Cache(_)) => draft.problem("revocations.cache_dir", with_cause(&error)),
        Err(error) => draft.problem("revocations", with_cause(&error)),
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl Reader<'_> {
    /// An issuer whose keys are fetched from it.
    pub(super) fn discovered(&mut self, key: String, origin: String, limits: IssuerLimits) {
        self.builder.network.issuers.push(DiscoveredIssuer { key, origin, limits });
    }

    /// A mode of `[revocations]` that asks the issuers.
    pub(super) fn network_revocations(&mut self, mode: &str, file: Option<PathBuf>, cache: Option<PathBuf>) {
        let unused = |reader: &mut Self, name: &str, given: bool| {
            if given {
                reader
                    .builder
                    .problem(format!("revocations.{name}"), format!("mode `{mode}` does not use it; remove it"));
            }
        };
        let plan = match mode {
            "online" => {
                unused(self, "file", file.is_some());
                unused(self, "cache_dir", cache.is_some());
                NetworkRevocations::Online
            }
            "synced" => {
                unused(self, "file", file.is_some());
                NetworkRevocations::Synced { cache }
            }
            _ => {
                if file.is_some() && cache.is_some() {
                    let advice = "`file` is the list behind the live source, and needs no cache; keep one of the two";
                    self.builder.problem("revocations.cache_dir", advice);
                }
                NetworkRevocations::Hybrid { file, cache }
            }
        };
        self.builder.revocations = Some(RevocationChoice::Network(plan));
    }

    pub(super) fn resolve_documents(&mut self) {
        self.builder.did_documents = Some(DocumentChoice::Resolve);
    }

    pub(super) fn network(&mut self, mut section: Section) {
        let mut table = NetworkTable::default();
        if let Some(file) = self.text(&mut section, "root_certificates") {
            match self.read_trusted(&file) {
                Ok(pem) => table.root_certificates = Some(pem),
                Err(advice) => self.builder.problem("network.root_certificates", format!("`{file}`: {advice}")),
            }
        }
        for (key, value) in self.items(&mut section, "ports") {
            match value.as_integer().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0) {
                Some(port) => _ = table.ports.insert(port),
                None => self.builder.problem(key, "write a port, 1 to 65535, without quotes"),
            }
        }
        for (key, value) in self.items(&mut section, "insecure_allow_networks") {
            match value.as_str().and_then(network) {
                None => self
                    .builder
                    .problem(key, "write a network in quotes, such as `10.1.0.0/16`, without bits beyond its length"),
                Some(network) if reaches_this_machine(&network) => {
                    let advice =
                        "holds addresses of this machine, its link or a metadata service, which no file can allow";
                    self.builder.problem(key, format!("`{network}` {advice}"));
                }
                Some(network) => _ = table.networks.insert(network),
            }
        }
        self.unknown(&section);
        self.builder.network.table = Some(table);
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().filter(|network: &IpNet| network.trunc() == *network)
}

fn reaches_this_machine(network: &IpNet) -> bool {
    let never = NEVER_BY_FILE.iter().filter_map(|never| never.parse::<IpNet>().ok());
    never.into_iter().any(|never| never.contains(network) || network.contains(&never))
}

#[cfg(test)]
pub(super) mod tests;
