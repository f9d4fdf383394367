//! Where a call stands in the tree of budgets.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use syndarix_domain::{
    Timestamp,
    budget::Scope,
    ids::{AgentId, GatewayKeyId, ProjectId, RunId, SprintId},
};
use uuid::Uuid;

/// A node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// What kind of node.
    pub scope: Scope,
    /// Which one.
    pub id: Uuid,
}

/// What a call counts against, but for the project's organisation, which the database knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Who pays.
    pub project: ProjectId,
    /// The sprint of its story.
    pub sprint: Option<SprintId>,
    /// Which agent asks.
    pub agent: Option<AgentId>,
    /// For which run.
    pub run: Option<RunId>,
    /// The virtual key that it came in with.
    pub key: Option<GatewayKeyId>,
}

impl Place {
    /// A call that counts against the project only.
    pub fn of_project(project: ProjectId) -> Self {
        Self { project, sprint: None, agent: None, run: None, key: None }
    }

    /// The nodes above the call. The organisation's is the one of the project, and goes by the project's id here.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        let node = |scope, id: Option<Uuid>| id.map(|id| Node { scope, id });
        [
            node(Scope::Organisation, Some(self.project.0)),
            node(Scope::Project, Some(self.project.0)),
            node(Scope::Sprint, self.sprint.map(|id| id.0)),
            node(Scope::Agent, self.agent.map(|id| id.0)),
            node(Scope::Run, self.run.map(|id| id.0)),
            node(Scope::Key, self.key.map(|id| id.0)),
        ]
        .into_iter()
        .flatten()
    }
}

/// The nodes whose soft limit is reached, and until when at most, as the latest posts of this process saw them.
#[derive(Default)]
pub(super) struct Reached {
    nodes: Mutex<HashMap<Node, Timestamp>>,
}

impl Reached {
    pub(super) fn contains(&self, place: &Place, now: Timestamp) -> bool {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        !nodes.is_empty() && place.nodes().any(|node| nodes.get(&node).is_some_and(|until| now < *until))
    }

    /// Keeps what was seen of nodes: the end of the latest window that is used up, or none.
    pub(super) fn see(&self, seen: impl Iterator<Item = (Node, Option<Timestamp>)>) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, until) in seen {
            match until {
                Some(until) => {
                    nodes.insert(node, until);
                }
                None => {
                    nodes.remove(&node);
                }
            }
        }
    }
}
