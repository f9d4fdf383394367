//! Model groups as data: a name and an ordered chain of deployments.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use thiserror::Error;

use crate::provider::Deployment;

/// Most deployments of one group: with retries, a call tries at most three times as many.
const MAX_CHAIN: usize = 16;

/// A name that agents ask for, such as `high-reasoning`, and who serves it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelGroup {
    /// The name.
    pub name: String,
    /// In the order in which they are tried.
    pub chain: Vec<Deployment>,
}

/// A group is not usable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("model group `{group}`: {reason}")]
pub struct GroupError {
    /// Which.
    pub group: String,
    /// What is wrong.
    pub reason: String,
}

/// All groups, checked.
#[derive(Debug, Clone, Default)]
pub struct ModelGroups(BTreeMap<String, ModelGroup>);

impl ModelGroups {
    /// Checks the groups: names are unique, chains neither empty nor endless, no deployment twice in one chain.
    pub fn new(groups: Vec<ModelGroup>) -> Result<Self, GroupError> {
        let mut all = BTreeMap::new();
        for group in groups {
            if let Some(reason) = fault(&group) {
                return Err(GroupError { group: group.name, reason });
            }
            if let Some(earlier) = all.insert(group.name.clone(), group) {
                return Err(GroupError { group: earlier.name, reason: "it is there twice".to_owned() });
            }
        }
        Ok(Self(all))
    }

    /// A group by name.
    pub fn get(&self, name: &str) -> Option<&ModelGroup> {
        self.0.get(name)
    }

    /// All groups, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ModelGroup> {
        self.0.values()
    }
}

fn fault(group: &ModelGroup) -> Option<String> {
    if group.chain.is_empty() || group.chain.len() > MAX_CHAIN {
        return Some(format!("it has {} deployments, not 1 to {MAX_CHAIN}", group.chain.len()));
    }
    let mut names = BTreeSet::new();
    for deployment in &group.chain {
        let name = &deployment.name;
        if !names.insert(name) {
            return Some(format!("the deployment `{name}` is in it twice"));
        }
        if !matches!(deployment.base_url.scheme(), "http" | "https") {
            return Some(format!("the base URL of `{name}` is not http or https"));
        }
        if deployment.max_output == 0 || deployment.max_output > deployment.context_window {
            return Some(format!("the answer limit of `{name}` is zero or above its context window"));
        }
    }
    None
}
