//! What fuzzing does with the states that clients bring back: see [`internal`](crate::internal).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    reason = "a panic is how fuzzing reports a broken law"
)]

use super::*;

const NOW: UnixSeconds = UnixSeconds::new(1_760_000_000);

/// An envelope, and a state: nothing opens that was not sealed here, and what was sealed opens as it was, for its holder and
/// its request, with all of its bits.
pub fn fuzz_request_state(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lifetime = DEFAULT_REQUEST_STATE_LIFETIME;
    let states = RequestStates::new(vec![RequestStateKey::from_bytes(&[7; 32])], lifetime).unwrap();
    let owner = Owner::ApiKey { name: "build-bot".into() };
    let holder = Holder::Owner(&owner);
    let request = RequestDigest::of("tools/call", "read_file", None);
    let reason = |sealed: &str, now| states.open(sealed, holder, &request, now).map_err(|(reason, _)| reason);
    assert_eq!(reason(text, NOW), Err(DenyReason::RequestStateInvalid));

    let sealed = states.seal(text, holder, &request, NOW);
    assert_eq!(sealed.is_none(), text.len() > MAX_REQUEST_STATE_BYTES);
    let Some(sealed) = sealed else { return };
    assert!(sealed.len() <= MAX_SEALED_BYTES);
    assert_eq!(reason(&sealed, NOW).as_deref(), Ok(text));
    assert_eq!(reason(&sealed, NOW.saturating_add(lifetime)), Err(DenyReason::RequestStateExpired));
    assert!(states.open(&sealed, Holder::Anybody, &request, NOW).is_err());
    assert!(states.open(&sealed, Holder::Session(b"build-bot"), &request, NOW).is_err());
    assert!(
        states.open(&sealed, holder, &RequestDigest::of("tools/call", text, None), NOW).is_err() || text == "read_file"
    );
    let mut flipped = sealed.into_bytes();
    let bit = data.iter().fold(7_usize, |bit, byte| bit.wrapping_mul(31) ^ usize::from(*byte)) % (flipped.len() * 7);
    flipped[bit / 7] ^= 1 << (bit % 7);
    assert_eq!(reason(&String::from_utf8(flipped).unwrap(), NOW), Err(DenyReason::RequestStateInvalid));
}
