use super::*;

fn entries(directory: &Path, size: u64) -> Vec<u64> {
    let mut reader = TileReader::new(storage(), directory, size);
    assert_eq!(root(&mut reader).unwrap(), frontier(size).root());
    (0..size)
        .filter(|index| match reader.entry(*index).unwrap() {
            Some(found) => {
                assert_eq!(found, entry(*index));
                false
            }
            None => true,
        })
        .collect()
}

fn contains(directory: &Path, index: u64) -> bool {
    let needle = entry(index);
    files(directory).values().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

#[test]
fn takes_the_entry_and_leaves_the_tree() {
    let directory = log(600);
    let path = directory.path();
    assert_eq!(redact(&storage(), path, &[3, 300, 7, 3], 600).unwrap(), 3);
    assert_eq!(entries(path, 600), [3, 7, 300]);
    assert!([3, 7, 300].iter().all(|index| !contains(path, *index)));
    assert!(!path.join("tile/entries/000").exists() && !path.join("tile/entries/001").exists());
    assert!(TileReader::new(storage(), path, 600).bundle(0).unwrap().2);
    assert!(!TileReader::new(storage(), path, 600).bundle(2).unwrap().2);
    // again, and one more
    assert_eq!(redact(&storage(), path, &[3, 300, 4], 600).unwrap(), 1);
    assert_eq!(entries(path, 600), [3, 4, 7, 300]);
    assert!(!contains(path, 4));
}

#[test]
fn takes_an_entry_of_the_bundle_that_still_fills() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut writer = open(path, 0);
    for size in [290, 300, 310] {
        push(&mut writer, size);
        writer.sync().unwrap();
    }
    assert_eq!(redact(&storage(), path, &[280, 299], 300).unwrap(), 2);
    assert!(!contains(path, 280) && !contains(path, 299));
    // the widest file is kept: the write-ahead log may have let go of its entries
    assert_eq!(entries(path, 310), [280, 299]);
    assert_eq!(redact(&storage(), path, &[281], 310).unwrap(), 1);
    // the writer that still knows the entries does not bring them back
    push(&mut writer, 320);
    writer.sync().unwrap();
    assert_eq!(entries(path, 320), [280, 281, 299]);
    for index in [280, 281, 299] {
        assert!(!contains(path, index));
    }
    // nor does one that goes on, nor one that writes everything anew
    for from in [290, 320, 256] {
        let mut writer = open(path, from);
        push(&mut writer, 330);
        writer.sync().unwrap();
        assert_eq!(entries(path, 330), [280, 281, 299], "{from}");
        assert!(!contains(path, 280));
    }
    let mut writer = open(path, 330);
    push(&mut writer, 520);
    writer.sync().unwrap();
    writer.drop_partials(520).unwrap();
    writer.drop_partials(520).unwrap();
    assert_eq!(entries(path, 520), [280, 281, 299]);
    let names: Vec<_> = files(path).into_keys().filter(|path| path.contains("entries")).collect();
    assert_eq!(names, ["tile/entries-redacted/001", "tile/entries/000", "tile/entries/002.p/8"]);
}

#[test]
fn goes_on_where_a_crash_stopped_it() {
    let directory = log(300);
    let before = std::fs::read(directory.path().join("tile/entries/000")).unwrap();
    redact(&storage(), directory.path(), &[5], 300).unwrap();
    let after = files(directory.path());
    // the new file is there, the old one not yet gone, or overwritten by half
    for left in [before.clone(), vec![0; before.len()]] {
        std::fs::write(directory.path().join("tile/entries/000"), left).unwrap();
        assert_eq!(entries(directory.path(), 300), [5]);
        assert_eq!(redact(&storage(), directory.path(), &[5], 300).unwrap(), 0);
        assert_eq!(files(directory.path()), after);
    }
}

#[test]
fn refuses_what_is_not_there_or_was_altered() {
    let directory = log(600);
    let path = directory.path();
    for index in [600, 767, 768, u64::MAX] {
        assert_eq!(kind_of(&redact(&storage(), path, &[index], 600).unwrap_err()), "missing", "{index}");
    }
    let file = path.join("tile/entries/001");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let before = files(path);
    assert_eq!(kind_of(&redact(&storage(), path, &[400], 600).unwrap_err()), "malformed");
    assert_eq!(files(path), before);
    prune(&storage(), path, 256).unwrap();
    assert_eq!(kind_of(&redact(&storage(), path, &[3], 600).unwrap_err()), "pruned");
}

#[test]
fn takes_partial_files_from_under_a_writer_that_has_not_synced_them() {
    let disk = SimDisk::new(0);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let log = Path::new("/");
    let mut writer = TileWriter::open(Arc::clone(&storage), log, 0).unwrap();
    for size in [10, 20] {
        push(&mut writer, size);
        writer.write_partials().unwrap();
    }
    assert_eq!(redact(&storage, log, &[3], 20).unwrap(), 1);
    writer.sync().unwrap();
    push(&mut writer, 30);
    writer.sync().unwrap();
    let mut reader = TileReader::new(Arc::clone(&storage), log, 30);
    assert_eq!((reader.entry(3).unwrap(), reader.entry(29).unwrap()), (None, Some(entry(29))));
    // but a directory that just went away is an error
    push(&mut writer, 300);
    writer.write_partials().unwrap();
    for path in disk.files().iter().filter(|path| path.starts_with("/tile/entries/001.p")) {
        disk.remove_file(path).unwrap();
    }
    disk.remove_dir(Path::new("/tile/entries/001.p")).unwrap();
    assert_eq!(kind_of(&writer.sync().unwrap_err()), "missing");
}
