//! Crashes at every step, on the simulated disk.

use proptest::prelude::*;

use super::*;

fn storage(disk: &SimDisk) -> Arc<dyn Storage> {
    Arc::new(disk.clone())
}

#[test]
fn a_log_is_made_wholly_or_not_at_all() {
    let changes = {
        let disk = SimDisk::new(0);
        Log::on(&disk);
        disk.changes()
    };
    for change in 1..=changes {
        for seed in 0..6 {
            let disk = SimDisk::new(seed);
            disk.cut_power_at(change);
            assert!(Log::create(storage(&disk), Path::new(DIRECTORY)).is_err());
            let disk = disk.crash(seed);
            match read_disk(&disk) {
                Ok((start, found)) => assert!(start.size() == 0 && found.is_empty()),
                Err(WalError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                    // and what is left is no obstacle
                    let mut log = Log::on(&disk);
                    log.commit(&[3000]).unwrap();
                    check_found(&log.frames, log.frames.len(), 0, &read_disk(&disk).unwrap());
                }
                Err(error) => panic!("change {change}, seed {seed}: {error}"),
            }
        }
    }
}

/// A log of some segments with spare ones, of which the last write was torn.
fn torn(seed: u64) -> (SimDisk, Vec<(FrameKind, Vec<u8>)>, u64) {
    let disk = SimDisk::new(seed);
    let mut log = Log::on(&disk);
    log.wal.keeper().prepare_spares().unwrap();
    for _ in 0..6 {
        log.commit(&[40_000, 30_000]).unwrap();
    }
    let confirmed = log.frames.len();
    log.write(&[500, 3000, 700]).unwrap();
    let disk = disk.crash(seed);
    let kept = check_found(&log.frames, confirmed, 0, &read_disk(&disk).unwrap());
    (disk, kept, 4 + seed % 6)
}

#[test]
fn a_recovery_that_crashes_anywhere_loses_and_repeats_nothing() {
    for seed in 0..3 {
        let (disk, kept, durable) = torn(seed);
        let changes = {
            let disk = disk.restart(seed);
            let before = disk.changes();
            Log::resume(storage(&disk), Path::new(DIRECTORY), kept.clone(), durable).unwrap();
            disk.changes() - before
        };
        assert!(changes > 8);
        for change in 1..=changes {
            let disk = disk.restart(seed);
            disk.cut_power_at(disk.changes() + change);
            assert!(Log::resume(storage(&disk), Path::new(DIRECTORY), kept.clone(), durable).is_err());
            let disk = disk.crash(seed + change);
            assert_eq!(check_found(&kept, kept.len(), durable, &read_disk(&disk).unwrap()), kept);
            // and again, to the end
            let mut log = Log::resume(storage(&disk), Path::new(DIRECTORY), kept.clone(), durable).unwrap();
            log.commit(&[3000]).unwrap();
            let found = read_disk(&disk.crash(seed)).unwrap();
            check_found(&log.frames, log.frames.len(), durable, &found);
            assert_eq!(found.0.size(), durable);
        }
    }
}

#[test]
fn recovery_twice_is_recovery_once() {
    let (disk, kept, durable) = torn(3);
    for _ in 0..3 {
        Log::resume(storage(&disk), Path::new(DIRECTORY), kept.clone(), durable).unwrap();
        assert_eq!(check_found(&kept, kept.len(), durable, &read_disk(&disk).unwrap()), kept);
    }
}

#[test]
fn a_tail_longer_than_a_segment_is_kept_whole() {
    let disk = SimDisk::new(1);
    let mut log = Log::on(&disk);
    for _ in 0..30 {
        log.commit(&[60_000]).unwrap();
    }
    let mut log = Log::resume(storage(&disk), Path::new(DIRECTORY), log.frames, 0).unwrap();
    for _ in 0..60 {
        log.commit(&[60_000]).unwrap();
    }
    check_found(&log.frames, log.frames.len(), 0, &read_disk(&disk.crash(1)).unwrap());
}

