use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

use super::key::cosigned_text;
use super::*;

/// From c2sp.org/signed-note.
const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

const TEXT: &str = "example.com/log\n1\nG7l9zCFjXUfiZj79/QoXRobZjdcBNS3SzQbotD/T0wU=\n";

fn signer(name: &str) -> Ed25519NoteSigner {
    Ed25519NoteSigner::from_seed(name, &[name.len().try_into().unwrap(); 32]).unwrap()
}

fn keys(signers: &[&dyn NoteSigner]) -> Vec<VerifierKey> {
    signers.iter().map(|signer| signer.verifier_key().clone()).collect()
}

fn parse(note: &[u8]) -> UnverifiedNote {
    UnverifiedNote::parse(note).unwrap()
}

#[test]
fn the_example_of_the_specification_verifies() {
    let key: VerifierKey = EXAMPLE_KEY.parse().unwrap();
    assert_eq!(key.to_string(), EXAMPLE_KEY);
    assert_eq!((key.name(), key.key_id()), ("example.com/foo", 0x530d_903a));
    let note = parse(EXAMPLE_NOTE.as_bytes());
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.verify(std::slice::from_ref(&key)), Ok(vec![&key]));
    assert_eq!(note.cosigned_at(&key), None);
    assert_eq!(note.to_bytes(), EXAMPLE_NOTE.as_bytes());
}

#[test]
fn a_note_of_another_form_is_malformed() {
    let good = EXAMPLE_NOTE;
    let changed = |from: &str, to: &str| {
        let changed = good.replace(from, to);
        assert_ne!(changed, good, "{from}");
        changed
    };
    for (what, note) in [
        ("empty", String::new()),
        ("only an empty line", "\n\n".to_owned()),
        ("no signature", "text\n\n".to_owned()),
        ("no empty line", changed("\n\n", "\n")),
        ("two empty lines, the second before nothing", changed("IneyaQM=\n", "IneyaQM=\n\n")),
        ("no line break at the end", good.trim_end().to_owned()),
        ("carriage return", changed("\n\n", "\r\n\n")),
        ("tab in the text", changed("is an", "is\tan")),
        ("NUL in the text", changed("is an", "is\0an")),
        ("hyphen for the dash", changed("\u{2014} ", "- ")),
        ("en dash", changed("\u{2014} ", "\u{2013} ")),
        ("no space after the dash", changed("\u{2014} ", "\u{2014}")),
        ("two spaces after the dash", changed("\u{2014} ", "\u{2014}  ")),
        ("no name", changed("example.com/foo ", "")),
        ("plus in the name", changed("example.com/foo ", "example.com+foo ")),
        ("no-break space in the name", changed("example.com/foo ", "example.com\u{a0}foo ")),
        ("ideographic space in the name", changed("example.com/foo ", "example.com\u{3000}foo ")),
        ("line separator in the name", changed("example.com/foo ", "example.com\u{2028}foo ")),
        ("two spaces before the signature", changed("foo Uw", "foo  Uw")),
        ("something behind the signature", changed("yaQM=\n", "yaQM= x\n")),
        ("no padding", changed("yaQM=\n", "yaQM\n")),
        ("too much padding", changed("yaQM=\n", "yaQM==\n")),
        ("spare bits", changed("yaQM=\n", "yaQN=\n")),
        ("base64url", changed("Okn8srV1", "Okn8-_V1")),
        ("a key id and no signature", changed(good.rsplit(' ').next().unwrap(), "Uw2QOg==\n")),
        ("no whole key id", changed(good.rsplit(' ').next().unwrap(), "Uw2Q\n")),
        ("no bytes", changed(good.rsplit(' ').next().unwrap(), "\n")),
        ("too long", format!("{}{good}", "x".repeat(MAX_NOTE_BYTES))),
    ] {
        assert_eq!(UnverifiedNote::parse(note.as_bytes()), Err(NoteError::Malformed), "{what}");
    }
    let mut bytes = good.as_bytes().to_vec();
    bytes[3] = 0xff;
    assert_eq!(UnverifiedNote::parse(&bytes), Err(NoteError::Malformed), "not UTF-8");
}

#[test]
fn the_last_empty_line_ends_the_text() {
    let signer = signer("a");
    for text in ["\n", "\n\n", "one\n\ntwo\n", "one\n\n\n", "one\n\n\u{2014} a AAAA\n"] {
        let note = parse(&sign_note(text, &[&signer]).unwrap());
        assert_eq!(note.text(), text);
        assert!(note.verify(&keys(&[&signer])).is_ok());
    }
}

