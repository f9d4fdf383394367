//! The kit that every Syndarix MCP server is made with.
//!
//! A server is a list of tools; the kit does the rest, the same way for all: verifies the service token
//! (Ed25519 JWT, audience `mcp:<server>`), checks `project_id` and `agent_id` against it, filters
//! `tools/list` by its capabilities, refuses unknown arguments, bounds time and size, keeps paths inside
//! the run's worktree, logs each call by shape, serves both eras of the protocol without sessions, and
//! drains at shutdown.
//!
//! ```
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use syndarix_mcp_kit::{ProjectCtx, RelPath, ToolFailure, ToolServer, ToolSpec};
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct CountLines {
//!     /// File, from the top of the worktree.
//!     path: String, // `project_id` and `agent_id` are added and checked by the kit
//! }
//!
//! #[derive(Serialize)]
//! struct Lines {
//!     lines: usize,
//! }
//!
//! async fn count_lines(_state: (), ctx: ProjectCtx, args: CountLines) -> Result<Lines, ToolFailure> {
//!     let path = RelPath::parse(&args.path)?; // `..`, absolute, NUL, `.git`: a sentence for the model
//!     ctx.blocking(move |ctx| {
//!         let (file, _) = ctx.worktree()?.open_file(&path)?; // never outside the run's worktree
//!         let text = std::io::read_to_string(file).map_err(|e| ToolFailure::internal(&e))?;
//!         Ok(Lines { lines: text.lines().count() })
//!     })
//!     .await
//! }
//!
//! pub fn server() -> ToolServer<()> {
//!     ToolServer::new("example", "Counts things.", ())
//!         .tool(ToolSpec::read("count_lines", "Count the lines of a file."), count_lines)
//! }
//! // main: fn main() -> std::process::ExitCode { syndarix_mcp_kit::main_for("syndarix-mcp-example", |_| server()) }
//! // test: let bench = testing::Bench::new();
//! //       let running = bench.start(server()).await;
//! //       let client = bench.client(&running, &["example:read"]).await;
//! //       assert_eq!(client.ok("count_lines", json!({ "path": "a" })).await["lines"], 1);
//! ```
//!
//! Invariants: a tool never sees a project, run or agent that the token does not name; a scope or token
//! fault never reaches a tool; a mistake that a model can mend is an `isError` result with one sentence
//! ([`ToolFailure`]); nothing unbounded is read, run or answered; no argument value and no token is logged.

mod backend;
mod boot;
mod bound;
mod context;
mod failure;
mod handler;
mod host;
mod http;
mod schema;
mod server;
mod shape;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
mod trace;
mod worktree;

pub use crate::{
    backend::BackendClient,
    boot::{NoFlags, main_for, main_with},
    bound::{DEFAULT_MAX_RESULT_BYTES, TextPiece, floor_boundary, json_size, take_text},
    context::{ProjectCtx, STEP_META_KEY},
    failure::{FailureCode, ToolFailure},
    handler::SCOPE_REFUSED,
    host::{DRAIN_TIMEOUT, Host, HostError, Options, serve},
    schema::{AGENT_ARGUMENT, PROJECT_ARGUMENT},
    server::{DEFAULT_TOOL_TIMEOUT, ToolServer, ToolSpec},
    token::{
        Access, BACKEND_AUDIENCE, Bearer, Claims, ISSUER, MAX_LIFETIME, TokenError, TokenSigner,
        TokenVerifier, allows, audience,
    },
    trace::{RECOVERY_META_KEY, TRACE_META_KEY, Trace},
    worktree::{
        MAX_PATH_BYTES, MAX_PATH_DEPTH, Place, RelPath, Worktree, is_git_name, open_nofollow, path_failure,
    },
};
