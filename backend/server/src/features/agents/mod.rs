//! Agent types and the instances spawned from them.
//!
//! Invariants: an instance keeps the version of the type that it was spawned from; one instance works one run at
//! a time; a project never has more live instances than its limit.

mod assign;
mod definition;
mod file;
mod hold;
mod instances;
mod messages;
mod spawn;
mod talk;
mod team;
mod types;

pub use assign::{Agent, assign, author_of, commit_identity, name_of, release};
pub use definition::{Definition, Limits, Personality};
pub use file::Wrong;
pub use instances::{AgentKind, AgentView, view};
pub use messages::{Told, conversation_of, mark_delivered, send_message, unread_by};
pub use spawn::{SpawnAgent, answer_spawn};
pub use talk::{MessageView, PostMessage};
pub use team::{TeamError, default_team, seed_default_team};
pub use types::{AgentTypeView, ImportAgentType, import};

use crate::state::App;
use utoipa_axum::router::OpenApiRouter;

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(types::routes())
        .merge(instances::routes())
        .merge(hold::routes())
        .merge(talk::routes())
}

/// The jobs of this feature.
pub fn jobs(_app: &App, registry: syndarix_jobs::Registry) -> syndarix_jobs::Registry {
    registry
}
