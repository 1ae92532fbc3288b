//! Records as a table (RFC 4180) that a spreadsheet can be given.

use rmcp_guard::evidence::escape_for_display;
use rmcp_guard::evidence::merkle::Hash;
use serde_json::Value;

/// The columns that are members of the record.
const MEMBERS: [(&str, &str); 16] = [
    ("timestamp", "timestamp"),
    ("kind", "rmcp_guard.kind"),
    ("id", "id"),
    ("decision", "capiscio.decision"),
    ("tool", "capiscio.target"),
    ("method", "rmcp_guard.method"),
    ("agent", "capiscio.agent.did"),
    ("api_key_name", "rmcp_guard.api_key_name"),
    ("auth_level", "capiscio.auth.level"),
    ("trust_level", "trust_level"),
    ("reason", "rmcp_guard.deny_reason"),
    ("outcome", "rmcp_guard.outcome"),
    ("duration_us", "rmcp_guard.duration_us"),
    ("decision_id", "rmcp_guard.decision_id"),
    ("policy_version", "capiscio.policy_version"),
    ("notice", "rmcp_guard.notice"),
];

pub(super) fn header() -> String {
    let names = ["log", "index"].into_iter().chain(MEMBERS.map(|(column, _)| column)).chain(["leaf"]);
    line_of(names.map(str::to_owned))
}

pub(super) fn line(log: &str, index: u64, bytes: &[u8], event: Option<&Value>) -> String {
    let members = MEMBERS.map(|(_, name)| match event.and_then(|event| event.get(name)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    });
    line_of([log.to_owned(), index.to_string()].into_iter().chain(members).chain([Hash::of_leaf(bytes).to_string()]))
}

fn line_of(cells: impl Iterator<Item = String>) -> String {
    let mut line = cells.map(|cell| self::cell(&cell)).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

/// A cell that a spreadsheet takes for text: what it would take for a formula gets a `'` in front, control characters are
/// written out.
fn cell(text: &str) -> String {
    let escaped = escape_for_display(text);
    // wide forms of the same signs, which some spreadsheets read alike
    let formula = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    let guard = if escaped.trim_start().starts_with(formula) { "'" } else { "" };
    format!("\"{guard}{}\"", escaped.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        let cases = [
            ("read_file", "\"read_file\""),
            ("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            (" =1", "\"' =1\""),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
            ("\t=1", "\"\\u{9}=1\""),
            ("a\r\n=1", "\"a\\u{d}\\u{a}=1\""),
            ("a,b;\"c", "\"a,b;\"\"c\""),
        ];
        for (text, want) in cases {
            assert_eq!(cell(text), want);
        }
    }

    #[test]
    fn every_line_has_the_columns_of_the_header() {
        let columns = header().matches("\",\"").count();
        assert_eq!(line("main/00000001", 1, b"x", None).matches("\",\"").count(), columns);
    }
}
