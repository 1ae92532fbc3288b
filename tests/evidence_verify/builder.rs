//! A second writer of logs, for what checks them: plain code that shares nothing with the crate but the format.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};

pub type Hash = [u8; 32];

pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// RFC 9162 §2.1.1, word for word.
pub fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest(b"").into(),
        [one] => *one,
        many => {
            let half = many.len().next_power_of_two() / 2;
            node_hash(&root_of(&many[..half]), &root_of(&many[half..]))
        }
    }
}

/// A key of notes.
pub struct Key {
    pub name: String,
    kind: u8,
    /// When it cosigns.
    time: u64,
    signing: SigningKey,
}

impl Key {
    pub fn new(name: &str, seed: u8) -> Self {
        let time = 1_700_000_000 + u64::from(seed);
        Self { name: name.to_owned(), kind: 1, time, signing: SigningKey::from_bytes(&[seed; 32]) }
    }

    pub fn witness(name: &str, seed: u8) -> Self {
        Self { kind: 4, ..Self::new(name, seed) }
    }

    fn id(&self) -> [u8; 4] {
        let public = self.signing.verifying_key();
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.kind])
            .chain_update(public.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    pub fn vkey(&self) -> String {
        let mut typed = vec![self.kind];
        typed.extend_from_slice(self.signing.verifying_key().as_bytes());
        format!("{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), STANDARD.encode(typed))
    }

    fn line(&self, text: &str) -> String {
        let mut bytes = self.id().to_vec();
        if self.kind == 4 {
            let time = self.time;
            bytes.extend_from_slice(&time.to_be_bytes());
            bytes.extend_from_slice(
                &self.signing.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes()).to_bytes(),
            );
        } else {
            bytes.extend_from_slice(&self.signing.sign(text.as_bytes()).to_bytes());
        }
        format!("\u{2014} {} {}\n", self.name, STANDARD.encode(bytes))
    }
}

/// A signed note of a checkpoint.
pub fn checkpoint(origin: &str, leaves: &[Hash], keys: &[&Key]) -> Vec<u8> {
    note_of(&format!("{origin}\n{}\n{}\n", leaves.len(), STANDARD.encode(root_of(leaves))), keys)
}

pub fn note_of(text: &str, keys: &[&Key]) -> Vec<u8> {
    let lines: String = keys.iter().map(|key| key.line(text)).collect();
    format!("{text}\n{lines}").into_bytes()
}

/// A log in memory.
pub struct Log {
    pub key: Key,
    pub entries: Vec<Vec<u8>>,
    pub leaves: Vec<Hash>,
}

impl Log {
    pub fn new(origin: &str, seed: u8) -> Self {
        Self { key: Key::new(origin, seed), entries: Vec::new(), leaves: Vec::new() }
    }

    /// A log of `count` decisions of about `bytes` bytes each.
    pub fn of_decisions(count: usize, bytes: usize) -> Self {
        let mut log = Self::new("test.invalid/main/1", 7);
        for number in 0..count {
            log.push(&decision(number, bytes));
        }
        log
    }

