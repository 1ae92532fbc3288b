//! Receipts on the client's side: read out of what a call returned, and kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rmcp::ServiceError;
use rmcp::model::CallToolResult;

use crate::encoding::parse_unique_json;
use crate::evidence::Receipt;

/// Bytes of a line of a [`ReceiptBook`]: what [`Receipt::to_json`] writes has 152 beside the origin, which has 300 at
/// most.
const MAX_LINE_BYTES: u64 = 512;

/// The receipt in a tool result, allowed or denied, if the server's guard gave one. Nothing of it is verified: see
/// [`ReceiptBook`].
///
/// ```
/// use rmcp::model::CallToolResult;
/// use rmcp_guard::layer::client::receipt_of;
///
/// let result: CallToolResult = serde_json::from_value(serde_json::json!({
///     "content": [{"type": "text", "text": "3 files"}],
///     "_meta": {"rmcp-guard/evidence": {
///         "origin": "files.example.com/evidence/main/1",
///         "id": "019a9c3e-4f7e-7c53-8a1b-0d9be2b0a6f1",
///         "index": 4711,
///         "leaf": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
///         "durable": true,
///     }},
/// }))?;
/// assert_eq!(receipt_of(&result).unwrap().index, 4711);
///
/// let without: CallToolResult = serde_json::from_value(serde_json::json!({"content": []}))?;
/// assert!(receipt_of(&without).is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[must_use]
pub fn receipt_of(result: &CallToolResult) -> Option<Receipt> {
    Receipt::from_json(result.meta.as_ref()?.get(Receipt::META_KEY)?).ok()
}

/// The receipt in a denial that the server's guard told as a JSON-RPC error.
#[must_use]
pub fn receipt_of_error(error: &ServiceError) -> Option<Receipt> {
    let ServiceError::McpError(error) = error else { return None };
    Receipt::from_json(error.data.as_ref()?.get(Receipt::META_KEY)?).ok()
}

/// Receipts in a file, one line of JSON each, added at its end.
///
/// A receipt is the server's word about its own log. It is worth something once somebody compares it with the log: the
/// server's operator answers with a proof and the entry (`rmcp-guard evidence prove`), and an auditor, or the client, checks
/// both against a key that it has *not* from that server but from its configuration. A server that shows another entry
/// at that place, or none, is caught by its own receipt.
///
/// ```
/// use rmcp_guard::evidence::note::VerifierKey;
/// use rmcp_guard::evidence::verify::TlogProof;
/// use rmcp_guard::evidence::Receipt;
/// use rmcp_guard::layer::client::{ReceiptBook, receipt_of};
///
/// # fn kept(result: &rmcp::model::CallToolResult, path: &std::path::Path) -> std::io::Result<()> {
/// let book = ReceiptBook::open(path, 16 * 1024 * 1024)?; // 60,000 receipts and more
/// if let Some(receipt) = receipt_of(result) {
///     book.keep(&receipt)?;
/// }
/// # Ok(()) }
///
/// // later: `log_key` is pinned in this client's configuration, `proof` and `entry` come from the server's operator
/// fn check(
///     receipt: &Receipt, log_key: &str, proof: &[u8], entry: &[u8],
/// ) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
///     let log_key: VerifierKey = log_key.parse()?;
///     receipt.verify(&TlogProof::parse(proof)?, &[log_key])?; // the log has this leaf at this index
///     Ok(receipt.check_entry(entry)?) // this is the record behind that leaf: is it what was called?
/// }
/// ```
#[derive(Debug)]
pub struct ReceiptBook {
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    file: File,
    /// Bytes of whole lines.
    length: u64,
    max: u64,
}

impl Book {
    /// Cuts off what a crash or a full disk left of a line, so that the next line does not join it.
    fn cut_torn_line(&mut self) -> io::Result<()> {
        let found = self.file.metadata()?.len();
        let start = found.saturating_sub(MAX_LINE_BYTES);
        let mut tail = Vec::new();
        self.file.seek(io::SeekFrom::Start(start))?;
        Read::by_ref(&mut self.file).take(MAX_LINE_BYTES).read_to_end(&mut tail)?;
        let torn = tail.iter().rev().take_while(|&&byte| byte != b'\n').count();
        if torn == tail.len() && start > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is no book of receipts"));
        }
        self.length = found.saturating_sub(u64::try_from(torn).unwrap_or(u64::MAX));
        if torn > 0 {
            tracing::warn!(bytes = torn, "a receipt book had an unfinished last line; it was cut off");
            self.file.set_len(self.length)?;
        }
        Ok(())
    }

    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let length = self.length.saturating_add(bytes);
        if length > self.max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.file.write_all(line);
        if written.is_err() {
            self.file.set_len(self.length)?;
        } else {
            self.length = length;
        }
        written
    }
}

impl ReceiptBook {
    /// Opens the book in the file `path`, of at most `max_bytes`, and makes it where there is none; on Unix only its
    /// owner can read it then. One process writes to a book at a time.
    ///
    /// # Errors
    /// [`io::Error`], of kind [`WouldBlock`](io::ErrorKind::WouldBlock) when another process has the book open, and
    /// [`InvalidData`](io::ErrorKind::InvalidData) when the file is none.
    pub fn open(path: impl AsRef<Path>, max_bytes: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = options.open(path)?;
        file.try_lock()?;
        let mut book = Book { file, length: 0, max: max_bytes };
        book.cut_torn_line()?;
        Ok(Self { book: Mutex::new(book) })
    }