#[test]
fn a_hundred_signatures_are_read_and_no_more() {
    let signer = signer("a");
    let signers = |number| vec![&signer as &dyn NoteSigner; number];
    let most = sign_note(TEXT, &signers(MAX_NOTE_SIGNATURES)).unwrap();
    assert_eq!(parse(&most).signatures().len(), MAX_NOTE_SIGNATURES);
    let more = sign_note(TEXT, &signers(MAX_NOTE_SIGNATURES + 1)).unwrap();
    assert_eq!(UnverifiedNote::parse(&more), Err(NoteError::Malformed));

    let mut full = parse(&most);
    let line = "\u{2014} b AAAAAAA=\n";
    assert_eq!(full.add_signature_lines(line), Err(NoteError::Malformed));
    assert!(full.sign(&signer).is_err());
    assert_eq!(full.to_bytes(), most, "nothing was added");
}

#[test]
fn unknown_signatures_are_ignored_and_wrong_ones_refuse_the_note() {
    let (log, other, stranger) = (signer("log"), signer("other"), signer("stranger"));
    let note = sign_note(TEXT, &[&stranger, &log, &other]).unwrap();
    let both = keys(&[&log, &other]);
    assert_eq!(parse(&note).verify(&both).unwrap(), both.iter().collect::<Vec<_>>());
    assert_eq!(parse(&note).verify(&both[..1]).unwrap(), [&both[0]]);
    assert_eq!(parse(&note).verify(&[]), Err(NoteError::UnknownKey));
    assert_eq!(parse(&note).verify(&keys(&[&signer("nobody")])), Err(NoteError::UnknownKey));

    // the same name and key id above a signature of something else
    let elsewhere = sign_note("another text\n", &[&other]).unwrap();
    let line = String::from_utf8(elsewhere).unwrap().split("\n\n").nth(1).unwrap().to_owned();
    let mut mixed = parse(&sign_note(TEXT, &[&log]).unwrap());
    mixed.add_signature_lines(&line).unwrap();
    assert_eq!(mixed.verify(&both), Err(NoteError::BadSignature));
    assert!(mixed.verify(&both[..1]).is_ok());
}

#[test]
fn a_name_or_an_id_alone_is_no_known_key() {
    let (log, namesake) = (signer("log"), Ed25519NoteSigner::from_seed("log", &[9; 32]).unwrap());
    let note = parse(&sign_note(TEXT, &[&log]).unwrap());
    assert_eq!(note.verify(&keys(&[&namesake])), Err(NoteError::UnknownKey));
    let renamed = String::from_utf8(note.to_bytes()).unwrap().replace("\u{2014} log ", "\u{2014} lag ");
    assert_eq!(parse(renamed.as_bytes()).verify(&keys(&[&log])), Err(NoteError::UnknownKey));
}

#[test]
fn a_second_signature_of_a_key_counts_once_and_has_to_be_right() {
    let log = signer("log");
    let key = keys(&[&log]);
    let twice = parse(&sign_note(TEXT, &[&log, &log]).unwrap());
    assert_eq!(twice.verify(&key).unwrap(), [&key[0]]);
    assert_eq!(twice.verify(&[key[0].clone(), key[0].clone()]).unwrap().len(), 1);

    let wrong = sign_note("another text\n", &[&log]).unwrap();
    let wrong = String::from_utf8(wrong).unwrap().split("\n\n").nth(1).unwrap().to_owned();
    let mut note = parse(&sign_note(TEXT, &[&log]).unwrap());
    note.add_signature_lines(&wrong).unwrap();
    assert_eq!(note.verify(&key), Err(NoteError::BadSignature));
}

#[test]
fn signature_lines_are_added_whole_or_not_at_all() {
    let log = signer("log");
    let before = sign_note(TEXT, &[&log]).unwrap();
    for (what, lines) in [
        ("nothing", ""),
        ("an empty line", "\n"),
        ("no line break", "\u{2014} b AAAAAAA="),
        ("a line that is none", "\u{2014} b AAAAAAA=\nb AAAAAAA=\n"),
        ("an empty line between", "\u{2014} b AAAAAAA=\n\n\u{2014} b AAAAAAA=\n"),
        ("a control character", "\u{2014} b\u{1} AAAAAAA=\n"),
    ] {
        let mut note = parse(&before);
        assert_eq!(note.add_signature_lines(lines), Err(NoteError::Malformed), "{what}");
        assert_eq!(note.to_bytes(), before, "{what}");
    }
    let mut note = parse(&before);
    note.add_signature_lines("\u{2014} b AAAAAAA=\n\u{2014} c AAAAAAA=\n").unwrap();
    note.sign(&signer("other")).unwrap();
    let names: Vec<_> = note.signatures().iter().map(NoteSignature::name).collect();
    assert_eq!(names, ["log", "b", "c", "other"]);
    assert_eq!(parse(&note.to_bytes()), note);
    assert_eq!(note.verify(&keys(&[&log, &signer("other")])).unwrap().len(), 2);
}

