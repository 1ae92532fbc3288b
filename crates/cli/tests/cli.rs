//! The command line from outside: what a person types and sees.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn rmcp_guard(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rmcp-guard")).current_dir(folder).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

#[test]
fn a_key_is_made_once_and_only_its_owner_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let did = stdout(&rmcp_guard(folder.path(), &["keygen", "--out", "k.pem", "--public", "k.pub"]));
    assert!(did.starts_with("did:key:z6Mk"), "{did}");
    assert_eq!(stdout(&rmcp_guard(folder.path(), &["did", "--key", "k.pem"])), did);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(folder.path().join("k.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let again = rmcp_guard(folder.path(), &["keygen", "--out", "k.pem"]);
    assert!(!again.status.success(), "an existing key must not be overwritten");
    assert_eq!(stdout(&rmcp_guard(folder.path(), &["did", "--key", "k.pem"])), did);
}

#[test]
fn badges_are_issued_and_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    stdout(&rmcp_guard(at, &["keygen", "--out", "ca.pem"]));
    let agent = stdout(&rmcp_guard(at, &["keygen", "--out", "a.pem", "--public", "a.pub"]));
    let issuer = ["--issuer", "https://ca.example.test", "--kid", "k1", "--key", "ca.pem"];
    let badge = {
        let mut arguments = vec!["badge", "issue"];
        arguments.extend(issuer);
        arguments.extend(["--subject-key", "a.pub", "--level", "2", "--domain", "a.example.test"]);
        arguments.extend(["--audience", "https://files.example.test"]);
        stdout(&rmcp_guard(at, &arguments))
    };
    std::fs::write(at.join("badge"), &badge).unwrap();
    let shown: Value = serde_json::from_str(&stdout(&rmcp_guard(at, &["badge", "inspect", "badge"]))).unwrap();
    assert_eq!(shown["sub"], agent.as_str());
    assert_eq!(shown["level"], 2);
    assert_eq!(shown["aud"], serde_json::json!(["https://files.example.test"]));

    let without_domain = {
        let mut arguments = vec!["badge", "issue"];
        arguments.extend(issuer);
        arguments.extend(["--subject-key", "a.pub", "--level", "2"]);
        rmcp_guard(at, &arguments)
    };
    assert!(!without_domain.status.success());
    assert!(String::from_utf8_lossy(&without_domain.stderr).contains("domain"));
}

/// The folder holds `ca.pem`, its set `ca.jwks.json`, and `a.pem` with `a.pub`.
fn folder_with_keys() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    stdout(&rmcp_guard(at, &["keygen", "--out", "ca.pem"]));
    stdout(&rmcp_guard(at, &["keygen", "--out", "a.pem", "--public", "a.pub"]));
    let jwks = stdout(&rmcp_guard(at, &["jwks", "--issuer", CA, "--kid", "k1", "--key", "ca.pem"]));
    std::fs::write(at.join("ca.jwks.json"), jwks).unwrap();
    folder
}

const CA: &str = "https://ca.example.test";
const FILES: &str = "https://files.example.test";

#[test]
fn a_badge_is_verified_as_a_guard_would() {
    let folder = folder_with_keys();
    let at = folder.path();
    let agent = stdout(&rmcp_guard(at, &["did", "--key", "a.pem"]));
    let issue = |name: &str, more: &[&str]| {
        let common = ["badge", "issue", "--issuer", CA, "--kid", "k1", "--key", "ca.pem", "--subject-key", "a.pub"];
        std::fs::write(at.join(name), stdout(&rmcp_guard(at, &[&common, more].concat()))).unwrap();
    };
    issue("bound", &["--level", "1", "--audience", FILES]);
    issue("unbound", &["--level", "1"]);
    issue("domain", &["--level", "2", "--domain", "a.example.test", "--audience", FILES]);
    stdout(&rmcp_guard(at, &["keygen", "--out", "other.pem"]));
    let others = stdout(&rmcp_guard(at, &["jwks", "--issuer", CA, "--kid", "k1", "--key", "other.pem"]));
    std::fs::write(at.join("other.jwks.json"), others).unwrap();

    let valid = format!("valid: level 1, subject {agent}");
    let cases: &[(&str, &[&str], Result<&str, &str>)] = &[
        ("bound", &["--issuer", CA, "--jwks", "ca.jwks.json", "--audience", FILES], Ok(&valid)),
        (
            "bound",
            &["--issuer", CA, "--jwks", "ca.jwks.json", "--audience", "https://mail.example.test"],
            Err("BADGE_AUDIENCE_MISMATCH"),
        ),
        ("bound", &["--issuer", CA, "--jwks", "other.jwks.json", "--audience", FILES], Err("BADGE_SIGNATURE_INVALID")),
        (
            "bound",
            &["--issuer", "https://x.example.test", "--jwks", "ca.jwks.json", "--audience", FILES],
            Err("BADGE_ISSUER_UNTRUSTED"),
        ),
        ("unbound", &["--issuer", CA, "--jwks", "ca.jwks.json", "--audience", FILES], Err("for nobody in particular")),
        ("domain", &["--issuer", CA, "--jwks", "ca.jwks.json", "--audience", FILES], Err("REVOCATION_CHECK_FAILED")),
        (
            "domain",
            &["--issuer", CA, "--jwks", "ca.jwks.json", "--audience", FILES, "--insecure-no-revocation"],
            Ok("valid: level 2"),
        ),
        ("a.pub", &["--issuer", CA, "--jwks", "ca.jwks.json", "--audience", FILES], Err("BADGE_MALFORMED")),
    ];
    for (badge, options, want) in cases {
        let output = rmcp_guard(at, &[&["badge", "verify", *badge], *options].concat());
        match want {
            Ok(line) => assert!(stdout(&output).starts_with(line), "{badge} {options:?}"),
            Err(part) => assert_one_line(&output, 1, part),
        }
    }
    let unusable: &[(&[&str], &str)] = &[
        (&["--issuer", CA, "--jwks", "missing", "--audience", FILES], "--jwks"),
        (&["--issuer", "ca", "--jwks", "ca.jwks.json", "--audience", FILES], "not an https origin"),
    ];
    for (options, part) in unusable {
        assert_one_line(&rmcp_guard(at, &[&["badge", "verify", "bound"], *options].concat()), 4, part);
    }
}

