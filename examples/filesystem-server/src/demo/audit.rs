//! What an auditor does with the log, who has nothing but its key: check it, prove one entry, catch a forgery.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use rmcp_guard::evidence::merkle::Hash;
use rmcp_guard::evidence::note::VerifierKey;
use rmcp_guard::evidence::verify::{FindingKind, TlogProof, Verdict, Verifier};
use rmcp_guard::evidence::{Entry, LogEntry, LogReader};
use serde_json::Value;

/// One entry of the log that the audit is about.
struct Sample {
    directory: PathBuf,
    index: u64,
    bytes: Vec<u8>,
}

/// Checks the log in `evidence` with `key`, proves the entry of the record `id`, and shows that a copy in which that
/// entry says something else is caught.
pub(super) fn audit(evidence: &Path, key: &VerifierKey, id: &str) -> Result<()> {
    println!("\nThe audit, with nothing but the log's key, known beforehand");
    let verifier = Verifier::new([key.clone()]);
    verify(&verifier, evidence)?;
    let sample = find(evidence, id)?;
    prove(&verifier, &sample)?;
    catch_forgery(&verifier, &sample)
}

fn verify(verifier: &Verifier, evidence: &Path) -> Result<()> {
    for report in verifier.verify_set(evidence, &mut |_, _| {}) {
        ensure!(report.verdict == Verdict::Intact, "the log is not intact: {:?}", report.findings);
        let root = report.root.context("the log has no root")?;
        println!("  verified  {} entries under the signed root {root}", report.entries_checked);
    }
    Ok(())
}

/// The place of the record `id`.
fn find(evidence: &Path, id: &str) -> Result<Sample> {
    for log in LogReader::open_set(evidence)? {
        for entry in log.entries(0)? {
            let (index, LogEntry::Present(bytes)) = entry? else { continue };
            let event = Entry::parse(&bytes).context("not an entry")?.event;
            if serde_json::from_slice::<Value>(event)?.get("id").and_then(Value::as_str) == Some(id) {
                return Ok(Sample { directory: log.directory().to_owned(), index, bytes });
            }
        }
    }
    bail!("the record {id} is not in the log")
}

/// A proof is a text that stands alone: whoever has it, the entry and the key needs no log.
fn prove(verifier: &Verifier, sample: &Sample) -> Result<()> {
    let proof = verifier.prove(&sample.directory, sample.index).map_err(|report| anyhow::anyhow!("{report:?}"))?;
    let text = proof.to_bytes();
    let received = TlogProof::parse(&text)?;
    verifier.verify_proof(&received, &Hash::of_leaf(&sample.bytes))?;
    println!(
        "  proved    entry {}, the denied call, by a proof of {} bytes that stands alone",
        sample.index,
        text.len()
    );
    Ok(())
}

/// Somebody with write access lets the record name another tool.
fn catch_forgery(verifier: &Verifier, sample: &Sample) -> Result<()> {
    let (was, becomes) = (&b"\"delete_path\""[..], &b"\"remove_path\""[..]);
    let copy = tempfile::tempdir()?;
    copy_directory(&sample.directory, copy.path())?;
    let forged = replaced(&sample.bytes, was, becomes).context("the entry does not name the tool")?;
    let mut found = false;
    for path in files_below(&copy.path().join("tile/entries"))? {
        if let Some(bytes) = replaced(&fs::read(&path)?, &sample.bytes, &forged) {
            fs::write(&path, bytes)?;
            found = true;
        }
    }
    ensure!(found, "the entry was not found in the copy");

    let report = verifier.verify_log(copy.path(), &mut |_, _| {});
    let caught = report.findings.first().context("the forgery was not caught")?;
    ensure!(
        report.verdict == Verdict::Tampered
            && caught.kind == FindingKind::EntryAltered
            && caught.index == Some(sample.index),
        "the forgery was caught as something else: {:?}",
        report.findings
    );
    println!("  caught    a copy in which that entry names another tool: tampered, at entry {}", sample.index);
    Ok(())
}

/// `bytes` with the first `from` in it replaced.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let start = bytes.windows(from.len()).position(|window| window == from)?;
    let (before, rest) = bytes.split_at_checked(start)?;
    Some([before, to, rest.get(from.len()..)?].concat())
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    for file in files_below(from)? {
        let target = to.join(file.strip_prefix(from)?);
        fs::create_dir_all(target.parent().context("a file has a directory")?)?;
        fs::copy(&file, &target)?;
    }
    Ok(())
}