    /// Adds `receipt`. Blocks for one short write; [`sync`](Self::sync) makes it survive a power cut.
    ///
    /// # Errors
    /// [`io::Error`], of kind [`FileTooLarge`](io::ErrorKind::FileTooLarge) when the book is full: nothing is dropped
    /// to make room, so begin another.
    pub fn keep(&self, receipt: &Receipt) -> io::Result<()> {
        let line = format!("{}\n", receipt.to_json());
        // no code panics under the lock
        self.book.lock().unwrap_or_else(PoisonError::into_inner).add(line.as_bytes())
    }

    /// Returns once everything kept is on stable storage. Blocks.
    ///
    /// # Errors
    /// [`io::Error`].
    pub fn sync(&self) -> io::Result<()> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).file.sync_data()
    }

    /// The receipts in the book at `path`, of which at most `max_bytes` are read. A last line that a crash left unfinished
    /// is left out.
    ///
    /// # Errors
    /// [`io::Error`], of kind [`InvalidData`](io::ErrorKind::InvalidData) when a line is not a receipt, and
    /// [`FileTooLarge`](io::ErrorKind::FileTooLarge) when the book is longer than `max_bytes`.
    pub fn read(path: impl AsRef<Path>, max_bytes: u64) -> io::Result<Vec<Receipt>> {
        let mut text = Vec::new();
        File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut text)?;
        if u64::try_from(text.len()).map_or(true, |length| length > max_bytes) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let whole = text.iter().rposition(|&byte| byte == b'\n').and_then(|end| text.get(..end)).unwrap_or_default();
        whole.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(parse_line).collect()
    }
}

fn parse_line(line: &[u8]) -> io::Result<Receipt> {
    if u64::try_from(line.len()).map_or(true, |length| length > MAX_LINE_BYTES) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let value = parse_unique_json(line).map_err(|_| io::ErrorKind::InvalidData)?;
    Receipt::from_json(&value).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use rmcp::model::{ErrorCode, ErrorData};
    use serde_json::{Value, json};

    use super::*;

    fn receipt(index: u64) -> Value {
        json!({
            "origin": "log.example/main/1",
            "id": "019a9c3e-4f7e-7c53-8a1b-0d9be2b0a6f1",
            "index": index,
            "leaf": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "durable": false,
        })
    }

    #[test]
    fn a_receipt_is_read_from_results_and_from_denials_told_as_errors() {
        let result = |meta: Value| -> CallToolResult {
            serde_json::from_value(json!({"content": [], "_meta": {Receipt::META_KEY: meta}})).unwrap()
        };
        assert_eq!(receipt_of(&result(receipt(7))).unwrap().index, 7);
        for wrong in [json!(null), json!([receipt(7)]), json!({"index": 7}), json!("\u{1b}[2J")] {
            assert_eq!(receipt_of(&result(wrong)), None);
        }
        let error = |data: Value| ServiceError::McpError(ErrorData::new(ErrorCode(46_401), "denied", Some(data)));
        let told = error(json!({"decision": "deny", Receipt::META_KEY: receipt(8)}));
        assert_eq!(receipt_of_error(&told).unwrap().index, 8);
        assert_eq!(receipt_of_error(&error(json!({"decision": "deny"}))), None);
        assert_eq!(receipt_of_error(&error(json!([receipt(8)]))), None);
    }

    #[test]
    fn a_book_keeps_receipts_in_order_across_runs_and_within_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("receipts.jsonl");
        let receipts: Vec<Receipt> = (0..4).map(|index| Receipt::from_json(&receipt(index)).unwrap()).collect();
        let line = receipts[0].to_json().to_string().len() as u64 + 1;
        for two in receipts.chunks(2) {
            let book = ReceiptBook::open(&path, 4 * line).unwrap();
            assert_eq!(ReceiptBook::open(&path, 4 * line).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            for receipt in two {
                book.keep(receipt).unwrap();
            }
            book.sync().unwrap();
        }
        let book = ReceiptBook::open(&path, 4 * line).unwrap();
        assert_eq!(book.keep(&receipts[0]).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(ReceiptBook::read(&path, 4 * line).unwrap(), receipts);
        assert_eq!(ReceiptBook::read(&path, 4 * line - 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_book_is_not_read_as_a_shorter_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("receipts.jsonl");
        let read = |text: String| {
            std::fs::write(&path, text).unwrap();
            ReceiptBook::read(&path, 1_000_000).map(|receipts| receipts.len()).map_err(|error| error.kind())
        };
        let line = receipt(1);
        assert_eq!(read(String::new()), Ok(0));
        assert_eq!(read(format!("{line}\n{line}")), Ok(1), "a torn last line");
        assert_eq!(read(format!("{line}\nx\n{line}\n")), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(format!("{line}{}\n", " ".repeat(512))), Err(io::ErrorKind::InvalidData), "a line too long");
        read(format!("{line}\n{{\"index\":")).unwrap();
        let book = ReceiptBook::open(&path, 1_000_000).unwrap();
        book.keep(&Receipt::from_json(&receipt(2)).unwrap()).unwrap();
        drop(book);
        let indices: Vec<u64> = ReceiptBook::read(&path, 1_000_000).unwrap().iter().map(|it| it.index).collect();
        assert_eq!(indices, [1, 2], "a new line does not join a torn one");
        read("x".repeat(1_000)).unwrap();
        assert_eq!(ReceiptBook::open(&path, 1_000_000).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let twice = line.to_string().replacen('{', "{\"index\":2,", 1);
        assert_eq!(read(format!("{twice}\n")), Err(io::ErrorKind::InvalidData), "a member twice");
    }
}
