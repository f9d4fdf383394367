//! Model groups of an organisation: which deployments serve a name, in which order, and who of them is asked first.
//!
//! Invariants: the configured groups are the base, and an organisation's own group takes the place of the configured one
//! of its name; a group names deployments that are configured, or of the organisation's own providers, so that no address
//! and no key comes from here; a change holds at once in the process that makes it, and within [`TTL`] in others; what is
//! there no longer is passed over.

mod effective;
mod list;
mod queries;
mod remove;
mod replace;
mod settings;
mod show;
mod view;

pub(super) use effective::Effective;
pub(super) use queries::lock;

use crate::{
    db::{Uow, audit},
    state::App,
};
use serde_json::json;
use std::time::Duration;
use syndarix_domain::ids::OrganisationId;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a process relies on what it read of an organisation's groups.
const TTL: Duration = Duration::from_secs(3);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list::list)).routes(routes!(
        show::show,
        replace::replace,
        remove::remove
    ))
}

/// What happened to a group, in the audit.
fn record(uow: &mut Uow, organisation: OrganisationId, name: &str, (what, action): (&str, String)) {
    let entry = audit::Entry {
        id: uow.new_id(),
        project: None,
        event_type: format!("model_group.{what}"),
        category: "gateway".into(),
        severity: audit::Severity::Critical,
        actor: uow.actor(),
        action,
        data: json!({ "organisation_id": organisation, "name": name }),
        at: uow.now(),
    };
    uow.audit(entry);
}
