//! Who somebody is: accounts, organisations, devices, tokens.
//!
//! Invariants: passwords are kept as Argon2id hashes only; a refresh token is good once, and a replay ends its
//! device; an access token or a device of an older epoch is refused; no password and no token is ever stored, logged or
//! audited; signing in takes the same work whether the account is there or not.
//!
//! A family of refresh tokens is one signed-in device. Its tokens follow from each other by a keyed hash, so that the
//! same successor can be given again to a tab whose answer was lost, without being stored.

mod account;
mod change_password;
mod credentials;
mod device;
mod identify;
mod journal;
mod keys;
mod login;
mod logout;
mod logout_all;
mod members;
mod organisations;
mod password;
mod refresh;
mod register;
mod session;
mod throttle;
mod view;

pub use account::{NewAccount, Registered, create_account};
pub use change_password::set_password;
pub use identify::identify;
pub use keys::{AccessClaims, Grant, Keys, KeysError};
pub use logout_all::sign_out;
pub use organisations::{MembershipView, manages, organisations_of, require_manager};
pub use view::{SessionView, UserView};

pub(crate) use credentials::{email_of, named};

use crate::state::App;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(login::login))
        .routes(routes!(refresh::refresh))
        .routes(routes!(logout::logout))
        .routes(routes!(logout_all::logout_all))
        .routes(routes!(change_password::change_password))
        .routes(routes!(organisations::list, organisations::found))
        .routes(routes!(members::list, members::put))
        .routes(routes!(members::remove))
}
