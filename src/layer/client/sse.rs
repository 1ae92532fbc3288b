//! A bound on the size of one server-sent event, applied to the bytes before they are parsed.

/// Counts the bytes of the event that is being received, as the parser behind it will hold them.
#[derive(Debug)]
pub(super) struct EventLimit {
    max_bytes: usize,
    held: usize,
    line: usize,
    comment: bool,
    after_cr: bool,
}

/// One event is larger than the transport allows.
#[derive(Debug, thiserror::Error)]
#[error("a server-sent event exceeds {max_bytes} bytes")]
pub(super) struct EventTooLarge {
    max_bytes: usize,
}

impl EventLimit {
    pub(super) const fn new(max_bytes: usize) -> Self {
        Self { max_bytes, held: 0, line: 0, comment: false, after_cr: false }
    }

    /// Takes the next chunk into account. Events end at an empty line; CR, LF and CRLF all end lines.
    pub(super) fn observe(&mut self, chunk: &[u8]) -> Result<(), EventTooLarge> {
        for byte in chunk {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\r' | b'\n' => self.end_line(),
                _ => {
                    if self.line == 0 {
                        self.comment = *byte == b':';
                    }
                    self.line = self.line.saturating_add(1);
                }
            }
            if self.held.saturating_add(self.line) > self.max_bytes {
                return Err(EventTooLarge { max_bytes: self.max_bytes });
            }
        }
        Ok(())
    }

    fn end_line(&mut self) {
        if self.line == 0 {
            self.held = 0;
        } else if !self.comment {
            // the parser joins data lines with a newline
            self.held = self.held.saturating_add(self.line).saturating_add(1);
        }
        self.line = 0;
        self.comment = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        name: &'static str,
        chunks: &'static [&'static str],
        max_bytes: usize,
        want: bool,
    }

    #[test]
    fn events_are_bounded_however_they_are_cut() {
        let cases = [
            Case { name: "at the limit", chunks: &["data: ab\n\n"], max_bytes: 9, want: true },
            Case { name: "unterminated", chunks: &["data: aaaaa", "aaaaaa"], max_bytes: 16, want: false },
            Case {
                name: "reset by the empty line",
                chunks: &["data: a\r", "\n\r\ndata: b\n\n"],
                max_bytes: 8,
                want: true,
            },
            Case { name: "finished comments are not held", chunks: &[": ping\n: ping\n"], max_bytes: 6, want: true },
            Case { name: "a comment does not reset", chunks: &["data: a\n: p\ndata: b\n"], max_bytes: 14, want: false },
            Case { name: "joined lines count", chunks: &["data: aaa\ndata: bbb\n\n"], max_bytes: 18, want: false },
            Case {
                name: "an endless comment line",
                chunks: &[": aaaaaaaaaa", "aaaaaaaaaaaa"],
                max_bytes: 16,
                want: false,
            },
        ];
        for case in cases {
            let mut limit = EventLimit::new(case.max_bytes);
            let got = case.chunks.iter().all(|chunk| limit.observe(chunk.as_bytes()).is_ok());
            assert_eq!(got, case.want, "{}", case.name);
        }
    }
}