/// One line on standard error that names the problem, nothing on standard output, and nothing of a file's contents.
fn assert_one_line(output: &Output, code: i32, part: &str) {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{part}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{part}: {errors}");
    assert!(errors.starts_with("rmcp-guard: ") && errors.contains(part), "{part} is missing in: {errors}");
    assert!(output.stdout.is_empty(), "{part}");
    assert!(!errors.contains("MC4CAQ") && !errors.contains("SECRET"), "{errors}");
}

#[test]
fn a_file_that_cannot_be_used_is_named_in_one_line() {
    let folder = folder_with_keys();
    let at = folder.path();
    std::fs::create_dir(at.join("folder")).unwrap();
    let pem = |label: &str| format!("-----BEGIN {label}-----\nSECRETSECRET\n-----END {label}-----\n");
    for (name, text) in [
        ("empty", Vec::new()),
        ("binary", vec![0xff, 0xfe]),
        ("huge", vec![b'S'; 2_000_000]),
        ("text", b"SECRET".to_vec()),
        ("encrypted", pem("ENCRYPTED PRIVATE KEY").into()),
        ("rsa", pem("RSA PRIVATE KEY").into()),
        // PKCS#8 with the algorithm of a P-256 key
        (
            "p256",
            b"-----BEGIN PRIVATE KEY-----\nMBMGByqGSM49AgEGCCqGSM49AwEHBAA=\n-----END PRIVATE KEY-----\n".to_vec(),
        ),
    ] {
        std::fs::write(at.join(name), text).unwrap();
    }
    let private: &[(&str, &str)] = &[
        ("missing", "missing: "),
        ("folder", "folder: "),
        ("a.pem/x", "a.pem/x: "),
        ("empty", "empty: is empty"),
        ("binary", "binary: is not UTF-8"),
        ("huge", "huge: is larger than 64 KiB"),
        ("text", "text: not a usable Ed25519 key"),
        ("rsa", "rsa: not a usable Ed25519 key"),
        ("p256", "p256: not a usable Ed25519 key"),
        ("encrypted", "openssl pkey"),
        (
            "a.pub",
            "a.pub: not a usable Ed25519 key: not a PKCS#8 PEM block of an Ed25519 private key; it is a public key",
        ),
    ];
    let commands: &[&[&str]] = &[
        &["did", "--key"],
        &["badge", "self-sign", "--key"],
        &["jwks", "--issuer", CA, "--kid", "k1", "--key"],
        &["badge", "issue", "--issuer", CA, "--kid", "k1", "--subject-key", "a.pub", "--level", "1", "--key"],
    ];
    for (file, part) in private {
        for command in commands {
            assert_one_line(&rmcp_guard(at, &[*command, &[*file]].concat()), 4, part);
        }
    }
    let issue = ["badge", "issue", "--issuer", CA, "--kid", "k1", "--key", "ca.pem", "--level", "1", "--subject-key"];
    let public: &[(&str, &str)] =
        &[("missing", "missing: "), ("empty", "is empty"), ("text", "not an SPKI"), ("a.pem", "it is a private key")];
    for (file, part) in public {
        assert_one_line(&rmcp_guard(at, &[&issue[..], &[*file]].concat()), 4, part);
    }
    for file in ["missing", "folder", "empty", "binary", "huge", "text", "a.pem"] {
        assert_one_line(&rmcp_guard(at, &["badge", "inspect", file]), 4, file);
    }
    for file in ["missing", "folder", "binary", "huge", "text", "a.pem"] {
        assert_one_line(&rmcp_guard(at, &["config", "check", file]), 4, file);
    }
    for out in ["a.pem", "folder", "no/where.pem"] {
        assert_one_line(&rmcp_guard(at, &["keygen", "--out", out]), 4, out);
    }
}

