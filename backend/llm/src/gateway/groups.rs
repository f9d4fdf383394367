//! Model groups as data: a name and an ordered chain of deployments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::Routing;
use crate::provider::{Deployment, EndpointAccess, names_private};

/// Most deployments of one group: with retries, a call tries at most three times as many.
const MAX_CHAIN: usize = 16;

/// A name that agents ask for, such as `high-reasoning`, and who serves it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelGroup {
    /// The name.
    pub name: String,
    /// Who is asked first.
    #[serde(default)]
    pub routing: Routing,
    /// After how many milliseconds without any content a second deployment is asked the same. The first content wins,
    /// and the other attempt is cancelled; both are paid for. None: nobody is asked twice.
    #[serde(default)]
    pub hedge_after_ms: Option<u64>,
    /// In the order in which they are tried.
    pub chain: Vec<Deployment>,
    /// The group that is asked instead once a budget above a call has reached its soft limit, or would not pay for it.
    #[serde(default)]
    pub cheaper: Option<String>,
}

impl ModelGroup {
    /// A group that is tried in its order, without a cheaper one.
    pub fn new(name: impl Into<String>, chain: Vec<Deployment>) -> Self {
        Self { name: name.into(), routing: Routing::default(), hedge_after_ms: None, chain, cheaper: None }
    }

    pub(super) fn hedge_after(&self) -> Option<Duration> {
        self.hedge_after_ms.map(Duration::from_millis)
    }
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

/// All groups, checked, and every deployment as a group of its own.
#[derive(Debug, Clone, Default)]
pub struct ModelGroups {
    groups: BTreeMap<String, Arc<ModelGroup>>,
    alone: BTreeMap<String, Arc<ModelGroup>>,
}

impl ModelGroups {
    /// Checks the groups: names are unique, chains neither empty nor endless, no deployment twice in one chain.
    pub fn new(all: Vec<ModelGroup>) -> Result<Self, GroupError> {
        let (mut groups, mut alone) = (BTreeMap::new(), BTreeMap::new());
        for group in all {
            if let Some(reason) = fault(&group) {
                return Err(GroupError { group: group.name, reason });
            }
            for deployment in &group.chain {
                let (name, chain) = (deployment.name.clone(), vec![deployment.clone()]);
                alone.entry(name.clone()).or_insert_with(|| Arc::new(ModelGroup::new(name, chain)));
            }
            let name = group.name.clone();
            if groups.insert(name.clone(), Arc::new(group)).is_some() {
                return Err(GroupError { group: name, reason: "it is there twice".to_owned() });
            }
        }
        for group in groups.values() {
            if let Some(reason) = group.cheaper.as_deref().and_then(|cheaper| misled(&groups, group, cheaper))
            {
                return Err(GroupError { group: group.name.clone(), reason });
            }
        }
        Ok(Self { groups, alone })
    }

    /// The same with other groups over these: one takes the place of that of its name. Every deployment stays one that
    /// can be asked for alone.
    pub fn with(&self, groups: Vec<ModelGroup>) -> Result<Self, GroupError> {
        let mut with = self.clone();
        for group in groups {
            if let Some(reason) = fault(&group) {
                return Err(GroupError { group: group.name, reason });
            }
            with.groups.insert(group.name.clone(), Arc::new(group));
        }
        Ok(with)
    }

    /// The same with further deployments that groups may name, and that can be asked for alone. One takes the place of
    /// that of its name; groups keep those that they were made of.
    #[must_use]
    pub fn with_deployments(&self, deployments: impl IntoIterator<Item = Deployment>) -> Self {
        let mut with = self.clone();
        for deployment in deployments {
            let name = deployment.name.clone();
            with.alone.insert(name.clone(), Arc::new(ModelGroup::new(name, vec![deployment])));
        }
        with
    }

    /// A deployment by name.
    pub fn deployment(&self, name: &str) -> Option<&Deployment> {
        self.alone.get(name).and_then(|alone| alone.chain.first())
    }

    /// Every deployment, by name.
    pub fn deployments(&self) -> impl Iterator<Item = &Deployment> {
        self.alone.values().filter_map(|alone| alone.chain.first())
    }

    /// A group by name, to keep.
    pub fn group(&self, name: &str) -> Option<Arc<ModelGroup>> {
        self.groups.get(name).cloned()
    }

    /// A group by name.
    pub fn get(&self, name: &str) -> Option<&ModelGroup> {
        self.groups.get(name).map(|group| &**group)
    }

    /// What clients may ask for: a group by name, else a deployment by name.
    pub fn resolve(&self, name: &str) -> Option<Arc<ModelGroup>> {
        self.groups.get(name).or_else(|| self.alone.get(name)).cloned()
    }

    /// Every name that can be asked for: groups first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let alone = self.alone.keys().filter(|name| !self.groups.contains_key(*name));
        self.groups.keys().chain(alone).map(String::as_str)
    }

    /// All groups, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ModelGroup> {
        self.groups.values().map(|group| &**group)
    }
}

/// What is wrong with the cheaper group that a group names, if anything is.
fn misled(groups: &BTreeMap<String, Arc<ModelGroup>>, group: &ModelGroup, cheaper: &str) -> Option<String> {
    if cheaper == group.name {
        return Some("it is cheaper than itself".to_owned());
    }
    (!groups.contains_key(cheaper))
        .then(|| format!("there is no group `{cheaper}`, which is to be the cheaper one"))
}

fn fault(group: &ModelGroup) -> Option<String> {
    if group.chain.is_empty() || group.chain.len() > MAX_CHAIN {
        return Some(format!("it has {} deployments, not 1 to {MAX_CHAIN}", group.chain.len()));
    }
    if group.routing == Routing::Weighted && group.chain.iter().all(|one| one.weight == 0) {
        return Some("it is weighted, and no deployment has a weight above 0".to_owned());
    }
    if group.hedge_after_ms == Some(0) {
        return Some("hedge_after_ms is 0: ask the second after at least a millisecond, or never".to_owned());
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
        if deployment.endpoint_access == EndpointAccess::Public && names_private(&deployment.base_url) {
            return Some(format!(
                "the base URL of `{name}` is in a private network; if that is meant, say \
                 endpoint_access = \"private_network\""
            ));
        }
        if deployment.max_output == 0 || deployment.max_output > deployment.context_window {
            return Some(format!("the answer limit of `{name}` is zero or above its context window"));
        }
    }
    None
}
