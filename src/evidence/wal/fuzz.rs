//! What fuzzing does with the write-ahead log: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]

use std::path::Path;
use std::sync::Arc;

use super::frame::{Check, FRAME_HEADER_BYTES, FrameHeader, write_frame};
use super::segment::{HASHED_BYTES, HEADER_BYTES, Header, hash_of, segment_name};
use super::{FrameKind, WalError, WalReader};
use crate::evidence::merkle::{Frontier, Hash};
use crate::evidence::storage::sim::SimDisk;
use crate::evidence::storage::{Storage, child};

const SEED: [u8; 16] = [7; 16];
const ORIGIN: &str = "log.example/main/1";
const DIRECTORY: &str = "/wal";
const SEGMENT_BYTES: usize = 16 * 1024;

const fn kind_of(byte: u8) -> FrameKind {
    match byte % 8 {
        0 => FrameKind::Close,
        1 | 2 => FrameKind::Commit,
        _ => FrameKind::Entry,
    }
}

/// A frame, a header block, and a body: what is read is written as it was, and a frame with another bit is none.
pub fn fuzz_wal_frame(data: &[u8]) {
    if let Some(header) = FrameHeader::parse(data) {
        assert!(FrameHeader::may_begin(&data[..5]));
        if let Some(body) = data.get(FRAME_HEADER_BYTES..header.frame_bytes()) {
            let mut again = Vec::new();
            write_frame(&mut again, &SEED, (header.kind, header.after_sync), body, None).unwrap();
            assert_eq!(header.verify(&SEED, body).is_some(), again == data[..header.frame_bytes()]);
        }
    }

    let mut block = data.to_vec();
    block.resize(HASHED_BYTES, 0);
    let hash = hash_of(&block);
    block.extend_from_slice(&hash);
    if let Ok(header) = Header::decode(&block) {
        let again = header.encode();
        assert!(again.as_ref().is_none_or(|again| Header::decode(again) == Ok(header)));
        assert!(again.is_none_or(|again| again.len() == HEADER_BYTES));
    }

    let [place, kind, body @ ..] = data else { return };
    let kind = kind_of(*kind);
    let mut frame = Vec::new();
    let written = write_frame(&mut frame, &SEED, (kind, place % 2 == 1), body, Some(&Hash::of_leaf(body)));
    let Some(check) = written else { return assert!(frame.is_empty()) };
    let header = FrameHeader::parse(&frame).unwrap();
    assert_eq!((header.kind, header.check(), header.frame_bytes()), (kind, check, frame.len()));
    assert!(header.verify(&SEED, body).is_some() && header.verify(&[8; 16], body).is_none());
    let bit = usize::from(*place) * 31 % (frame.len() * 8);
    frame[bit / 8] ^= 1 << (bit % 8);
    let body = |header: &FrameHeader| frame.get(FRAME_HEADER_BYTES..header.frame_bytes());
    let verified = |header: FrameHeader| body(&header).is_some_and(|body| header.verify(&SEED, body).is_some());
    assert!(!FrameHeader::parse(&frame).is_some_and(verified));
}

/// A segment: frames, each of a kind and a length, until a kind of 255; then damage, each a place and bits to flip. What is
/// read of it are frames that were written, in order, up to the first damaged one at most.
pub fn fuzz_wal_segment(data: &[u8]) {
    let mut rest = data;
    let (mut segment, mut frames) = (Vec::new(), Vec::new());
    while let [kind, length, behind @ ..] = rest {
        rest = behind;
        let body = vec![*kind; usize::from(*length) * 4 % 1021];
        if *kind == 255 || segment.len() + FRAME_HEADER_BYTES + body.len() > SEGMENT_BYTES - HEADER_BYTES {
            break;
        }
        write_frame(&mut segment, &SEED, (kind_of(*kind), kind & 8 != 0), &body, None).unwrap();
        frames.push((kind_of(*kind), body, segment.len()));
    }
    segment.resize(SEGMENT_BYTES - HEADER_BYTES, 0);
    let sound = segment.clone();
    for damage in rest.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) % segment.len();
        segment[at] ^= damage[2];
    }
    let first_damage = segment.iter().zip(&sound).position(|(left, right)| left != right);
    let header = Header {
        number: 1,
        run: 1,
        bytes: u64::try_from(SEGMENT_BYTES).unwrap(),
        seed: SEED,
        previous_end: 0,
        previous_check: Check::default(),
        origin: ORIGIN.to_owned(),
        start: Frontier::new(),
    };
    let disk = SimDisk::new(0);
    disk.create_dir(Path::new(DIRECTORY)).unwrap();
    disk.put(child(Path::new(DIRECTORY), &segment_name(1)), [header.encode().unwrap(), segment].concat());

    let mut reader = WalReader::open(Arc::new(disk), Path::new(DIRECTORY), ORIGIN).unwrap();
    let mut read = 0;
    let end = loop {
        match reader.next(None) {
            Ok(Some(frame)) => {
                let (kind, body, end) = &frames[read];
                assert_eq!((frame.kind, &frame.body), (*kind, body));
                assert_eq!(frame.leaf.is_some(), *kind == FrameKind::Entry);
                assert_eq!(usize::try_from(frame.end.offset).unwrap(), HEADER_BYTES + end);
                read += 1;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let whole = frames.iter().take_while(|(_, _, end)| first_damage.is_none_or(|damage| *end <= damage)).count();
    assert_eq!(read, whole);
    match end {
        // nothing that a sync has confirmed is passed over
        Ok(()) => assert!(first_damage.is_some() || reader.torn_bytes().unwrap() == 0),
        Err(error) => assert!(first_damage.is_some() && matches!(error, WalError::Damaged { .. }), "{error}"),
    }
}
