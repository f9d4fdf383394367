//! A project's events: read in pages, or followed live over SSE.
//!
//! Invariants: a stream gives every event once and in order, from whichever instance it is read, and says `reset`
//! once when it cannot go on from where the client was; it ends when the caller's token, membership or the process
//! ends; what is not kept (`run.delta`) has no id, so that it never moves the place to resume from.

mod access;
mod feed;
mod frame;
mod list;
mod places;
mod stream;

pub use list::EventView;

use crate::{db, state::App};
use syndarix_bus::{Log, Relay};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa_axum::{router::OpenApiRouter, routes};

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list_events))
        .routes(routes!(stream::stream_project_events))
        .routes(routes!(stream::stream_my_events))
}

/// The event log of this installation.
pub fn log(app: &App) -> Log {
    Log::new(app.pool().clone(), db::upcast)
}

/// Keeps this process up to date with what other instances commit, over Redis where it is configured, else over
/// PostgreSQL. Every process that serves streams or commits events runs it, until `cancel`.
pub fn spawn_hub(app: &App, tracker: &TaskTracker, cancel: CancellationToken) {
    let relay = app.config.redis_url.clone().map_or(Relay::Postgres, Relay::Redis);
    let (hub, log) = (app.hub.clone(), log(app));
    tracker.spawn(async move { hub.run(log, relay, cancel).await });
}
