//! The MCP tools over a [`Root`]; the server of this example without its guard.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::tool::{IntoCallToolResult, schema_for_output};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::error::FsError;
use crate::path::RelPath;
use crate::root::{DEFAULT_READ_BYTES, Listing, MAX_LIST_ENTRIES, MAX_READ_BYTES, MAX_WRITE_BYTES, Root, Stat};
use crate::search::{Found, MAX_SEARCH_RESULTS, Query, search};

/// Most file operations that run at once: each holds a thread and up to [`MAX_DEPTH`](crate::MAX_DEPTH) open
/// directories, and no caller may use up those of the process.
pub const MAX_CONCURRENT_OPERATIONS: usize = 8;
/// Most searches that run at once: each may take seconds, and others must not wait for them.
pub const MAX_CONCURRENT_SEARCHES: usize = MAX_CONCURRENT_OPERATIONS / 2;
/// Matches that a search returns when it names no number.
const DEFAULT_SEARCH_RESULTS: usize = 100;

/// An MCP server over the files below one directory.
///
/// It decides nothing about callers: whoever reaches it may use every tool. [`GuardedServer`](crate::GuardedServer) puts
/// it behind a guard. Clones share the directory and the limit on concurrent work.
#[derive(Clone, Debug)]
pub struct FilesystemServer {
    root: Arc<Root>,
    slots: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    tool_router: Arc<ToolRouter<Self>>,
}

impl FilesystemServer {
    /// Opens `root`; nothing outside it is reachable from then on, even if the directory is renamed.
    ///
    /// # Errors
    ///
    /// As for opening a directory: it is missing, not a directory, or not readable.
    pub fn new(root: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            root: Arc::new(Root::open(root.as_ref())?),
            slots: Arc::new(Semaphore::new(MAX_CONCURRENT_OPERATIONS)),
            searches: Arc::new(Semaphore::new(MAX_CONCURRENT_SEARCHES)),
            tool_router: Arc::new(Self::tool_router()),
        })
    }

    /// Runs one bounded operation on a blocking thread. `stop` is set when the call is cancelled; the slot is given
    /// back when the thread is done, not before, so that cancelled calls cannot pile up work.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Root, &AtomicBool) -> Result<T, FsError> + Send + 'static,
    ) -> Result<T, ToolError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| ToolError::ended())?;
        let root = Arc::clone(&self.root);
        let on_drop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&on_drop.0);
        let task = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            operation(&root, &stop)
        });
        task.await.map_err(|_| ToolError::ended())?.map_err(ToolError)
    }
}

/// Tells a blocking thread that nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A failed operation: a tool result with `isError`, which a model can read and act on.
#[derive(Debug)]
struct ToolError(FsError);

impl ToolError {
    /// The blocking thread died or the runtime is ending.
    const fn ended() -> Self {
        Self(FsError::io(io::ErrorKind::Other))
    }
}

impl From<FsError> for ToolError {
    fn from(error: FsError) -> Self {
        Self(error)
    }
}

impl IntoCallToolResult for ToolError {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        Ok(CallToolResult::error(vec![ContentBlock::text(self.0.to_string())]).into())
    }
}

fn root_path() -> String {
    ".".to_owned()
}

const fn default_read_bytes() -> u64 {
    DEFAULT_READ_BYTES
}

const fn default_list_entries() -> usize {
    MAX_LIST_ENTRIES
}

const fn default_search_results() -> usize {
    DEFAULT_SEARCH_RESULTS
}

