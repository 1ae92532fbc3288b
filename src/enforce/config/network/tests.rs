use std::fs;
use std::path::Path;

use base64::Engine as _;

use super::*;
use crate::enforce::config::GuardConfig;
use crate::enforce::config::tests::{AUDIENCE, JWKS, REGISTRY, complete, keys, level, write};
use crate::evidence::EvidenceLog;
use crate::identity::trust_level::TrustLevel;

/// A self-signed certificate that trusts nobody anybody knows.
pub(in crate::enforce::config) fn root_certificate() -> String {
    let made = rcgen::generate_simple_self_signed(["registry.example.com".to_owned()]).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(made.cert.der());
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// A builder to which only trust is missing.
fn bare() -> GuardConfigBuilder {
    GuardConfig::builder().audience(AUDIENCE).evidence(EvidenceLog::in_memory())
}

fn loopback_fetcher() -> Fetcher {
    Fetcher::builder().dangerous_allow_loopback().build().unwrap()
}

const DISCOVERED: &str = r#"
    [[issuer]]
    origin = "https://registry.example.com"
    discover = true
"#;

#[test]
fn every_mistake_about_the_network_is_named_by_its_key() {
    let issuer = |origin: &str| format!("[[issuer]]\norigin = \"{origin}\"\ndiscover = true\n");
    for (text, want) in [
        (issuer("https://b.example"), vec![]),
        (issuer("b.example"), vec!["issuer[0].origin"]),
        (issuer("http://b.example"), vec!["issuer[0].origin"]),
        (issuer("https://user@b.example"), vec!["issuer[0].origin"]),
        (issuer("https://b.example/path"), vec!["issuer[0].origin"]),
        (issuer("https://b.example:8443"), vec!["issuer[0].origin"]),
        (issuer("https://b.example:8443") + "[network]\nports = [8443]", vec![]),
        (issuer("https://b.example") + "subjects = [\"b\"]", vec!["issuer[0].subjects"]),
        (issuer("https://b.example") + "max_level = 7", vec!["issuer[0].max_level"]),
        ("[[issuer]]\ndiscover = true".to_owned(), vec!["issuer[0].origin"]),
        (issuer(REGISTRY), vec!["issuer"]),
        ("[revocations]\nmode = \"online\"\nfile = \"a\"".to_owned(), vec!["revocations.file"]),
        ("[revocations]\nmode = \"online\"\ncache_dir = \"a\"".to_owned(), vec!["revocations.cache_dir"]),
        ("[revocations]\nmode = \"synced\"\nfile = \"a\"".to_owned(), vec!["revocations.file"]),
        ("[revocations]\nmode = \"hybrid\"\nfile = \"a\"\ncache_dir = \"b\"".to_owned(), vec!["revocations.cache_dir"]),
        ("[revocations]\nmode = \"online\"".to_owned(), vec![]),
        ("[revocations]\nmode = \"synced\"".to_owned(), vec![]),
        ("[revocations]\nmode = \"hybrid\"".to_owned(), vec![]),
        ("[revocations]\nmode = \"hybrid\"\nfile = \"a\"".to_owned(), vec![]),
        ("[did_documents]\nresolve = true".to_owned(), vec![]),
        ("network = true".to_owned(), vec!["network"]),
        ("[network]".to_owned(), vec![]),
        ("[network]\nproxy = \"a\"".to_owned(), vec!["network.proxy"]),
        ("[network]\nports = 8443".to_owned(), vec!["network.ports"]),
        (
            "[network]\nports = [0, 65536, \"443\", 8443]".to_owned(),
            vec!["network.ports[0]", "network.ports[1]", "network.ports[2]"],
        ),
        (
            "[network]\ninsecure_allow_networks = [\"10.0.0.0\", \"10.0.0.0/33\", 10, \"10.1.0.1/16\", \"10.1.0.0/16\"]".to_owned(),
            vec![
                "network.insecure_allow_networks[0]",
                "network.insecure_allow_networks[1]",
                "network.insecure_allow_networks[2]",
                "network.insecure_allow_networks[3]",
            ],
        ),
        ("[network]\nroot_certificates = \"missing.pem\"".to_owned(), vec!["network.root_certificates"]),
        ("[network]\nroot_certificates = 3".to_owned(), vec!["network.root_certificates"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(keys(complete().toml(&text, directory.path())), want, "{text}");
    }
}

#[test]
fn mistakes_about_the_network_stand_beside_all_others() {
    let text =
        "[[issuer]]\norigin = \"http://b.example\"\ndiscover = true\n[network]\nports = [0]\n[tools]\n\"[\" = {}";
    assert_eq!(
        keys(complete().server_origin("x").toml(text, Path::new(""))),
        ["network.ports[0]", "tools.\"[\"", "issuer[0].origin", "server_origin"]
    );
}

/// Attack: a file on a production machine lets an issuer, a DID or a list point at this machine or its metadata service.
#[test]
fn s35_no_file_reaches_this_machine() {
    for origin in
        ["https://127.0.0.1", "https://localhost", "https://[::1]", "http://127.0.0.1:8080", "http://localhost"]
    {
        let text = format!("[[issuer]]\norigin = \"{origin}\"\ndiscover = true\n[network]\nports = [8080]");
        assert_eq!(keys(complete().toml(&text, Path::new(""))), ["issuer[0].origin"], "{origin}");
    }
    for network in [
        "127.0.0.0/8",
        "127.0.0.1/32",
        "0.0.0.0/0",
        "0.0.0.0/8",
        "169.254.169.254/32",
        "169.254.0.0/16",
        "::/0",
        "::1/128",
        "fe80::/10",
        "::ffff:127.0.0.1/128",
        "::ffff:a9fe:a9fe/128",
        "100.100.100.200/32",
        "100.64.0.0/10",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "fd00:ec2::254/128",
        "fc00::/7",
    ] {
        let text = format!("[network]\ninsecure_allow_networks = [\"{network}\"]");
        let want = ["network.insecure_allow_networks[0]"];
        assert_eq!(keys(complete().toml(&text, Path::new(""))), want, "{network}");
    }
    for key in ["loopback", "allow_loopback", "dangerous_allow_loopback", "insecure"] {
        let text = format!("[network]\n{key} = true");
        assert_eq!(keys(complete().toml(&text, Path::new(""))), [format!("network.{key}")]);
    }
}

/// Attack: as above, by a file that relies on a fetcher for development that the application happens to pass.
#[test]
fn s35_plain_http_needs_code_twice() {
    let text = "[[issuer]]\norigin = \"http://127.0.0.1:8080\"\ndiscover = true";
    let build = || complete().toml(text, Path::new("")).fetcher(loopback_fetcher());
    assert_eq!(keys(build()), ["issuer[0].origin"]);
    assert_eq!(keys(build().dangerous_dev_profile()), [""; 0]);
}

#[test]
fn a_fetcher_of_the_application_and_a_table_for_another_contradict_each_other() {
    let text = format!("{DISCOVERED}[network]\nports = [8443]");
    assert_eq!(keys(bare().toml(&text, Path::new("")).fetcher(Fetcher::new().unwrap())), ["network"]);
    assert_eq!(keys(bare().toml(DISCOVERED, Path::new("")).fetcher(Fetcher::new().unwrap())), [""; 0]);
}

#[test]
fn a_mistake_elsewhere_leaves_no_cache_behind() {
    let directory = tempfile::tempdir().unwrap();
    let text = "server_origin = \"x\"\n[revocations]\nmode = \"synced\"\ncache_dir = \"cache\"";
    assert_eq!(keys(complete().toml(text, directory.path())), ["server_origin"]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// Attack: another user of the machine replaces the roots that say who may answer for an issuer.
#[cfg(unix)]
#[test]
fn s33_roots_that_others_can_write_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let build = || complete().toml("[network]\nroot_certificates = \"ca.pem\"", directory.path());
    write(directory.path(), "ca.pem", &root_certificate(), 0o644);
    assert_eq!(keys(build()), [""; 0]);
    fs::remove_file(directory.path().join("ca.pem")).unwrap();
    write(directory.path(), "ca.pem", &root_certificate(), 0o664);
    assert_eq!(keys(build()), ["network.root_certificates"]);
    fs::remove_file(directory.path().join("ca.pem")).unwrap();
    write(directory.path(), "ca.pem", "no certificate", 0o644);
    assert_eq!(keys(build()), ["network.root_certificates"]);
}

#[test]
fn a_discovered_issuer_of_a_file_is_that_of_code() {
    let text = r#"
        [[issuer]]
        origin = "https://registry.example.com"
        discover = true
        max_level = 3
        subjects = ["did:key"]
        [[issuer]]
        origin = "https://partner.example.net"
        discover = true
        additional = true
        [revocations]
        mode = "synced"
        [did_documents]
        resolve = true
        [tools]
        read = { min_trust_level = 2, issuers = ["https://partner.example.net"] }
    "#;
    let fetcher = Fetcher::new().unwrap();
    let from_file = bare().toml(text, Path::new("")).fetcher(fetcher.clone()).build().unwrap();
    let discover = |origin: &str| Issuer::discover(origin, fetcher.clone()).unwrap();
    let limited = discover(REGISTRY).max_level(TrustLevel::OrganizationValidated).subjects(["did:key"]).unwrap();
    let list = RevocationSync::builder(fetcher.clone()).issuer(REGISTRY).issuer("https://partner.example.net");
    let live = Arc::new(OnlineStatus::new(fetcher.clone()));
    let from_code = bare()
        .fetcher(fetcher.clone())
        .trusted_issuer(limited)
        .additional_issuer(discover("https://partner.example.net"))
        .revocations(Revocations::synced(Arc::new(list.build().unwrap()), live))
        .did_documents(Arc::new(DidWebDocuments::new(fetcher.clone())))
        .tool("read", level(2).trust_issuer("https://partner.example.net"))
        .build()
        .unwrap();
    let names = |config: &GuardConfig| {
        let sources = config.health().sources;
        sources.into_iter().map(|source| (source.kind.as_str(), source.issuer)).collect::<Vec<_>>()
    };
    assert_eq!(names(&from_file), names(&from_code));
    assert_eq!(from_file.verifier().has_revocations(), from_code.verifier().has_revocations());
}

/// Attack: the policy behind a decision is changed afterwards: whom to ask, how, or who may answer; and the evidence does
/// not tell the two apart. The keys themselves are not part of it, or every rollover would look like such a change.
#[test]
fn s33_the_digest_covers_what_is_asked_over_the_network_and_how() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "ca.pem", &root_certificate(), 0o600);
    write(directory.path(), "other.pem", &root_certificate(), 0o600);
    write(directory.path(), "registry.jwks.json", JWKS, 0o600);
    let documents = tempfile::tempdir_in(directory.path()).unwrap();
    let documents = format!("[did_documents]\ndirectory = '{}'", documents.path().display());
    let digest = |text: &str| bare().toml(text, directory.path()).build().unwrap().digest().to_owned();
    let with = |more: &str| digest(&format!("{DISCOVERED}{more}"));
    let same = with("[network]\nports = [8443, 9443]");
    assert_eq!(with("[network]\nports = [9443, 8443, 9443]"), same, "order");
    let mut seen = vec![same];
    for (name, changed) in [
        ("no table", with("")),
        ("issuer", digest("[[issuer]]\norigin = \"https://b.example\"\ndiscover = true")),
        ("keys by file", digest(&format!("[[issuer]]\norigin = \"{REGISTRY}\"\njwks_file = \"registry.jwks.json\""))),
        ("level", with("max_level = 1")),
        ("subjects", with("subjects = [\"did:key\"]")),
        ("ports", with("[network]\nports = [8443]")),
        ("networks", with("[network]\ninsecure_allow_networks = [\"10.0.0.0/8\"]")),
        ("roots", with("[network]\nroot_certificates = \"ca.pem\"")),
        ("other roots", with("[network]\nroot_certificates = \"other.pem\"")),
        ("online", with("[revocations]\nmode = \"online\"")),
        ("synced", with("[revocations]\nmode = \"synced\"")),
        ("hybrid", with("[revocations]\nmode = \"hybrid\"")),
        ("hybrid with a file", with("[revocations]\nmode = \"hybrid\"\nfile = \"a\"")),
        ("offline", with("[revocations]\nfile = \"a\"")),
        ("documents", with("[did_documents]\nresolve = true")),
        ("documents by file", with(&documents)),
    ] {
        assert!(!seen.contains(&changed), "{name}");
        seen.push(changed);
    }
    let by_code = bare().toml(DISCOVERED, directory.path()).fetcher(Fetcher::new().unwrap()).build().unwrap();
    assert!(!seen.iter().any(|digest| digest == by_code.digest()), "a fetcher of the application");
}
