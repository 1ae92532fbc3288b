//! The half of `power_cut.sh` that looks at the log after the power came back.

use std::path::PathBuf;

use crate::check::{Said, recovered};
use crate::job::Job;

/// Started by `power_cut.sh` with what the writer had said before the power went.
#[test]
#[ignore = "started by power_cut.sh, which cuts the power of a file system of its own"]
fn child_check_after_power_cut() {
    let job = Job::from_environment().expect("started by power_cut.sh");
    let said: PathBuf = std::env::var_os("POWER_CUT_SAID").unwrap().into();
    let said = Said::parse(&std::fs::read(said).unwrap());
    let Some(key) = said.key else {
        assert!(said.acked.is_empty());
        println!("\nchecked 0 acknowledged records");
        return;
    };
    recovered(&job, &said.acked, &key);
    println!("\nchecked {} acknowledged records", said.acked.len());
}
