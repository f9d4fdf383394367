//! Virtual keys of a project: make, list, change, rotate, revoke; and find the key that a request comes with.

mod cache;
mod create;
mod held;
mod list;
mod lows;
mod meter;
mod queries;
mod replace;
mod revoke;
mod rotate;
mod secret;
mod settings;
mod view;

pub(super) use cache::{Key, Keyring, lifetime};
pub(super) use held::{Held, Share};
pub(super) use meter::{Exceeded, Left, Quota};
pub(super) use secret::is_key;

use crate::state::App;
use std::time::Duration;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a process relies on what it read of a key.
pub(super) const TTL: Duration = Duration::from_secs(3);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(replace::replace, revoke::revoke))
        .routes(routes!(rotate::rotate))
}
