//! Tool names that are almost another's. The caller is known, with a badge of level 1, so that the answer says what the
//! guard makes of the name; the demo server counts every name that reaches it.

use super::in_a_session;
use crate::case::{Case, attack, call, denied};
use crate::tokens;

const NAMES: &[(&str, &str, &str)] = &[
    ("name/capital", "Level4", "The name in another case finds no rule, and a handler that ignores case."),
    ("name/space-after", "level4 ", "A space after the name finds no rule, and a handler that trims."),
    ("name/space-before", " level4", "A space before the name finds no rule, and a handler that trims."),
    ("name/tab", "level4\t", "A tab after the name finds no rule, and a handler that trims."),
    ("name/newline", "level4\n", "A newline after the name ends a line of the log."),
    ("name/nul", "level4\0", "A NUL ends the name for code that thinks in C strings."),
    ("name/nul-between", "open\0level4", "What stands before a NUL is open, what stands behind it is not."),
    ("name/full-width", "ｌｅｖｅｌ４", "Full-width letters become ASCII under NFKC."),
    ("name/cyrillic", "l\u{435}vel4", "A Cyrillic letter looks like the Latin one."),
    ("name/zero-width", "level\u{200b}4", "A zero-width space is shown as nothing, and stripped."),
    ("name/combining", "level4\u{301}", "A combining accent is dropped by a transliteration."),
    ("name/right-to-left", "\u{202e}4level", "A bidirectional override shows another name than is looked up."),
    ("name/percent", "level%34", "The name is percent-encoded."),
    ("name/plus", "level4+", "A plus stands for a space in forms."),
    ("name/slash-before", "/level4", "A slash before the name is dropped by a router of paths."),
    (
        "name/dot-segment",
        "open/../level4",
        "A dot segment that a router of paths resolves, behind the name of an open tool.",
    ),
    ("name/namespace", "tools.level4", "A namespace that a handler strips."),
    ("name/server-prefix", "files:level4", "The prefix of a gateway that a handler strips."),
    ("name/comma", "open,level4", "Two names in one."),
    ("name/json", "{\"name\":\"level4\"}", "The name is JSON that a handler might parse."),
    ("name/glob", "*", "The name is a pattern that matches every rule."),
    ("name/glob-prefix", "level*", "The name is a pattern that matches the rules of the levels."),
    ("name/rule-of-a-glob-slash", "list_/level4", "A rule for `list_*` is stretched over a slash."),
    ("name/rule-of-a-glob-dots", "list_/../level4", "A rule for `list_*` is stretched over dot segments."),
    ("name/empty", "", "The name is empty, which some take for the default."),
    ("name/regular-expression", ".*", "The name is a regular expression that matches every rule."),
    ("name/unlisted", "unlisted", "A tool that exists and that nobody wrote a rule for."),
    ("name/of-nothing", "nothing", "A tool that does not exist: the answer would tell which do."),
    ("name/method", "tools/call", "The name is a method."),
    ("name/prototype", "__proto__", "The name is one that every object of some languages has."),
];

pub fn cases() -> Vec<Case> {
    let long = "level4".repeat(4000);
    let names = NAMES.iter().map(|(id, name, why)| known(attack(id, why), name));
    let long = known(attack("name/overlong", "A name of 24000 bytes is cut by a handler, or fills the log."), &long);
    names.chain([long]).collect()
}

fn known(case: Case, name: &str) -> Case {
    case.sends(call(name).badge(tokens::low()))
        .want(denied("tool_not_allowed"))
        .on(in_a_session, denied("session_unbound"))
}
