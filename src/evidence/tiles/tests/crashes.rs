use super::*;
use crate::evidence::storage::sim::{DiskError, Fault, Operation};

const LOG: &str = "/";
/// The last size in these tests: two full bundles and a partial one.
const END: u64 = 600;

fn on(disk: &SimDisk) -> Arc<dyn Storage> {
    Arc::new(disk.clone())
}

/// What the log's other half keeps: how far tiles are durable, and what is published.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    synced: u64,
    published: u64,
}

/// Pushes up to [`END`], publishing and syncing now and then as `pace` says, until the end or an error.
fn grow(disk: &SimDisk, pace: u64, progress: &mut Progress) -> Result<(), TileError> {
    let mut writer = TileWriter::open(on(disk), Path::new(LOG), progress.synced)?;
    assert_eq!(writer.frontier(), &frontier(progress.synced));
    loop {
        let size = writer.frontier().size();
        for index in size..(size + 1 + (size * 7 + pace * 13) % 90).min(END) {
            writer.push(&entry(index), Hash::of_leaf(&entry(index)))?;
        }
        let size = writer.frontier().size();
        writer.write_partials()?;
        progress.published = progress.published.max(size);
        if (size + pace).is_multiple_of(3) || size == END {
            writer.sync()?;
            progress.synced = size;
        }
        writer.drop_partials(progress.published)?;
        if size == END {
            writer.drop_partials(progress.published)?;
            return Ok(());
        }
    }
}

fn whole() -> BTreeMap<String, Vec<u8>> {
    files(log(END).path())
}

/// Seeds of one run; with `RMCP_GUARD_FULL=1` in the environment, many more.
fn seeds() -> std::ops::Range<u64> {
    0..if full() { 5_000 } else { 24 }
}

#[test]
fn a_power_cut_at_any_change_leaves_a_log_that_goes_on() {
    let whole = whole();
    let all = {
        let disk = SimDisk::new(0);
        grow(&disk, 0, &mut Progress::default()).unwrap();
        assert_eq!(tiles_on(&disk), whole);
        disk.changes()
    };
    for seed in seeds() {
        let mut disk = SimDisk::new(seed);
        let mut progress = Progress::default();
        let mut cuts = 0;
        // recovery is cut off too, again and again
        loop {
            disk.cut_power_at(disk.changes() + (seed * 31 + cuts * 17) % all);
            match grow(&disk, seed, &mut progress) {
                Ok(()) => break,
                Err(error) => assert_eq!(kind_of(&error), "io", "seed {seed}: {error}"),
            }
            cuts += 1;
            disk = disk.crash(seed + cuts);
            if cuts == 4 {
                break;
            }
        }
        if cuts == 4 {
            grow(&disk, seed, &mut progress).unwrap();
        }
        assert_eq!(tiles_on(&disk), whole, "seed {seed}");
        // and all of it is durable
        assert_eq!(durable(&disk, seed), whole, "seed {seed}");
    }
}

/// The tiles after a power cut; a partial tile may be back whose removal was not durable.
fn durable(disk: &SimDisk, seed: u64) -> BTreeMap<String, Vec<u8>> {
    let disk = disk.crash(seed);
    let mut writer = TileWriter::open(on(&disk), Path::new(LOG), END).unwrap();
    writer.sync().unwrap();
    writer.drop_partials(END).unwrap();
    writer.drop_partials(END).unwrap();
    let needed: Vec<_> = whole().into_keys().collect();
    tiles_on(&disk).into_iter().filter(|(path, _)| needed.contains(path)).collect()
}

#[test]
fn a_failed_sync_is_never_followed_by_a_successful_one() {
    let whole = whole();
    for seed in seeds() {
        for operation in [Operation::Sync, Operation::SyncDir, Operation::Write, Operation::Rename] {
            let disk = SimDisk::new(seed);
            let mut progress = Progress::default();
            let nth = 1 + (seed * 7) % 40;
            disk.inject(Fault::nth(operation, nth, DiskError::Io));
            let Err(error) = grow(&disk, seed, &mut progress) else { continue };
            assert_eq!(kind_of(&error), "io");
            // what the failed sync did not write is in the page cache, and clean
            let disk = disk.restart(seed);
            match grow(&disk, seed, &mut progress) {
                Ok(()) => {}
                // some of it was read back from the disk, as far as it came
                Err(error) => panic!("seed {seed} {operation:?}: {error}"),
            }
            assert_eq!(durable(&disk, seed), whole, "seed {seed} {operation:?}");
        }
    }
}