/// How file content is written in JSON.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListArgs {
    /// Directory, relative to the root.
    #[serde(default = "root_path")]
    path: String,
    /// Entries to pass over: `next_offset` of the page before.
    #[serde(default)]
    offset: usize,
    /// Most entries to return, up to 1000.
    #[serde(default = "default_list_entries")]
    limit: usize,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadArgs {
    /// File, relative to the root.
    path: String,
    /// First byte to return.
    #[serde(default)]
    offset: u64,
    /// Most bytes to return, up to 1048576.
    #[serde(default = "default_read_bytes")]
    limit: u64,
    /// `utf-8` for text, `base64` for anything else.
    #[serde(default)]
    encoding: Encoding,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ReadResult {
    content: String,
    encoding: Encoding,
    /// Size of the whole file in bytes.
    size: u64,
    /// Where to go on reading; absent at the end of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteArgs {
    /// File, relative to the root.
    path: String,
    /// The whole content, at most 1 MiB.
    content: String,
    /// How `content` is written here.
    #[serde(default)]
    encoding: Encoding,
    /// Replace a file that exists; without it such a file is left alone and the call fails.
    #[serde(default)]
    overwrite: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct WriteResult {
    bytes: usize,
    /// True if no file was there before.
    created: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchArgs {
    /// Directory to start from, relative to the root.
    #[serde(default = "root_path")]
    path: String,
    /// Glob such as `*.rs` (names) or `src/**/*.rs` (paths below the start).
    glob: Option<String>,
    /// Text that a line must contain, as it stands; case matters.
    text: Option<String>,
    /// Most matches to return, up to 1000.
    #[serde(default = "default_search_results")]
    max_results: usize,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StatArgs {
    /// File or directory, relative to the root.
    path: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateDirectoryArgs {
    /// New directory, relative to the root.
    path: String,
    /// Create missing parents too, and accept that the directory exists.
    #[serde(default)]
    parents: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MoveArgs {
    /// What to move, relative to the root.
    from: String,
    /// Its new path, relative to the root.
    to: String,
    /// Replace a file that exists at `to`.
    #[serde(default)]
    overwrite: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteArgs {
    /// What to delete, relative to the root.
    path: String,
    /// Delete a directory with everything in it; without it only an empty one.
    #[serde(default)]
    recursive: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Done {
    /// The path as it was understood.
    path: String,
}

#[tool_router]
impl FilesystemServer {
    /// List a directory: names, types and sizes, sorted by name.
    #[tool(annotations(title = "List directory", read_only_hint = true, open_world_hint = false))]
    async fn list_directory(&self, Parameters(args): Parameters<ListArgs>) -> Result<Json<Listing>, ToolError> {
        let path = RelPath::parse(&args.path)?;
        if args.limit == 0 {
            return Err(FsError::invalid("`limit` is at least 1").into());
        }
        self.blocking(move |root, _| root.list(&path, args.offset, args.limit).map_err(|error| error.about(&path)))
            .await
            .map(Json)
    }

    /// Show type, size, times and permissions of one file or directory.
    #[tool(annotations(title = "File facts", read_only_hint = true, open_world_hint = false))]
    async fn stat(&self, Parameters(args): Parameters<StatArgs>) -> Result<Json<Stat>, ToolError> {
        let path = RelPath::parse(&args.path)?;
        self.blocking(move |root, _| root.stat(&path).map_err(|error| error.about(&path))).await.map(Json)
    }

    /// Read a file, or a piece of it: text as UTF-8, anything else as base64.
    #[tool(
        output_schema = schema_for_output::<ReadResult>(),
        annotations(title = "Read file", read_only_hint = true, open_world_hint = false)
    )]
    async fn read_file(&self, Parameters(args): Parameters<ReadArgs>) -> Result<CallToolResult, ToolError> {
        let path = RelPath::parse(&args.path)?;
        if args.limit == 0 || args.limit > MAX_READ_BYTES {
            return Err(FsError::invalid("`limit` is from 1 to 1048576 bytes").into());
        }
        let result = self.blocking(move |root, _| read(root, &path, &args).map_err(|error| error.about(&path))).await?;
        let text = ContentBlock::text(result.content.clone());
        let structured = serde_json::to_value(result).map_err(|_| ToolError::ended())?;
        let mut answer = CallToolResult::structured(structured);
        // A reader of `content` wants the file, not the file inside JSON.
        answer.content = vec![text];
        Ok(answer)
    }

    /// Search below a directory for names that match a glob, lines that contain a text, or both. Links are not followed.
    #[tool(annotations(title = "Search files", read_only_hint = true, open_world_hint = false))]
    async fn search_files(&self, Parameters(args): Parameters<SearchArgs>) -> Result<Json<Found>, ToolError> {
        let path = RelPath::parse(&args.path)?;
        if args.max_results == 0 || args.max_results > MAX_SEARCH_RESULTS {
            return Err(FsError::invalid("`max_results` is from 1 to 1000").into());
        }
        let query = Query::new(args.glob.as_deref(), args.text, args.max_results)?;
        let turn = Arc::clone(&self.searches).acquire_owned().await.map_err(|_| ToolError::ended())?;
        self.blocking(move |root, stop| {
            let _turn = turn;
            search(root, &path, &query, stop).map_err(|error| error.about(&path))
        })
        .await
        .map(Json)
    }

    /// Write a whole file: readers see the old content or the new, never a part. Existing files need `overwrite`.
    #[tool(annotations(
        title = "Write file",
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn write_file(&self, Parameters(args): Parameters<WriteArgs>) -> Result<Json<WriteResult>, ToolError> {
        let path = RelPath::parse(&args.path)?;
        let content = match args.encoding {
            Encoding::Utf8 => args.content.into_bytes(),
            // Base64 is four thirds as long as what it stands for; decode nothing that cannot fit.
            Encoding::Base64 if args.content.len() / 4 > MAX_WRITE_BYTES.div_ceil(3) => {
                return Err(FsError::too_large("the content is larger than 1 MiB").into());
            }
            Encoding::Base64 => {
                BASE64.decode(args.content).map_err(|_| FsError::invalid("`content` is not valid base64"))?
            }
        };
        self.blocking(move |root, _| {
            let created = root.write(&path, &content, args.overwrite).map_err(|error| error.about(&path))?;
            Ok(WriteResult { bytes: content.len(), created })
        })
        .await
        .map(Json)
    }

    /// Create a directory; with `parents` also those above it.
    #[tool(annotations(title = "Create directory", destructive_hint = false, open_world_hint = false))]
    async fn create_directory(
        &self,
        Parameters(args): Parameters<CreateDirectoryArgs>,
    ) -> Result<Json<Done>, ToolError> {
        let path = RelPath::parse(&args.path)?;
        self.blocking(move |root, _| {
            root.create_directory(&path, args.parents).map_err(|error| error.about(&path))?;
            Ok(Done { path: path.to_string() })
        })
        .await
        .map(Json)
    }

    /// Move or rename a file or directory. An existing target needs `overwrite`.
    #[tool(annotations(title = "Move", destructive_hint = true, open_world_hint = false))]
    async fn move_path(&self, Parameters(args): Parameters<MoveArgs>) -> Result<Json<Done>, ToolError> {
        let (from, to) = (RelPath::parse(&args.from)?, RelPath::parse(&args.to)?);
        self.blocking(move |root, _| {
            root.rename(&from, &to, args.overwrite)?;
            Ok(Done { path: to.to_string() })
        })
        .await
        .map(Json)
    }

    /// Delete a file, a link or an empty directory; with `recursive` a directory and everything in it.
    #[tool(annotations(title = "Delete", destructive_hint = true, open_world_hint = false))]
    async fn delete_path(&self, Parameters(args): Parameters<DeleteArgs>) -> Result<Json<Done>, ToolError> {
        let path = RelPath::parse(&args.path)?;
        self.blocking(move |root, _| {
            root.delete(&path, args.recursive).map_err(|error| error.about(&path))?;
            Ok(Done { path: path.to_string() })
        })
        .await
        .map(Json)
    }
}

#[tool_handler(
    router = self.tool_router,
    name = "filesystem-server",
    instructions = "Files below one directory. Paths are relative to it, with `/` between names and without `..`."
)]
impl ServerHandler for FilesystemServer {}

fn read(root: &Root, path: &RelPath, args: &ReadArgs) -> Result<ReadResult, FsError> {
    let piece = root.read(path, args.offset, args.limit)?;
    let ends_within = |taken: usize| {
        let end = args.offset.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
        (end < piece.size && taken > 0).then_some(end)
    };
    match args.encoding {
        Encoding::Base64 => Ok(ReadResult {
            content: BASE64.encode(&piece.bytes),
            encoding: Encoding::Base64,
            size: piece.size,
            next_offset: ends_within(piece.bytes.len()),
        }),
        Encoding::Utf8 => {
            let taken = match std::str::from_utf8(&piece.bytes) {
                Ok(text) => text,
                // A character that the limit cut in two belongs to the next piece.
                Err(error) if error.error_len().is_none() && ends_within(piece.bytes.len()).is_some() => {
                    let whole = piece.bytes.get(..error.valid_up_to()).unwrap_or_default();
                    std::str::from_utf8(whole).unwrap_or_default()
                }
                Err(_) => return Err(FsError::invalid("not UTF-8 text at this offset; read it as `base64`")),
            };
            if taken.is_empty() && !piece.bytes.is_empty() {
                return Err(FsError::invalid("`limit` is smaller than the next character"));
            }
            Ok(ReadResult {
                content: taken.to_owned(),
                encoding: Encoding::Utf8,
                size: piece.size,
                next_offset: ends_within(taken.len()),
            })
        }
    }
}
