//! What every handler and job holds: the parts of the running application.

use crate::{clock::Clock, config::Config, db::Store, features::auth::Keys, vault::Vault};
use sqlx::PgPool;
use std::sync::Arc;
use syndarix_bus::Hub;
use syndarix_forge::Forge;
use syndarix_jobs::Wake;
use syndarix_mcp::Manager;
use syndarix_mcp_ci::sandbox::Isolation;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The application. Cheap to clone.
#[derive(Clone)]
pub struct App {
    parts: Arc<Parts>,
}

/// What the application is made of.
pub struct Parts {
    /// This process: new at every start.
    pub instance: Uuid,
    /// What the operator set.
    pub config: Config,
    /// Events, state, units of work.
    pub store: Store,
    /// Live events.
    pub hub: Hub,
    /// Wakes workers after a commit.
    pub wake: Wake,
    /// Signs and checks tokens.
    pub keys: Keys,
    /// Encrypts what must not be readable in the database.
    pub vault: Vault,
    /// Tool calls.
    pub tools: Manager,
    /// Repositories.
    pub forge: Arc<dyn Forge>,
    /// What commands of agents are shut in with on this machine.
    pub isolation: Isolation,
    /// Cancelled when this process begins to stop: streams end, nothing new is begun.
    pub stopping: CancellationToken,
    /// Virtual keys, and calls of the gateway's clients.
    pub gateway: crate::features::gateway::Front,
    /// What model calls reserve and cost.
    pub ledger: crate::features::llm::Ledger,
    /// Model calls.
    pub models: crate::features::llm::Models,
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// The pool, for reads.
    pub fn pool(&self) -> &PgPool {
        self.parts.store.pool()
    }

    /// The clock of every decision.
    pub fn clock(&self) -> &Clock {
        self.parts.store.clock()
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