#[test]
fn a_writer_that_failed_writes_nothing_more() {
    for operation in [Operation::Sync, Operation::SyncDir] {
        let disk = SimDisk::new(1);
        let mut writer = TileWriter::open(on(&disk), Path::new(LOG), 0).unwrap();
        push(&mut writer, 300);
        disk.inject(Fault::nth(operation, 1, DiskError::Io));
        assert_eq!(kind_of(&writer.sync().unwrap_err()), "io");
        let before = disk.changes();
        assert_eq!(kind_of(&writer.sync().unwrap_err()), "io");
        assert_eq!(kind_of(&writer.write_partials().unwrap_err()), "io");
        assert_eq!(kind_of(&writer.drop_partials(300).unwrap_err()), "io");
        assert_eq!(disk.changes(), before);
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_damage() {
    let whole = whole();
    let disk = SimDisk::new(3);
    let mut progress = Progress::default();
    disk.set_capacity(Some(20_000));
    assert_eq!(kind_of(&grow(&disk, 3, &mut progress).unwrap_err()), "io");
    disk.set_capacity(None);
    grow(&disk, 3, &mut progress).unwrap();
    assert_eq!(tiles_on(&disk), whole);
}

#[test]
fn pushing_syncs_nothing_until_too_many_files_are_open() {
    let disk = SimDisk::new(0);
    let mut writer = TileWriter::open(on(&disk), Path::new(LOG), 0).unwrap();
    push(&mut writer, 256 * 127);
    assert_eq!(disk.count(Operation::Sync), 0);
    push(&mut writer, 256 * 129);
    assert_eq!((disk.count(Operation::Sync), disk.count(Operation::SyncDir)), (256, 0));
}

#[test]
fn a_power_cut_while_redacting_loses_no_other_entry() {
    for seed in seeds() {
        let disk = SimDisk::new(seed);
        let mut progress = Progress::default();
        grow(&disk, seed, &mut progress).unwrap();
        let before = disk.changes();
        disk.cut_power_at(before + seed % 40);
        let done = redact(&on(&disk), Path::new(LOG), &[5, 9, 590], END).is_ok();
        let disk = disk.crash(seed);
        let check = |disk: &SimDisk, all: bool| {
            let mut reader = TileReader::new(on(disk), Path::new(LOG), END);
            for index in 0..END {
                match reader.entry(index).unwrap_or_else(|error| panic!("seed {seed}, {index}: {error}")) {
                    Some(found) => assert!(found == entry(index) && !(all && [5, 9, 590].contains(&index))),
                    None => assert!([5, 9, 590].contains(&index)),
                }
            }
        };
        check(&disk, done);
        redact(&on(&disk), Path::new(LOG), &[5, 9, 590], END).unwrap();
        check(&disk, true);
        // nothing of it is left in any file, also after another cut
        let disk = disk.crash(seed);
        check(&disk, true);
        for (path, bytes) in tiles_on(&disk) {
            for index in [5, 9, 590] {
                let needle = entry(index);
                assert!(!bytes.windows(needle.len()).any(|window| window == needle), "seed {seed}: {index} in {path}");
            }
        }
    }
}

#[test]
fn a_power_cut_while_pruning_is_finished_later() {
    for seed in seeds() {
        let disk = SimDisk::new(seed);
        grow(&disk, seed, &mut Progress::default()).unwrap();
        disk.cut_power_at(disk.changes() + seed % 20);
        let _ = prune(&on(&disk), Path::new(LOG), 300);
        let disk = disk.crash(seed);
        let mut reader = TileReader::new(on(&disk), Path::new(LOG), END);
        for index in 0..END {
            match reader.entry(index) {
                Ok(found) => assert_eq!(found, Some(entry(index))),
                Err(error) => assert!(kind_of(&error) == "pruned" && index < 256, "seed {seed}, {index}: {error}"),
            }
        }
        assert_eq!(prune(&on(&disk), Path::new(LOG), 300).unwrap(), 256);
        let mut reader = TileReader::new(on(&disk), Path::new(LOG), END);
        assert_eq!(root(&mut reader).unwrap(), frontier(END).root());
        assert_eq!(kind_of(&reader.entry(255).unwrap_err()), "pruned");
    }
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_only_is_written_again() {
    let path = "/tile/0/000.p/10";
    let whole = files(log(10).path());
    let mut readable = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let mut writer = TileWriter::open(on(&disk), Path::new(LOG), 0).unwrap();
        push(&mut writer, 10);
        disk.inject(Fault::nth(Operation::Sync, 1, DiskError::Io).on(path));
        assert_eq!(kind_of(&writer.sync().unwrap_err()), "io");
        let disk = disk.restart(seed);
        readable += usize::from(disk.bytes(path) == whole["tile/0/000.p/10"]);
        let mut writer = TileWriter::open(on(&disk), Path::new(LOG), 0).unwrap();
        push(&mut writer, 10);
        writer.sync().unwrap();
        assert_eq!(tiles_on(&disk.crash(seed)), whole, "seed {seed}");
    }
    assert!((5..40).contains(&readable), "{readable}");
}