    pub fn origin(&self) -> &str {
        &self.key.name
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry with this record.
    pub fn push(&mut self, record: &str) {
        let prev = URL_SAFE_NO_PAD.encode(self.leaves.last().unwrap_or(&[0; 32]));
        self.push_raw(format!("{{\"event\":{record},\"prev\":\"{prev}\",\"seq\":{}}}", self.len()).into_bytes());
    }

    pub fn push_raw(&mut self, entry: Vec<u8>) {
        self.leaves.push(leaf_hash(&entry));
        self.entries.push(entry);
    }

    pub fn push_notice(&mut self, name: &str, members: &[(&str, &str)]) {
        self.push(&notice(self.len(), name, members));
    }

    /// The checkpoint of the first `size` entries.
    pub fn checkpoint(&self, size: usize) -> Vec<u8> {
        checkpoint(self.origin(), &self.leaves[..size], &[&self.key])
    }

    pub fn root(&self) -> String {
        STANDARD.encode(root_of(&self.leaves))
    }

    /// Writes the directory: tiles, and a checkpoint of all entries.
    pub fn write(&self, directory: &Path) {
        self.write_tiles(directory, self.len());
        fs::write(directory.join("checkpoint"), self.checkpoint(self.len())).unwrap();
    }

    /// Writes the tiles of the first `size` entries.
    pub fn write_tiles(&self, directory: &Path, size: usize) {
        for (number, entries) in self.entries[..size].chunks(256).enumerate() {
            put(directory, &tile_path("entries", number, entries.len()), &bundle(entries));
        }
        let mut hashes = self.leaves[..size].to_vec();
        let mut level = 0;
        while !hashes.is_empty() {
            for (number, tile) in hashes.chunks(256).enumerate() {
                put(directory, &tile_path(&level.to_string(), number, tile.len()), tile.as_flattened());
            }
            hashes = hashes.chunks_exact(256).map(root_of).collect();
            level += 1;
        }
    }

    /// Writes `log.json` as the crate does.
    pub fn write_info(&self, directory: &Path, instance: &str, epoch: u64, previous: Option<&Log>) {
        let previous = previous.map_or_else(String::new, |log| {
            format!(
                "\"previous\":{{\"origin\":\"{}\",\"root\":\"{}\",\"size\":{},\"vkey\":\"{}\"}},",
                log.origin(),
                log.root(),
                log.len(),
                log.key.vkey()
            )
        });
        let text = format!(
            "{{\"created\":\"2026-01-02T03:04:05Z\",\"epoch\":{epoch},\"instance\":\"{instance}\",\"origin\":\"{}\",\
             {previous}\"version\":1,\"vkey\":\"{}\"}}",
            self.origin(),
            self.key.vkey()
        );
        fs::write(directory.join("log.json"), text).unwrap();
    }

    /// Takes the bodies of these entries out of their bundles, the way that keeps their leaf hashes.
    pub fn redact(&self, directory: &Path, indexes: &[usize]) {
        for (number, entries) in self.entries.chunks(256).enumerate() {
            let is_hit = |place: usize| indexes.contains(&(number * 256 + place));
            if !(0..entries.len()).any(is_hit) {
                continue;
            }
            let kept: Vec<Vec<u8>> = entries
                .iter()
                .enumerate()
                .map(|(place, entry)| if is_hit(place) { Vec::new() } else { entry.clone() })
                .collect();
            put(directory, &tile_path("entries-redacted", number, entries.len()), &bundle(&kept));
            fs::remove_file(directory.join(tile_path("entries", number, entries.len()))).unwrap();
        }
    }
}

/// Removes the bundles and leaf hashes of the entries below `index`, a multiple of 256.
pub fn prune(directory: &Path, index: usize) {
    for number in 0..index / 256 {
        for kind in ["entries", "0"] {
            fs::remove_file(directory.join(tile_path(kind, number, 256))).unwrap();
        }
    }
}

pub fn bundle(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&u16::try_from(entry.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

pub fn tile_path(kind: &str, number: usize, width: usize) -> String {
    let mut path = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    let mut path = format!("tile/{kind}/{path}");
    if width < 256 {
        write!(path, ".p/{width}").unwrap();
    }
    path
}

pub fn put(directory: &Path, relative: &str, bytes: &[u8]) {
    let path = directory.join(relative);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A record like those of an allowed call.
pub fn decision(number: usize, bytes: usize) -> String {
    let head = format!(
        "{{\"capiscio.agent.did\":\"did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK\",\
         \"capiscio.decision\":\"ALLOW\",\"capiscio.target\":\"read_file\",\
         \"event.name\":\"capiscio.tool_invocation\",\"id\":\"{number:032x}\",\"rmcp_guard.kind\":\"decision\",\
         \"rmcp_guard.method\":\"tools/call\",\"rmcp_guard.profile\":\"interop\",\"rmcp_guard.rule\":\"",
    );
    let tail = format!("\",\"timestamp\":\"{}\"}}", time(number));
    let filler = bytes.saturating_sub(head.len() + tail.len() + 70);
    format!("{head}{}{tail}", "r".repeat(filler))
}

pub fn notice(number: usize, name: &str, members: &[(&str, &str)]) -> String {
    let mut record = format!(
        "{{\"event.name\":\"rmcp_guard.notice\",\"id\":\"{number:032x}\",\"rmcp_guard.kind\":\"notice\",\
         \"rmcp_guard.notice\":\"{name}\""
    );
    let mut members = members.to_vec();
    members.sort_unstable();
    for (name, value) in members {
        write!(record, ",\"rmcp_guard.notice.{name}\":\"{value}\"").unwrap();
    }
    write!(record, ",\"timestamp\":\"{}\"}}", time(number)).unwrap();
    record
}

pub fn gap(number: usize, count: u64) -> String {
    let at = time(number);
    format!(
        "{{\"event.name\":\"rmcp_guard.gap\",\"id\":\"{number:032x}\",\"rmcp_guard.gap.count\":{count},\
         \"rmcp_guard.gap.first\":\"{at}\",\"rmcp_guard.gap.last\":\"{at}\",\"rmcp_guard.kind\":\"gap\",\
         \"timestamp\":\"{at}\"}}"
    )
}

pub fn time(number: usize) -> String {
    format!("2026-01-01T00:{:02}:{:02}.000000000Z", number / 60 % 60, number % 60)
}

/// Every file below `directory`, relative to it, in order.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(directory, &mut found);
    let mut relative: Vec<_> = found.iter().map(|path| path.strip_prefix(directory).unwrap().to_owned()).collect();
    relative.sort();
    relative
}

pub fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        fs::create_dir_all(to.join(&file).parent().unwrap()).unwrap();
        fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
}
