//! The attacks on a root, each against the operations themselves.

#![cfg(unix)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{DEFAULT_READ_BYTES, EntryType, MAX_DEPTH, MAX_READ_BYTES, MAX_WRITE_BYTES, Root};
use crate::error::{FsError, FsErrorKind};
use crate::path::RelPath;

/// A root with a secret beside it: `top/root` and `top/outside/secret`.
struct Fixture {
    top: TempDir,
    root: Root,
}

impl Fixture {
    fn new() -> Self {
        let top = TempDir::new().unwrap();
        fs::create_dir_all(top.path().join("root")).unwrap();
        fs::create_dir_all(top.path().join("outside")).unwrap();
        fs::write(top.path().join("outside/secret"), "secret").unwrap();
        let root = Root::open(&top.path().join("root")).unwrap();
        Self { top, root }
    }

    fn inside(&self, path: &str) -> std::path::PathBuf {
        self.top.path().join("root").join(path)
    }

    fn outside(&self, path: &str) -> std::path::PathBuf {
        self.top.path().join("outside").join(path)
    }

    fn secret_is_untouched(&self) {
        assert_eq!(fs::read_to_string(self.outside("secret")).unwrap(), "secret");
        assert_eq!(fs::read_dir(self.outside("")).unwrap().count(), 1);
    }

    fn names(&self) -> Vec<String> {
        let listing = self.root.list(&path("."), 0, 1000).unwrap();
        listing.entries.into_iter().map(|entry| entry.name).collect()
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn read(root: &Root, text: &str) -> Result<Vec<u8>, FsError> {
    root.read(&path(text), 0, DEFAULT_READ_BYTES).map(|piece| piece.bytes)
}

#[test]
fn links_that_lead_outside_are_refused_by_every_operation() {
    let fixture = Fixture::new();
    symlink("../outside", fixture.inside("up")).unwrap();
    symlink(fixture.outside(""), fixture.inside("absolute")).unwrap();
    symlink("../outside/secret", fixture.inside("file")).unwrap();
    fs::write(fixture.inside("mine"), "mine").unwrap();
    let root = &fixture.root;

    for link in ["up", "absolute"] {
        let below = format!("{link}/secret");
        let new = format!("{link}/new");
        let attempts = [
            ("read", read(root, &below).err()),
            ("list", root.list(&path(link), 0, 10).err()),
            ("stat", root.stat(&path(&below)).err()),
            ("write", root.write(&path(&below), b"x", true).err()),
            ("create", root.write(&path(&new), b"x", false).err()),
            ("mkdir", root.create_directory(&path(&new), false).err()),
            ("mkdir -p", root.create_directory(&path(&new), true).err()),
            ("move out", root.rename(&path("mine"), &path(&new), true).err()),
            ("move in", root.rename(&path(&below), &path("taken"), false).err()),
            ("delete", root.delete(&path(&below), true).err()),
        ];
        for (name, error) in attempts {
            let error = error.unwrap_or_else(|| panic!("{link}: {name} went through"));
            assert_eq!(error.kind(), FsErrorKind::Outside, "{link}: {name}");
            assert!(!error.to_string().contains(fixture.top.path().to_str().unwrap()), "{link}: {name}: {error}");
        }
    }
    assert_eq!(read(root, "file").unwrap_err().kind(), FsErrorKind::Outside);
    assert_eq!(root.write(&path("file"), b"x", true).unwrap_err().kind(), FsErrorKind::Special);
    fixture.secret_is_untouched();
}

#[test]
fn deleting_a_link_leaves_its_target() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.inside("tree")).unwrap();
    symlink("../../outside", fixture.inside("tree/up")).unwrap();
    symlink("../outside", fixture.inside("up")).unwrap();

    fixture.root.delete(&path("up"), true).unwrap();
    fixture.root.delete(&path("tree"), true).unwrap();

    assert!(fixture.names().is_empty());
    fixture.secret_is_untouched();
}

#[test]
fn links_that_stay_inside_are_followed_by_reads() {
    let fixture = Fixture::new();
    fs::write(fixture.inside("file"), "text").unwrap();
    symlink("file", fixture.inside("link")).unwrap();
    assert_eq!(read(&fixture.root, "link").unwrap(), b"text");
    assert_eq!(fixture.root.stat(&path("link")).unwrap().kind, EntryType::Symlink);
}

#[test]
fn a_link_loop_ends_in_an_error() {
    let fixture = Fixture::new();
    symlink("b", fixture.inside("a")).unwrap();
    symlink("a", fixture.inside("b")).unwrap();
    assert!(matches!(read(&fixture.root, "a").unwrap_err().kind(), FsErrorKind::Io(_)));
}

