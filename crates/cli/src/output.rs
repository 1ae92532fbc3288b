//! What a command prints: its result on standard output, for people or as JSON, and everything else on standard error.
//!
//! Text from elsewhere is escaped before it reaches a terminal. Colours appear on a terminal only, and never where the
//! environment sets `NO_COLOR`.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use rmcp_guard::clock::UnixSeconds;
use rmcp_guard::evidence::escape_for_display;
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// Where results go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are JSON.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// The result of a command: `json` where that was asked for, else `text`.
    pub(crate) fn result(self, json: &Value, text: &Text) -> Result<(), Failure> {
        if self.json { print_json(json) } else { print(&text.0) }
    }

    /// A result whose text for people is one line, escaped here.
    pub(crate) fn line(self, json: &Value, line: impl fmt::Display) -> Result<(), Failure> {
        self.result(json, &Text::default().line(line))
    }
}

/// A JSON document, indented. What could confuse a terminal stands inside strings only, as `\uXXXX`.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    let shown = serde_json::to_string_pretty(value)?;
    let mut text = String::with_capacity(shown.len());
    for line in shown.lines() {
        text.push_str(&escape_json(line));
        text.push('\n');
    }
    print(&text)
}

/// One of several results over time: a JSON document on a line of its own.
pub(crate) fn print_json_line(value: &Value) -> Result<(), Failure> {
    print(&format!("{}\n", escape_json(&value.to_string())))
}

/// A note beside the result, on standard error.
pub(crate) fn note(line: impl fmt::Display) {
    // Without a standard error there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "{}", escape_for_display(&line.to_string()));
}

/// Lines on standard output; a reader that has gone away is a failure like any other.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("standard output: {error}")).with_exit(Exit::Input))
}

/// Text for people, line by line. Every part is escaped; the colours are ours.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Passed,
    Failed,
    Skipped,
}

impl Mark {
    /// In JSON and for people alike.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Passed => AnsiColor::Green.on_default(),
            Self::Failed => AnsiColor::Red.on_default(),
            Self::Skipped => AnsiColor::Yellow.on_default(),
        }
    }
}

impl Text {
    /// A line.
    #[must_use]
    pub(crate) fn line(self, line: impl fmt::Display) -> Self {
        self.push(format_args!("{}", escape_for_display(&line.to_string())))
    }

    /// A name and its value, the values of consecutive fields below each other.
    #[must_use]
    pub(crate) fn field(self, name: &str, value: impl fmt::Display) -> Self {
        let bold = Style::new().bold();
        self.push(format_args!("{bold}{name:<12}{bold:#} {}", escape_for_display(&value.to_string())))
    }

    /// A field that is left out without a value.
    #[must_use]
    pub(crate) fn maybe(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// A check and how it came out.
    #[must_use]
    pub(crate) fn check(self, mark: Mark, name: &str, detail: &str) -> Self {
        let style = mark.style();
        let detail = if detail.is_empty() { String::new() } else { format!("  {}", escape_for_display(detail)) };
        self.push(format_args!("  {style}{:<8}{style:#} {name}{detail}", mark.as_str()))
    }

    fn push(mut self, line: fmt::Arguments<'_>) -> Self {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{line}");
        self
    }
}

/// A JSON object with the members of `more` besides.
pub(crate) fn with(mut json: Value, more: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut json, more) {
        members.extend(more);
    }
    json
}

/// A time for people, in UTC.
pub(crate) fn time(time: UnixSeconds) -> String {
    let since = u64::try_from(time.as_i64()).ok().map(std::time::Duration::from_secs);
    let Some(time) = since.and_then(|since| std::time::UNIX_EPOCH.checked_add(since)) else {
        return time.to_string();
    };
    // From the year 10000 on there is no RFC 3339, and the formatter fails.
    let mut text = String::new();
    match write!(text, "{}", humantime::format_rfc3339_seconds(time)) {
        Ok(()) => text,
        Err(fmt::Error) => "after the year 9999".to_owned(),
    }
}

/// Whether a person watches standard error, so that progress makes sense.
pub(crate) fn is_watched() -> bool {
    io::IsTerminal::is_terminal(&io::stderr())
}

fn escape_json(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    for character in line.chars() {
        let mut bytes = [0; 4];
        let text = character.encode_utf8(&mut bytes);
        if character == '\\' || *escape_for_display(text) == *text {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            escaped.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    escaped
}
