//! The eight tools as an MCP client sees them, without a guard.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use filesystem_server::FilesystemServer;
use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RoleClient, RoleServer, RunningService};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Session {
    root: TempDir,
    client: RunningService<RoleClient, ()>,
    _server: RunningService<RoleServer, FilesystemServer>,
}

impl Session {
    async fn start() -> Self {
        let root = TempDir::new().unwrap();
        let server = FilesystemServer::new(root.path()).unwrap();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (server, client) = tokio::join!(server.serve(theirs), ().serve(ours));
        Self { root, client: client.unwrap(), _server: server.unwrap() }
    }

    async fn call(&self, tool: &'static str, arguments: Value) -> CallToolResult {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        self.client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await.unwrap()
    }

    async fn ok(&self, tool: &'static str, arguments: Value) -> Value {
        let result = self.call(tool, arguments).await;
        assert_ne!(result.is_error, Some(true), "{tool}: {result:?}");
        result.structured_content.unwrap()
    }

    async fn refused(&self, tool: &'static str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result.is_error, Some(true), "{tool}: {result:?}");
        text(&result)
    }
}

fn text(result: &CallToolResult) -> String {
    result.content[0].as_text().unwrap().text.clone()
}

#[tokio::test]
async fn a_day_in_the_life_of_a_directory() {
    let session = Session::start().await;
    session.ok("create_directory", json!({"path": "notes/2026", "parents": true})).await;
    let written = session.ok("write_file", json!({"path": "notes/2026/a.txt", "content": "héllo\n"})).await;
    assert_eq!(written, json!({"bytes": 7, "created": true}));

    let read = session.call("read_file", json!({"path": "notes/2026/a.txt"})).await;
    assert_eq!(text(&read), "héllo\n");
    assert_eq!(read.structured_content.unwrap(), json!({"content": "héllo\n", "encoding": "utf-8", "size": 7}));

    let found = session.ok("search_files", json!({"text": "héllo"})).await;
    let hit = json!({"path": "notes/2026/a.txt", "type": "file", "line": 1, "text": "héllo"});
    assert_eq!(found, json!({"matches": [hit], "skipped": 0}));

    session.ok("move_path", json!({"from": "notes/2026/a.txt", "to": "b.txt"})).await;
    let listing = session.ok("list_directory", json!({})).await;
    let entries = json!([{"name": "b.txt", "type": "file", "size": 7}, {"name": "notes", "type": "directory"}]);
    assert_eq!(listing, json!({"entries": entries}));
    let stat = session.ok("stat", json!({"path": "b.txt"})).await;
    assert_eq!((&stat["type"], &stat["size"]), (&json!("file"), &json!(7)));

    session.ok("delete_path", json!({"path": "b.txt"})).await;
    assert_eq!(session.refused("delete_path", json!({"path": "notes"})).await, "`notes`: the directory is not empty");
    session.ok("delete_path", json!({"path": "notes", "recursive": true})).await;
    assert_eq!(std::fs::read_dir(session.root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn bytes_travel_as_base64() {
    let session = Session::start().await;
    session.ok("write_file", json!({"path": "b", "content": "/wD+", "encoding": "base64"})).await;
    assert_eq!(std::fs::read(session.root.path().join("b")).unwrap(), [0xff, 0, 0xfe]);
    assert_eq!(session.ok("read_file", json!({"path": "b", "encoding": "base64"})).await["content"], "/wD+");
    assert_eq!(
        session.refused("read_file", json!({"path": "b"})).await,
        "`b`: not UTF-8 text at this offset; read it as `base64`"
    );
    assert_eq!(
        session.refused("write_file", json!({"path": "c", "content": "?", "encoding": "base64"})).await,
        "`content` is not valid base64"
    );
    let large = "A".repeat(4 * 1024 * 1024 / 2);
    assert_eq!(
        session.refused("write_file", json!({"path": "c", "content": large, "encoding": "base64"})).await,
        "the content is larger than 1 MiB"
    );
}

#[tokio::test]
async fn a_text_is_read_in_pieces_that_never_split_a_character() {
    let session = Session::start().await;
    let whole = "aéé€𝄞z".repeat(50);
    session.ok("write_file", json!({"path": "t", "content": whole})).await;
    for limit in 4..9 {
        let (mut offset, mut got) = (json!(0), String::new());
        while !offset.is_null() {
            let piece = session.ok("read_file", json!({"path": "t", "offset": offset, "limit": limit})).await;
            got.push_str(piece["content"].as_str().unwrap());
            offset = piece["next_offset"].clone();
        }
        assert_eq!(got, whole, "limit {limit}");
    }
    assert_eq!(
        session.refused("read_file", json!({"path": "t", "offset": 1, "limit": 1})).await,
        "`t`: `limit` is smaller than the next character"
    );
}

#[tokio::test]
async fn refusals_name_the_mistake_and_nothing_outside_the_root() {
    let session = Session::start().await;
    let place = session.root.path().to_str().unwrap().to_owned();
    std::os::unix::fs::symlink("/", session.root.path().join("out")).unwrap();
    let table = [
        ("read_file", json!({"path": "../x"}), "`..` is not accepted in a path"),
        ("read_file", json!({"path": "/etc/passwd"}), "the path is absolute; paths are relative to the root"),
        ("read_file", json!({"path": "out/etc/passwd"}), "`out/etc/passwd`: the path leads outside the root"),
        ("read_file", json!({"path": "a\0"}), "the path contains a NUL byte"),
        ("read_file", json!({"path": "a"}), "`a`: no such file or directory"),
        ("read_file", json!({"path": "."}), "`.`: it is a directory"),
        ("read_file", json!({"path": "a", "limit": 0}), "`limit` is from 1 to 1048576 bytes"),
        ("read_file", json!({"path": "a", "limit": 1_048_577}), "`limit` is from 1 to 1048576 bytes"),
        ("list_directory", json!({"path": "out"}), "`out`: the path leads outside the root"),
        ("list_directory", json!({"limit": 0}), "`limit` is at least 1"),
        ("search_files", json!({}), "a search needs a `glob`, a `text` or both"),
        ("search_files", json!({"text": "x", "max_results": 0}), "`max_results` is from 1 to 1000"),
        ("delete_path", json!({"path": "."}), "`.`: the root itself cannot be changed"),
    ];
    for (tool, arguments, want) in table {
        let got = session.refused(tool, arguments.clone()).await;
        assert_eq!(got, want, "{tool} {arguments}");
        assert!(!got.contains(&place));
    }
}

#[tokio::test]
async fn the_largest_answer_passes_the_transport() {
    // A byte of a control character costs six in JSON, twice over: the worst case behind MAX_READ_BYTES.
    let session = Session::start().await;
    let size = usize::try_from(filesystem_server::MAX_READ_BYTES).unwrap();
    std::fs::write(session.root.path().join("f"), "\u{1}".repeat(size)).unwrap();
    let read = session.ok("read_file", json!({"path": "f", "limit": size})).await;
    assert_eq!(read["content"].as_str().unwrap().len(), size);
}

#[tokio::test]
async fn unknown_arguments_are_refused() {
    let session = Session::start().await;
    let error = session.refused("delete_path", json!({"path": "a", "recursve": true})).await;
    assert!(error.contains("recursve"), "{error}");
}

#[tokio::test]
async fn tools_say_what_they_do() {
    let session = Session::start().await;
    let tools = session.client.list_all_tools().await.unwrap();
    let hints: Vec<_> = tools
        .iter()
        .map(|tool| {
            let annotations = tool.annotations.as_ref().unwrap();
            (&*tool.name, annotations.read_only_hint.unwrap_or(false), annotations.destructive_hint)
        })
        .collect();
    let want = [
        ("create_directory", false, Some(false)),
        ("delete_path", false, Some(true)),
        ("list_directory", true, None),
        ("move_path", false, Some(true)),
        ("read_file", true, None),
        ("search_files", true, None),
        ("stat", true, None),
        ("write_file", false, Some(true)),
    ];
    assert_eq!(hints, want);
    assert!(tools.iter().all(|tool| tool.output_schema.is_some() && tool.description.is_some()));
}
