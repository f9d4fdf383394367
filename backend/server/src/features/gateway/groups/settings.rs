//! A model group, as people set it.

use crate::{features::gateway::names, http::ApiError, state::App};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use syndarix_llm::{ModelGroup, ModelGroups, Routing};
use utoipa::ToSchema;

/// The longest name, in characters.
const MAX_NAME: usize = 64;
/// As many as a call can try.
const MAX_CHAIN: usize = 16;
/// The highest weight: beyond it, shares are below a thousandth.
const MAX_WEIGHT: u32 = 1_000;
/// The longest wait for a first content before a second deployment is asked, in milliseconds.
const MAX_HEDGE: i32 = 600_000;

/// Who of a group is asked first; the others follow in the order of the chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case", type_name = "text")]
pub(super) enum GroupRouting {
    /// The first of the chain.
    #[default]
    Order,
    /// Each as often as its weight says; a conversation stays where it is.
    Weighted,
    /// Whoever was fastest of late.
    LeastLatency,
    /// Whoever is cheapest for the request; an unknown price is the last.
    LeastCost,
}

impl From<GroupRouting> for Routing {
    fn from(routing: GroupRouting) -> Self {
        match routing {
            GroupRouting::Order => Self::Order,
            GroupRouting::Weighted => Self::Weighted,
            GroupRouting::LeastLatency => Self::LeastLatency,
            GroupRouting::LeastCost => Self::LeastCost,
        }
    }
}

impl From<Routing> for GroupRouting {
    fn from(routing: Routing) -> Self {
        match routing {
            Routing::Order => Self::Order,
            Routing::Weighted => Self::Weighted,
            Routing::LeastLatency => Self::LeastLatency,
            Routing::LeastCost => Self::LeastCost,
        }
    }
}

/// A deployment in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupMember {
    /// The name of a deployment that is configured, or of one of the organisation's own providers.
    pub(super) deployment: String,
    /// Its share of the calls of a `weighted` group; 0: only when others fail. Left out: as it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1000)]
    pub(super) weight: Option<u32>,
}

/// What a group is to be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupSettings {
    /// Who is asked first.
    #[serde(default)]
    pub(super) routing: GroupRouting,
    /// After how many milliseconds without any content a second deployment is asked the same; both are paid for. Left
    /// out: nobody is asked twice.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 600_000)]
    pub(super) hedge_after_ms: Option<i32>,
    /// The group that is asked instead once a budget above a call has reached its soft limit, or would not pay for it.
    #[serde(default)]
    pub(super) cheaper: Option<String>,
    /// In the order in which they are tried.
    pub(super) chain: Vec<GroupMember>,
}

/// A name that can be asked for.
pub(super) fn check_name(app: &App, name: &str) -> Result<(), ApiError> {
    names::check(name, MAX_NAME)?;
    if app.models.groups.get(name).is_none() && app.models.groups.deployment(name).is_some() {
        return Err(ApiError::invalid(
            "name",
            "is the name of a deployment, which could not be asked any more",
        ));
    }
    Ok(())
}

impl GroupSettings {
    /// Checked against the deployments that the organisation has and against its other groups.
    pub(super) fn check(&self, base: &ModelGroups, name: &str, others: &ModelGroups) -> Result<(), ApiError> {
        if self.chain.is_empty() || self.chain.len() > MAX_CHAIN {
            return Err(ApiError::invalid("chain", format!("must have 1 to {MAX_CHAIN} deployments")));
        }
        let mut seen = BTreeSet::new();
        for (at, member) in self.chain.iter().enumerate() {
            let field = |name: &str| format!("chain[{at}].{name}");
            if base.deployment(&member.deployment).is_none() {
                let known: Vec<&str> = base.deployments().map(|one| one.name.as_str()).collect();
                let message = format!("is no deployment that you have; there are: {}", known.join(", "));
                return Err(ApiError::invalid(&field("deployment"), message));
            }
            if !seen.insert(&member.deployment) {
                return Err(ApiError::invalid(&field("deployment"), "is in the chain twice"));
            }
            if member.weight.is_some_and(|weight| weight > MAX_WEIGHT) {
                return Err(ApiError::invalid(&field("weight"), format!("must be from 0 to {MAX_WEIGHT}")));
            }
        }
        if self.hedge_after_ms.is_some_and(|after| !(1..=MAX_HEDGE).contains(&after)) {
            let message = format!("must be from 1 to {MAX_HEDGE} ms, or left out for never");
            return Err(ApiError::invalid("hedge_after_ms", message));
        }
        match self.cheaper.as_deref() {
            Some(cheaper) if cheaper == name => {
                return Err(ApiError::invalid("cheaper", "is the group itself"));
            }
            Some(cheaper) if others.get(cheaper).is_none() => {
                return Err(ApiError::invalid("cheaper", format!("there is no model group `{cheaper}`")));
            }
            _ => {}
        }
        // What is left is wrong with the chain as a whole.
        let group = self
            .group(base, name)
            .ok_or_else(|| ApiError::invalid("chain", "names nothing that is there"))?;
        others.with(vec![group]).map(drop).map_err(|error| ApiError::invalid("chain", error.reason))
    }

    /// The group with what is there of its deployments. `None`: nothing is, any more.
    pub(super) fn group(&self, base: &ModelGroups, name: &str) -> Option<ModelGroup> {
        let deployments = self.chain.iter().filter_map(|member| {
            let mut deployment = base.deployment(&member.deployment)?.clone();
            deployment.weight = member.weight.unwrap_or(deployment.weight);
            Some(deployment)
        });
        let chain: Vec<_> = deployments.collect();
        (!chain.is_empty()).then(|| ModelGroup {
            routing: self.routing.into(),
            hedge_after_ms: self.hedge_after_ms.and_then(|after| u64::try_from(after).ok()),
            cheaper: self.cheaper.clone(),
            ..ModelGroup::new(name, chain)
        })
    }
}