/// A directory that is swapped for a link to the outside, back and forth, while others read and write through it.
#[test]
fn a_directory_swapped_for_a_link_never_opens_the_outside() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.inside("real")).unwrap();
    fs::write(fixture.inside("real/secret"), "harmless").unwrap();
    fs::rename(fixture.inside("real"), fixture.inside("door")).unwrap();
    symlink("../outside", fixture.inside("link")).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (door, link, real) = (fixture.inside("door"), fixture.inside("link"), fixture.inside("real"));
                fs::rename(&door, &real).unwrap();
                fs::rename(&link, &door).unwrap();
                fs::rename(&door, &link).unwrap();
                fs::rename(&real, &door).unwrap();
            }
        });
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            if let Ok(bytes) = read(&fixture.root, "door/secret") {
                assert_eq!(bytes, b"harmless");
            }
            let _ = fixture.root.write(&path("door/secret"), b"harmless", true);
            let _ = fixture.root.write(&path("door/new"), b"harmless", true);
            let _ = fixture.root.delete(&path("door/new"), false);
        }
        done.store(true, Ordering::Relaxed);
    });
    fixture.secret_is_untouched();
}

#[test]
fn special_files_are_refused_without_waiting() {
    let fixture = Fixture::new();
    let status = std::process::Command::new("mkfifo").arg(fixture.inside("fifo")).status().unwrap();
    assert!(status.success());
    let _socket = UnixListener::bind(fixture.inside("socket")).unwrap();
    let began = Instant::now();
    for name in ["fifo", "socket"] {
        assert_eq!(read(&fixture.root, name).unwrap_err().kind(), FsErrorKind::Special, "{name}");
        assert_eq!(fixture.root.write(&path(name), b"", true).unwrap_err().kind(), FsErrorKind::Special, "{name}");
        assert_eq!(fixture.root.stat(&path(name)).unwrap().kind, EntryType::Special, "{name}");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "an open waited for the other end");
}

/// A fifo that takes a file's place between the check of its type and the open must not hang the open.
#[test]
fn a_file_swapped_for_a_fifo_does_not_hang() {
    let fixture = Fixture::new();
    fs::write(fixture.inside("file"), "text").unwrap();
    assert!(std::process::Command::new("mkfifo").arg(fixture.inside("fifo")).status().unwrap().success());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (file, fifo, aside) = (fixture.inside("file"), fixture.inside("fifo"), fixture.inside("aside"));
                fs::rename(&file, &aside).unwrap();
                fs::rename(&fifo, &file).unwrap();
                fs::rename(&file, &fifo).unwrap();
                fs::rename(&aside, &file).unwrap();
            }
        });
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            if let Ok(bytes) = read(&fixture.root, "file") {
                assert_eq!(bytes, b"text");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_huge_file_is_read_in_bounded_pieces() {
    let fixture = Fixture::new();
    let size = 1 << 40;
    fs::File::create(fixture.inside("huge")).unwrap().set_len(size).unwrap();
    let piece = fixture.root.read(&path("huge"), size - 10, u64::MAX).unwrap();
    assert_eq!((piece.bytes.len(), piece.size), (10, size));
    let piece = fixture.root.read(&path("huge"), 0, u64::MAX).unwrap();
    assert_eq!(piece.bytes.len() as u64, MAX_READ_BYTES);
    assert!(fixture.root.read(&path("huge"), size + 1, 10).unwrap().bytes.is_empty());
    let error = fixture.root.read(&path("huge"), u64::MAX, 10).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Io(ErrorKind::InvalidInput));
}

#[test]
#[cfg(target_os = "linux")]
fn an_endless_file_that_claims_to_be_empty_is_bounded() {
    // procfs files have size 0 and any length; the read is bounded by what it returns, not by the size.
    let root = Root::open(std::path::Path::new("/proc/self")).unwrap();
    assert!(root.read(&path("maps"), 0, 100).unwrap().bytes.len() <= 100);
}

#[test]
fn a_write_is_whole_or_not_at_all() {
    let fixture = Fixture::new();
    let root = &fixture.root;
    assert!(root.write(&path("file"), b"one", false).unwrap());
    assert_eq!(root.write(&path("file"), b"two", false).unwrap_err().kind(), FsErrorKind::Io(ErrorKind::AlreadyExists));
    assert_eq!(read(root, "file").unwrap(), b"one");
    assert!(!root.write(&path("file"), b"two", true).unwrap());
    assert_eq!(read(root, "file").unwrap(), b"two");

    let large = vec![0; MAX_WRITE_BYTES + 1];
    assert!(matches!(root.write(&path("file"), &large, true).unwrap_err().kind(), FsErrorKind::TooLarge(_)));
    fs::create_dir(fixture.inside("dir")).unwrap();
    assert_eq!(root.write(&path("dir"), b"x", true).unwrap_err().kind(), FsErrorKind::Io(ErrorKind::IsADirectory));
    assert_eq!(root.write(&path("no/file"), b"x", true).unwrap_err().kind(), FsErrorKind::Io(ErrorKind::NotFound));
    assert_eq!(root.write(&path("file/x"), b"x", true).unwrap_err().kind(), FsErrorKind::Io(ErrorKind::NotADirectory));
    let name = "n".repeat(256);
    assert_eq!(root.write(&path(&name), b"x", true).unwrap_err().kind(), FsErrorKind::Io(ErrorKind::InvalidFilename));
    assert_eq!(fixture.names(), ["dir", "file"], "no temporary file is left");
}

