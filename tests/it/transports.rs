//! The matrix of callers and tools on every transport within this process; `tests/stdio.rs` has the one that is not.

use crate::common::{Fixture, Transport};
use crate::matrix::{check_evidence, play, rules};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_matrix_is_the_same_on_every_transport_and_in_every_revision() {
    let rounds: Vec<_> = Transport::with_versions().flat_map(|round| [(round.clone(), false), (round, true)]).collect();
    assert_eq!(rounds.len(), 2 * (5 + 4 + 5 + 5), "every transport with every revision that exists on it");
    futures_util::future::join_all(rounds.into_iter().map(|((transport, version), accepts_level_zero)| async move {
        let name = format!("{transport:?} {version} level 0 {accepts_level_zero}");
        let fixture = Fixture::with(|config| rules(config, accepts_level_zero));
        let server = fixture.serve(transport).await;
        let connect = |credential| server.connect(&version, credential);
        let result = play(&name, transport, accepts_level_zero, connect).await;
        assert_eq!(fixture.demo.runs("unlisted"), 0, "{name}: a tool without a rule ran");
        check_evidence(&name, &fixture.evidence.records().unwrap(), result);
    }))
    .await;
}