#[test]
fn what_is_no_text_is_not_signed() {
    for text in ["", "no line break", "tab\t\n", "carriage return\r\n"] {
        let error = sign_note(text, &[&signer("log")]).unwrap_err();
        assert_eq!(error.0.downcast_ref(), Some(&NoteError::Malformed), "{text:?}");
    }
}

/// A witness's key, as c2sp.org/tlog-cosignature has it.
struct Witness {
    key: SigningKey,
    verifier: VerifierKey,
}

impl Witness {
    fn new() -> Self {
        let key = SigningKey::from_bytes(&[77; 32]);
        let public = key.verifying_key().to_bytes();
        Self { verifier: VerifierKey::new("w", SignatureType::CosignatureV1, &public).unwrap(), key }
    }

    /// The line of a cosignature of `text` at `signed_time`, which says that it was at `told_time`.
    fn line(&self, text: &str, signed_time: u64, told_time: u64) -> String {
        let signature = self.key.sign(cosigned_text(signed_time, text).as_bytes());
        let mut line = String::new();
        let bytes = [told_time.to_be_bytes().as_slice(), &signature.to_bytes()].concat();
        write_signature(&mut line, self.verifier.name(), self.verifier.key_id(), &bytes);
        line
    }
}

#[test]
fn a_cosignature_covers_its_time_and_the_text() {
    let witness = Witness::new();
    let key = std::slice::from_ref(&witness.verifier);
    let verify = |lines: &[String]| {
        let mut note = parse(&sign_note(TEXT, &[&signer("log")]).unwrap());
        note.add_signature_lines(&lines.concat()).unwrap();
        (note.verify(key).map(|keys| keys.len()), note.cosigned_at(&witness.verifier))
    };
    let at = |time| witness.line(TEXT, time, time);
    assert_eq!(verify(&[at(7)]), (Ok(1), Some(7)));
    assert_eq!(verify(&[at(0)]), (Ok(1), Some(0)));
    assert_eq!(verify(&[at((1 << 63) - 1)]), (Ok(1), Some((1 << 63) - 1)));
    assert_eq!(verify(&[at(7), at(9), at(8)]), (Ok(1), Some(9)), "a witness counts once, at its newest");
    assert_eq!(verify(&[at(1 << 63)]), (Err(NoteError::BadSignature), None), "beyond 2^63");
    assert_eq!(verify(&[witness.line(TEXT, 7, 8)]), (Err(NoteError::BadSignature), None), "another time");
    assert_eq!(verify(&[witness.line("another\n", 7, 7)]), (Err(NoteError::BadSignature), None), "another text");
    let bad_and_good = verify(&[witness.line(TEXT, 7, 99), at(8)]);
    assert_eq!(bad_and_good, (Err(NoteError::BadSignature), Some(8)), "an unverified time is not told");
}

#[test]
fn signatures_of_one_type_do_not_pass_for_the_other() {
    let witness = Witness::new();
    let plain = Ed25519NoteSigner::from_seed("w", &[77; 32]).unwrap();
    assert_eq!(plain.verifier_key().public_key(), witness.verifier.public_key());
    assert_ne!(plain.verifier_key().key_id(), witness.verifier.key_id());

    // each signature under the other's id
    let cosignature = STANDARD.decode(witness.line(TEXT, 7, 7).trim_end().rsplit(' ').next().unwrap()).unwrap();
    let mut note = format!("{TEXT}\n");
    write_signature(&mut note, "w", plain.verifier_key().key_id(), &cosignature[4..]);
    assert_eq!(parse(note.as_bytes()).verify(&keys(&[&plain])), Err(NoteError::BadSignature));
    let signature = plain.sign(TEXT.as_bytes()).unwrap();
    for timed in [signature.clone(), [&[0; 8], signature.as_slice()].concat()] {
        let mut note = format!("{TEXT}\n");
        write_signature(&mut note, "w", witness.verifier.key_id(), &timed);
        assert_eq!(
            parse(note.as_bytes()).verify(std::slice::from_ref(&witness.verifier)),
            Err(NoteError::BadSignature)
        );
    }
}