#[test]
fn an_argument_that_cannot_be_is_refused() {
    let folder = folder_with_keys();
    let issue = ["badge", "issue", "--issuer", CA, "--kid", "k1", "--key", "ca.pem", "--subject-key", "a.pub"];
    // of an option that comes twice, clap complains; so each case brings what the others have
    let failures: &[(&[&str], &str)] = &[
        (&["--level", "0"], "level 0 is self-signed"),
        (&["--level", "2"], "need a domain"),
        (&["--level", "1", "--lifetime", "59"], "60 to 3600"),
        (&["--level", "1", "--lifetime", "18446744073709551615"], "60 to 3600"),
        (&["--level", "1", "--subject", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"], "not the key"),
    ];
    for (arguments, part) in failures {
        assert_one_line(&rmcp_guard(folder.path(), &[&issue[..], *arguments].concat()), 2, part);
    }
    let usage: &[&[&str]] = &[
        &[],
        &["badge"],
        &["nonsense"],
        &["keygen"],
        &["badge", "self-sign", "--key", "a.pem", "--audience", ""],
        &["jwks", "--issuer", CA, "--kid", "", "--key", "ca.pem"],
        &[&issue[..], &["--level", "9"]].concat(),
        &[&issue[..], &["--level", "1", "--subject", "nobody"]].concat(),
        &[&issue[..], &["--level", "1", "--lifetime", "-1"]].concat(),
    ];
    for arguments in usage {
        let output = rmcp_guard(folder.path(), arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
    }
}

#[test]
fn standard_input_is_a_file_named_dash() {
    let folder = folder_with_keys();
    let with_input = |arguments: &[&str], input: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rmcp-guard"))
            .current_dir(folder.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    };
    let did = stdout(&rmcp_guard(folder.path(), &["did", "--key", "a.pem"]));
    let pem = std::fs::read(folder.path().join("a.pem")).unwrap();
    assert_eq!(stdout(&with_input(&["did", "--key", "-"], &pem)), did);
    assert_one_line(&with_input(&["did", "--key", "-"], b""), 4, "standard input: is empty");
    assert_one_line(&with_input(&["badge", "inspect"], b""), 4, "standard input: is empty");
}

/// A badge that draws on the terminal of whoever looks at it is shown as text.
#[test]
fn what_a_stranger_wrote_reaches_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    // `{"alg":"EdDSA"}` and `{"sub":"<escape>[31mevil<right-to-left override>"}`
    let badge = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJcdTAwMWJbMzFtZXZpbFx1MjAyZSJ9.AAAA";
    std::fs::write(folder.path().join("badge"), badge).unwrap();
    for more in [&[][..], &["--json"]] {
        let output = rmcp_guard(folder.path(), &[&["badge", "inspect", "badge"], more].concat());
        let text = stdout(&output);
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["sub"], "\u{1b}[31mevil\u{202e}", "the JSON still says what stood there");
    }
}

/// Arguments, errors and results alike are without colours where nobody watches.
#[test]
fn colours_are_for_terminals() {
    let folder = folder_with_keys();
    for arguments in [&["did", "show", "did:web:a.example.test"][..], &["did", "key", "missing"], &["badge", "--help"]]
    {
        let output = rmcp_guard(folder.path(), arguments);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{arguments:?}");
    }
}

#[test]
fn completions_come_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout(&rmcp_guard(folder.path(), &["completions", shell]));
        assert!(script.contains("rmcp-guard") && script.contains("self-sign"), "{shell}");
    }
}

#[test]
fn a_reader_that_went_away_is_a_failure_and_no_panic() {
    let folder = folder_with_keys();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_rmcp-guard"))
        .current_dir(folder.path())
        .args(["did", "--key", "a.pem"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_one_line(&output, 4, "standard output: ");
}

#[test]
fn half_a_key_pair_is_not_left_behind() {
    let folder = folder_with_keys();
    let output = rmcp_guard(folder.path(), &["keygen", "--out", "new.pem", "--public", "a.pub"]);
    assert_one_line(&output, 4, "a.pub: ");
    assert!(!folder.path().join("new.pem").exists());
}

#[test]
fn every_mistake_of_a_configuration_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guard.toml");
    std::fs::write(&file, "unknown = 1\n[tools.\"[bad\"]\nmin_trust_level = 9\n").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let output = rmcp_guard(folder.path(), &["config", "check", "guard.toml"]);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["unknown", "[bad", "min_trust_level"] {
        assert!(errors.contains(part), "{part} is missing in: {errors}");
    }
    assert_eq!(errors.lines().count(), 3, "one line for each: {errors}");
}
