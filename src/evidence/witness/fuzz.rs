//! What fuzzing does with the answers of witnesses: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]

use super::*;
use crate::evidence::fuzz::{KEYS, NOTES};

const OLD: u64 = 2;

/// A status and a body: what is kept is a signature of this very witness, and otherwise the note stays as it was.
pub fn fuzz_witness_answer(data: &[u8]) {
    let Some((status, body)) = data.split_first_chunk::<4>() else { return };
    let Some(status) = status.strip_suffix(b"\n").and_then(parse_decimal).and_then(|status| u16::try_from(status).ok())
    else {
        return;
    };
    let note = UnverifiedNote::parse(NOTES["checkpoints"][3]["signed"].as_str().unwrap().as_bytes()).unwrap();
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    let witness = Witness::new(KEYS[1].clone(), "https://witness.example.com").unwrap();
    let mut submission = Submission { directory: PathBuf::new(), checkpoint, note: note.clone(), before: None };
    let answer = submission.accept(&witness, OLD, status, body);
    let size = submission.checkpoint.size;
    match answer {
        Ok(WitnessAnswer::Cosigned) => {
            assert!(status == 200 && submission.cosigners(std::slice::from_ref(&witness)) == [witness.key().name()]);
            assert_eq!(submission.note.signatures().len(), note.signatures().len().saturating_add(1));
            assert_eq!(submission.note.verify(&*KEYS), Ok(vec![&KEYS[0], &KEYS[1]]));
            return;
        }
        Ok(WitnessAnswer::AskFrom(other)) => assert!(status == 409 && other <= size && other != OLD),
        Err(WitnessError::Ahead { witnessed }) => assert!(status == 409 && witnessed > size),
        Err(_) => {}
    }
    assert_eq!(submission.note, note);
}