#[test]
fn a_signature_of_another_length_does_not_verify() {
    let log = signer("log");
    let signature = log.sign(TEXT.as_bytes()).unwrap();
    for bytes in [&signature[..63], &[signature.as_slice(), &[0]].concat(), &[0; 64], &[0]] {
        let mut note = format!("{TEXT}\n");
        write_signature(&mut note, "log", log.verifier_key().key_id(), bytes);
        assert_eq!(parse(note.as_bytes()).verify(&keys(&[&log])), Err(NoteError::BadSignature), "{}", bytes.len());
    }
}

#[test]
fn keys_of_another_form_are_refused() {
    let changed = |from: &str, to: &str| EXAMPLE_KEY.replacen(from, to, 1);
    let long_name = "n".repeat(600);
    for (what, key) in [
        ("empty", String::new()),
        ("no name", changed("example.com/foo", "")),
        ("space in the name", changed("example.com/foo", "example.com foo")),
        ("control character in the name", changed("example.com/foo", "example.com\u{7f}foo")),
        ("long name", changed("example.com/foo", &long_name)),
        ("another name", changed("foo", "bar")),
        ("another id", changed("530d903a", "530d903b")),
        ("upper case id", changed("530d903a", "530D903A")),
        ("short id", changed("530d903a", "30d903a")),
        ("long id", changed("530d903a", "0530d903a")),
        ("no id", changed("+530d903a", "")),
        ("another type", changed("+Ae", "+Au")),
        ("unknown type", changed("+Ae", "+Be")),
        ("padding", format!("{EXAMPLE_KEY}=")),
        ("short key", changed("v3U2k", "v3U")),
        ("long key", format!("{EXAMPLE_KEY}AAAA")),
        ("line break", format!("{EXAMPLE_KEY}\n")),
    ] {
        assert_eq!(key.parse::<VerifierKey>(), Err(KeyError), "{what}");
    }
}

#[test]
fn points_that_are_no_key_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut second_encoding = [0xff; 32];
    second_encoding[0] = 0xf0; // p + 3, which is a point
    second_encoding[31] = 0x7f;
    let mut its_first = [0; 32];
    its_first[0] = 3;
    let mut no_point = [0; 32];
    no_point[0] = 2;
    for (what, bytes) in [("small order", identity), ("two encodings", second_encoding), ("no point", no_point)] {
        assert_eq!(VerifierKey::new("a", SignatureType::Ed25519, &bytes), Err(KeyError), "{what}");
    }
    assert!(VerifierKey::new("a", SignatureType::Ed25519, &its_first).is_ok());
}

/// The seed 0, 1, .. 31; `openssl pkey` writes the same bytes.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
    -----END PRIVATE KEY-----\n";

#[test]
fn a_signer_is_read_and_written_as_pem() {
    let seed = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let signer = Ed25519NoteSigner::from_seed("log", &seed).unwrap();
    assert_eq!(signer.to_pkcs8_pem().unwrap().as_str(), PEM);
    let read = Ed25519NoteSigner::from_pkcs8_pem("log", PEM).unwrap();
    assert_eq!(read.verifier_key(), signer.verifier_key());
    assert_eq!(read.sign(b"text").unwrap(), signer.sign(b"text").unwrap());
    // version 2, with the public half
    let version_2 = SigningKey::from_bytes(&seed).to_pkcs8_pem(LineEnding::LF).unwrap();
    let read = Ed25519NoteSigner::from_pkcs8_pem("log", &version_2).unwrap();
    assert_eq!(read.verifier_key(), signer.verifier_key());
}

#[test]
fn what_is_no_key_makes_no_signer() {
    let long = format!("{PEM}{}", " ".repeat(MAX_KEY_PEM_BYTES));
    let public = PEM.replace("PRIVATE", "PUBLIC");
    for (what, pem) in [("empty", ""), ("long", &long), ("public", &public), ("text", "not a key")] {
        assert_eq!(Ed25519NoteSigner::from_pkcs8_pem("log", pem).unwrap_err(), KeyError, "{what}");
    }
    for name in ["", "two words", "plus+plus", "line\nbreak", "escape\u{1b}[0m", "no-break\u{a0}space"] {
        assert_eq!(Ed25519NoteSigner::from_seed(name, &[1; 32]).unwrap_err(), KeyError, "{name:?}");
        assert_eq!(signer("log").with_name(name).unwrap_err(), KeyError, "{name:?}");
    }
}

