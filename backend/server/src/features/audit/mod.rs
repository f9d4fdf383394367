//! The audit chain: sealed off the hot path, verified from the database or from a file, shown, exported.
//!
//! An event is its own entry: its header is made of the stored event, and nothing is written beside it.
//!
//! Invariants: an entry is sealed once, in the order of commits, and only when no earlier one can still appear; one
//! sealer at a time, under a leader's lease that is checked in the sealing transaction; verification names the
//! first bad position of a chain and why, and needs nothing but the export to do the same offline.

mod check;
mod download;
mod entries;
mod events;
mod export;
mod links;
mod list;
mod offline;
mod restore;
mod seal;
mod sealer;
mod verify;

pub use check::{Bad, ChainReport};
pub use export::export;
pub use offline::{ExportError, verify_export};
pub use sealer::spawn_sealer;
pub use verify::{note, verify};

use crate::state::App;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list_audit))
        .routes(routes!(verify::verify_audit))
        .routes(routes!(download::export_audit))
}
