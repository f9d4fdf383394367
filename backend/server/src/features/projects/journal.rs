//! What changes of a project's settings leave behind: an event for whoever watches, and an entry in its chain.

use crate::db::{
    Uow,
    audit::{Entry, Severity},
};
use serde_json::{Value, json};
use syndarix_domain::ids::ProjectId;

/// What kind of change it is, as the audit names it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Category {
    /// Who may do what, and what agents may do alone.
    Permission,
    /// Everything else that is set.
    Configuration,
}

impl Category {
    fn describe(self) -> (&'static str, Severity) {
        match self {
            Self::Permission => ("permission", Severity::Critical),
            Self::Configuration => ("configuration", Severity::Info),
        }
    }
}

/// Records one change: `event_type` names it in the audit, `field` in the event `project.updated`.
pub(super) fn changed(
    uow: &mut Uow,
    project: ProjectId,
    category: Category,
    (field, event_type, action): (&str, &str, String),
    data: Value,
) {
    let (category, severity) = category.describe();
    let entry = Entry {
        id: uow.new_id(),
        project: Some(project),
        event_type: event_type.into(),
        category: category.into(),
        severity,
        actor: uow.actor(),
        action,
        data,
        at: uow.now(),
    };
    uow.audit(entry);
    uow.announce(project, "project", project, "project.updated", json!({ "changed": field }));
}
