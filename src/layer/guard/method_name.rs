//! Custom requests and notifications that are standard ones in disguise.
//!
//! rmcp hands whatever it cannot parse as a typed request to `on_custom_request`: a `tools/call` with a repeated member
//! or an array for arguments arrives there, and so does `Tools/Call`. A handler that proxies or normalizes would run
//! it past every rule, so such a method is refused whatever the configuration allows.

use rmcp::model::ProtocolVersion;
use unicode_normalization::UnicodeNormalization as _;

/// Bytes of a custom method's name. Those in the field are below 64; the limit bounds the normalization.
pub const MAX_METHOD_BYTES: usize = 1024;

/// Every method of MCP, in every revision and both directions, in lower case and without `notifications/`.
const STANDARD: &[&str] = &[
    "initialize",
    "server/discover",
    "ping",
    "tools/call",
    "tools/list",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "resources/directory/read",
    "skills/list",
    "skills/get",
    "subscriptions/listen",
    "completion/complete",
    "logging/setlevel",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
    "tasks/list",
    "tasks/result",
    "sampling/createmessage",
    "roots/list",
    "elicitation/create",
];

/// Notifications, in lower case and without `notifications/`; `$/` is what other JSON-RPC protocols put before theirs.
const STANDARD_NOTIFICATIONS: &[&str] = &[
    "initialized",
    "cancelled",
    "progress",
    "message",
    "tasks",
    "tasks/status",
    "roots/list_changed",
    "tools/list_changed",
    "prompts/list_changed",
    "resources/list_changed",
    "resources/updated",
    "subscriptions/acknowledged",
    "elicitation/response",
    "elicitation/complete",
];

/// Methods that no revision has a request of a client for, as far as rmcp serves it.
const NO_CLIENT_REQUEST: &[&str] =
    &["tasks/list", "tasks/result", "sampling/createMessage", "roots/list", "elicitation/create"];

/// Methods that 2026-07-28 took away.
const GONE: &[&str] = &["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// Whether `method` is a standard one that a client of this revision cannot ask for. rmcp answers such a request with
/// "method not found", which clients that probe for a revision rely on.
pub(super) fn is_absent(method: &str, revision: Option<&ProtocolVersion>) -> bool {
    // ISO dates compare as text.
    let newest = revision.is_some_and(|revision| revision.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
    NO_CLIENT_REQUEST.contains(&method) || (newest && GONE.contains(&method))
}

/// Whether `method` is a standard method, or would be one after some handler's clean-up.
pub(super) fn looks_standard(method: &str) -> bool {
    if method.len() > MAX_METHOD_BYTES {
        return true;
    }
    let plain: String = method.nfkc().filter(|c| !is_invisible(*c)).collect();
    // Upper case first: it folds letters such as U+0131 that have no lower-case relation to their ASCII twin.
    let folded = plain.to_uppercase().to_lowercase();
    let name = folded.trim_matches(is_padding);
    match name.strip_prefix("notifications/") {
        Some(rest) => STANDARD.contains(&rest) || STANDARD_NOTIFICATIONS.contains(&rest),
        None => STANDARD.contains(&name),
    }
}

fn is_padding(c: char) -> bool {
    c.is_whitespace() || c == '/'
}

/// Controls, soft hyphen, zero-width characters, bidirectional marks, variation selectors, tags: shown as nothing.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use rmcp::model::{self, ConstString};

    use super::*;

    #[test]
    fn disguises_are_seen_through() {
        let disguised = [
            "tools/call",
            "Tools/Call",
            "tools/call ",
            " tools/call",
            "/tools/call",
            "///tools/call",
            "tools/call/",
            "/ tools/call",
            "\u{feff}tools/call",
            "to\u{200b}ols/call",
            "ｔｏｏｌｓ／ｃａｌｌ",
            "𝐭ools/call",
            "tools/ca\u{ad}ll",
            "TOOLS/CALL\u{0}",
            "\u{a0}tools/call",
            "notifications/tools/call",
            "notifications/initialized",
            "Notifications/Cancelled",
            "ıNıTıALıZE",
            "tasks/list",
            "tasks/result",
            "tool\u{17f}/list",
        ];
        for method in disguised {
            assert!(looks_standard(method), "{method:?}");
        }
        assert!(looks_standard(&"x".repeat(MAX_METHOD_BYTES + 1)));
    }

    #[test]
    fn other_methods_are_left_alone() {
        for method in
            ["", "tools", "tools/calls", "com.example/tools/call", "x/initialized", "$/progress", "tools//call"]
        {
            assert!(!looks_standard(method), "{method:?}");
        }
    }

    #[test]
    fn what_a_revision_does_not_have_is_standard_all_the_same() {
        for method in NO_CLIENT_REQUEST.iter().chain(GONE) {
            assert!(looks_standard(method), "{method}");
            assert!(is_absent(method, Some(&ProtocolVersion::V_2026_07_28)), "{method}");
            let legacy = Some(&ProtocolVersion::V_2025_11_25);
            assert_eq!(is_absent(method, legacy), NO_CLIENT_REQUEST.contains(method), "{method}");
        }
        for method in ["tools/call", "Initialize", "/initialize", "server/discover"] {
            assert!(!is_absent(method, Some(&ProtocolVersion::V_2026_07_28)), "{method}");
        }
    }

    #[test]
    fn every_method_that_rmcp_knows_is_in_the_list() {
        macro_rules! values { ($($name:ident),* $(,)?) => { [$(<model::$name as ConstString>::VALUE),*] } }
        let methods = values![
            PingRequestMethod,
            InitializeResultMethod,
            DiscoverRequestMethod,
            CompleteRequestMethod,
            SetLevelRequestMethod,
            GetPromptRequestMethod,
            ListPromptsRequestMethod,
            ListResourcesRequestMethod,
            ListResourceTemplatesRequestMethod,
            ReadResourceRequestMethod,
            SubscriptionsListenRequestMethod,
            SubscribeRequestMethod,
            UnsubscribeRequestMethod,
            CallToolRequestMethod,
            ListToolsRequestMethod,
            GetTaskMethod,
            UpdateTaskMethod,
            CancelTaskMethod,
            ListSkillsRequestMethod,
            GetSkillRequestMethod,
            ReadResourceDirectoryRequestMethod,
            CreateMessageRequestMethod,
            ListRootsRequestMethod,
            ElicitationCreateRequestMethod,
            CancelledNotificationMethod,
            ProgressNotificationMethod,
            InitializedNotificationMethod,
            RootsListChangedNotificationMethod,
            LoggingMessageNotificationMethod,
            ResourceUpdatedNotificationMethod,
            ResourceListChangedNotificationMethod,
            ToolListChangedNotificationMethod,
            PromptListChangedNotificationMethod,
            TaskStatusNotificationMethod,
        ];
        for method in methods {
            assert!(looks_standard(method), "{method}");
        }
    }
}