#[test]
fn signers_differ_and_tell_nothing_of_their_seed() {
    let (one, other) = (Ed25519NoteSigner::generate("log").unwrap(), Ed25519NoteSigner::generate("log").unwrap());
    assert_ne!(one.verifier_key(), other.verifier_key());
    let next = one.with_name("log/2").unwrap();
    assert_eq!(next.verifier_key().public_key(), one.verifier_key().public_key());
    assert_ne!(next.verifier_key().key_id(), one.verifier_key().key_id());

    let shown = format!("{:?}", Ed25519NoteSigner::from_pkcs8_pem("log", PEM).unwrap());
    assert_eq!(shown, "Ed25519NoteSigner { verifier: VerifierKey(log+6915822a), .. }");
}

/// A key in Go's form, for the oracle.
fn oracle_signer(name: &str, seed: &[u8; 32]) -> signed_note::StandardSigner {
    let public = SigningKey::from_bytes(seed).verifying_key().to_bytes();
    let id = signed_note::key_id(name, &[[1].as_slice(), &public].concat());
    let secret = STANDARD.encode([[1].as_slice(), seed].concat());
    signed_note::StandardSigner::new(&format!("PRIVATE+KEY+{name}+{id:08x}+{secret}")).unwrap()
}

/// Pieces of which near-notes are made.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\n",
        "\n\n",
        " ",
        "\u{2014} ",
        "\u{2014}",
        "=",
        "+",
        "A",
        "a/b",
        "\u{a0}",
        "\u{7f}",
        "\t",
        "AAAAAAA=",
        "B",
        "é",
        "-",
    ])
}

proptest! {
    #[test]
    fn notes_are_those_of_the_oracle_byte_for_byte(
        text in "[a-z\u{2014} \n]{0,40}",
        name in "[a-z/.]{1,20}",
        seed in any::<[u8; 32]>(),
    ) {
        let text = format!("{text}\n");
        let signer = Ed25519NoteSigner::from_seed(&name, &seed).unwrap();
        let note = sign_note(&text, &[&signer]).unwrap();
        let mut oracle = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
        oracle.add_sigs(&[&oracle_signer(&name, &seed)]).unwrap();
        prop_assert_eq!(&note, &oracle.to_bytes());

        let key = signed_note::StandardVerifier::new(&signer.verifier_key().to_string()).unwrap();
        let read = signed_note::Note::from_bytes(&note).unwrap();
        prop_assert!(read.verify(&signed_note::VerifierList::new(vec![Box::new(key)])).is_ok());
        prop_assert_eq!(read.text(), text.as_bytes());
        prop_assert!(parse(&note).verify(&keys(&[&signer])).is_ok());
    }

    /// Exactly the notes that the oracle reads are read, and as the same; and each is written as it was.
    #[test]
    fn near_notes_are_judged_as_by_the_oracle(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..3, piece()), 0..4),
    ) {
        let mut note: Vec<char> = EXAMPLE_NOTE.chars().collect();
        for (place, removed, added) in edits {
            let start = place.index(note.len());
            let end = start.saturating_add(removed).min(note.len());
            note.splice(start..end, added.chars());
        }
        let note: String = note.into_iter().collect();
        let (ours, oracle) = (UnverifiedNote::parse(note.as_bytes()), signed_note::Note::from_bytes(note.as_bytes()));
        prop_assert_eq!(ours.is_ok(), oracle.is_ok(), "{}", note);
        if let (Ok(ours), Ok(oracle)) = (ours, oracle) {
            prop_assert_eq!(ours.text().as_bytes(), oracle.text());
            prop_assert_eq!(ours.to_bytes(), note.as_bytes());
            prop_assert_eq!(oracle.to_bytes(), note.as_bytes());
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_note_and_no_panic(bytes in any::<Vec<u8>>(), text in any::<String>()) {
        prop_assert!(UnverifiedNote::parse(&bytes).is_err());
        let _ = UnverifiedNote::parse(format!("{text}\n\n\u{2014} {text}\n").as_bytes());
        prop_assert!(text.parse::<VerifierKey>().is_err());
    }

    #[test]
    fn a_key_is_written_as_it_is_read(name in "[a-z/.\u{e9}]{1,20}", seed in any::<[u8; 32]>(), cosigns in any::<bool>()) {
        let signature_type = if cosigns { SignatureType::CosignatureV1 } else { SignatureType::Ed25519 };
        let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        let key = VerifierKey::new(&name, signature_type, &public).unwrap();
        prop_assert_eq!(key.to_string().parse::<VerifierKey>(), Ok(key.clone()));
        let oracle = signed_note::StandardVerifier::new(&key.to_string());
        prop_assert_eq!(oracle.is_ok(), !cosigns, "the oracle knows one type");
    }
}
