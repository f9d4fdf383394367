//! Model providers of an organisation: where its projects' calls may go beside what the operator configured.
//!
//! Invariants: a key is sealed before it is stored, is sent to the address that it was given for and to no other, and is
//! shown to nobody again; an address leads to the internet, and into a private network only where the operator allowed
//! that host, which is looked at when it is saved and at every connection; no other organisation can name, see or reach
//! any of it; what is deleted is gone.

mod address;
mod create;
mod deployments;
mod key;
mod known;
mod list;
mod queries;
mod remove;
mod replace;
mod rotate;
mod settings;
mod show;
mod view;

pub(super) use known::{base, of_project};
pub use rotate::{RotateError, Rotation, rotate};

use crate::{
    db::{Uow, audit},
    state::App,
    vault::Place,
};
use queries::Stored;
use serde_json::json;
use syndarix_domain::ids::OrganisationId;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// More than anybody has accounts.
const MAX_PROVIDERS: usize = 50;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(show::show, replace::replace, remove::remove))
        .routes(routes!(key::replace_key))
        .routes(routes!(deployments::deployments))
}

/// Where a provider's key belongs. Never to be changed: what is sealed would not open any more.
fn place(organisation: OrganisationId, id: Uuid, address: &str) -> Place<'_> {
    Place { what: "model provider", organisation, id, address }
}

/// What happened to a provider, in the audit; never its key.
fn record(uow: &mut Uow, organisation: OrganisationId, provider: &Stored, (what, action): (&str, String)) {
    let entry = audit::Entry {
        id: uow.new_id(),
        project: None,
        event_type: format!("model_provider.{what}"),
        category: "gateway".into(),
        severity: audit::Severity::Critical,
        actor: uow.actor(),
        action,
        data: json!({
            "organisation_id": organisation, "provider_id": provider.id, "name": provider.name,
            "address": provider.base_url, "key_fingerprint": provider.key_fingerprint,
        }),
        at: uow.now(),
    };
    uow.audit(entry);
}