#[test]
fn a_release_that_crashes_anywhere_leaves_no_gap() {
    for seed in 0..6 {
        for change in 1..=20 {
            let (disk, kept, durable) = torn(seed % 4);
            let mut log = Log::resume(storage(&disk), Path::new(DIRECTORY), kept, durable).unwrap();
            let keeper = log.wal.keeper();
            for _ in 0..6 {
                log.commit(&[60_000]).unwrap();
            }
            disk.cut_power_at(disk.changes() + change);
            let cut = keeper.release(log.size()).and_then(|()| keeper.prepare_spares()).is_err();
            let disk = disk.crash(seed * 31 + change);
            check_found(&log.frames, log.frames.len(), log.size(), &read_disk(&disk).unwrap());
            if !cut {
                break;
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<usize>),
    Sync,
    /// Tiles are durable up to some part of what is confirmed, in sixteenths.
    Release(u64),
    Prepare,
    Wipe,
    Crash(u64),
    /// The power goes at one of the next changes, whatever they are.
    CutAt(u64),
    Restart(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![4 => 0..2000_usize, 2 => 0..30_000_usize, 1 => Just(60_000)];
    prop_oneof![
        12 => prop::collection::vec(length, 1..4).prop_map(Step::Write),
        8 => Just(Step::Sync),
        2 => (0..=16_u64).prop_map(Step::Release),
        2 => Just(Step::Prepare),
        1 => Just(Step::Wipe),
        2 => any::<u64>().prop_map(Step::Crash),
        2 => (1..12_u64).prop_map(Step::CutAt),
        1 => any::<u64>().prop_map(Step::Restart),
    ]
}

/// Runs `steps`; after each crash the log must hold every confirmed frame, in order and once, and nothing else but frames
/// that were written behind them.
fn run(seed: u64, steps: &[Step]) {
    let mut disk = SimDisk::new(seed);
    let mut log = Log::on(&disk);
    let (mut confirmed, mut durable) = (0, 0);
    for step in steps {
        let result = match step {
            Step::Write(lengths) => lengths.iter().try_for_each(|length| log.write(&[*length]).map(|_| ())),
            Step::Sync => {
                let written = log.frames.len();
                log.wal.sync().map(|()| confirmed = written)
            }
            Step::Release(part) => {
                durable = durable.max(size_of(&log.frames[..confirmed]) * part / 16);
                log.wal.keeper().release(durable)
            }
            Step::Prepare => log.wal.keeper().prepare_spares(),
            Step::Wipe => {
                let written = log.frames.len();
                log.wal.wipe_spares().map(|()| confirmed = written)
            }
            Step::CutAt(changes) => {
                disk.cut_power_at(disk.changes() + changes);
                Ok(())
            }
            Step::Crash(_) | Step::Restart(_) => Err(io::Error::other("now")),
        };
        if result.is_ok() {
            continue;
        }
        disk = match step {
            Step::Restart(seed) => disk.restart(*seed),
            Step::Crash(seed) => disk.crash(*seed),
            Step::Write(_) | Step::Sync | Step::Release(_) | Step::Prepare | Step::Wipe | Step::CutAt(_) => {
                disk.crash(seed)
            }
        };
        let kept = check_found(&log.frames, confirmed, durable, &read_disk(&disk).unwrap());
        confirmed = kept.len();
        log = Log::resume(storage(&disk), Path::new(DIRECTORY), kept, durable).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_a_sync_confirmed_is_read_back_once_and_nothing_else(seed: u64, steps in prop::collection::vec(any_step(), 1..40)) {
        run(seed, &steps);
    }
}

/// `cargo test --release --no-default-features --lib -- --ignored ten_thousand_crashing_logs`, some minutes.
#[test]
#[ignore = "takes minutes; see above"]
fn ten_thousand_crashing_logs() {
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 10_000, ..ProptestConfig::default() });
    let strategy = (any::<u64>(), prop::collection::vec(any_step(), 1..60));
    runner
        .run(&strategy, |(seed, steps)| {
            run(seed, &steps);
            Ok(())
        })
        .unwrap();
}