#[test]
fn an_overwrite_keeps_permissions_but_no_special_bits() {
    let fixture = Fixture::new();
    fs::write(fixture.inside("file"), "one").unwrap();
    fs::set_permissions(fixture.inside("file"), fs::Permissions::from_mode(0o4640)).unwrap();
    fixture.root.write(&path("file"), b"two", true).unwrap();
    assert_eq!(fixture.root.stat(&path("file")).unwrap().mode.as_deref(), Some("0640"));
}

#[test]
fn of_many_writers_that_create_one_file_one_succeeds() {
    let fixture = Fixture::new();
    let root = &fixture.root;
    let created = thread::scope(|scope| {
        let writers: Vec<_> =
            (0..16_u8).map(|n| scope.spawn(move || root.write(&path("file"), &[n; 4096], false).is_ok())).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).filter(|created| *created).count()
    });
    assert_eq!(created, 1);
    let content = read(root, "file").unwrap();
    assert!(content.len() == 4096 && content.iter().all(|byte| *byte == content[0]), "a mixture of two writes");
    assert_eq!(fixture.names(), ["file"]);
}

#[test]
fn a_move_replaces_only_when_told() {
    let fixture = Fixture::new();
    fs::write(fixture.inside("a"), "a").unwrap();
    fs::write(fixture.inside("b"), "b").unwrap();
    let root = &fixture.root;
    let error = root.rename(&path("a"), &path("b"), false).unwrap_err();
    assert_eq!(error.to_string(), "`b`: it exists already");
    assert_eq!(read(root, "b").unwrap(), b"b");
    root.rename(&path("a"), &path("b"), true).unwrap();
    assert_eq!(read(root, "b").unwrap(), b"a");
    assert_eq!(root.rename(&path("a"), &path("c"), false).unwrap_err().to_string(), "`a`: no such file or directory");
    fs::create_dir(fixture.inside("dir")).unwrap();
    let error = root.rename(&path("dir"), &path("dir/below"), false).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Io(ErrorKind::InvalidInput));
}

#[test]
fn the_root_itself_is_neither_moved_nor_deleted_nor_written() {
    let fixture = Fixture::new();
    let refused = FsErrorKind::Invalid("the root itself cannot be changed");
    let root = &fixture.root;
    assert_eq!(root.delete(&path("."), true).unwrap_err().kind(), refused);
    assert_eq!(root.rename(&path("./"), &path("a"), true).unwrap_err().kind(), refused);
    assert_eq!(root.rename(&path("a"), &path("."), true).unwrap_err().kind(), refused);
    assert_eq!(root.write(&path("."), b"", true).unwrap_err().kind(), refused);
    assert_eq!(root.create_directory(&path("."), true).unwrap_err().kind(), refused);
}

#[test]
fn a_tree_is_deleted_only_when_told_and_only_so_deep() {
    let fixture = Fixture::new();
    let root = &fixture.root;
    let deep = vec!["d"; MAX_DEPTH + 1].join("/");
    root.create_directory(&path(&deep), true).unwrap();
    let error = root.delete(&path("d"), false).unwrap_err();
    assert_eq!(error.kind(), FsErrorKind::Io(ErrorKind::DirectoryNotEmpty));
    assert!(matches!(root.delete(&path("d"), true).unwrap_err().kind(), FsErrorKind::TooLarge(_)));
    root.delete(&path("d/d"), true).unwrap();
    root.delete(&path("d"), false).unwrap();
    assert!(fixture.names().is_empty());
}

#[test]
fn names_that_are_not_utf8_are_shown_and_marked() {
    let fixture = Fixture::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    if fs::write(fixture.top.path().join("root").join(name), "x").is_err() {
        return; // a file system that takes only UTF-8 has no such names
    }
    let listing = fixture.root.list(&path("."), 0, 10).unwrap();
    assert_eq!(listing.entries[0].name, "caf\u{fffd}");
    assert!(listing.entries[0].name_not_utf8);
}

#[test]
fn listings_come_in_sorted_pages() {
    let fixture = Fixture::new();
    for n in 0..5 {
        fs::write(fixture.inside(&format!("f{n}")), "12345").unwrap();
    }
    let page = fixture.root.list(&path("."), 1, 2).unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["f1", "f2"]);
    assert_eq!((page.entries[0].size, page.next_offset, page.incomplete), (Some(5), Some(3), false));
    let last = fixture.root.list(&path("."), 3, usize::MAX).unwrap();
    assert_eq!((last.entries.len(), last.next_offset), (2, None));
    assert!(fixture.root.list(&path("."), usize::MAX, usize::MAX).unwrap().entries.is_empty());
}

#[test]
fn errors_show_control_characters_escaped() {
    let fixture = Fixture::new();
    let error =
        fixture.root.stat(&path("a\u{1b}[2J\u{202e}")).map_err(|error| error.about(&path("a\u{1b}[2J\u{202e}")));
    assert_eq!(error.unwrap_err().to_string(), "`a\\u{1b}[2J\\u{202e}`: no such file or directory");
}
