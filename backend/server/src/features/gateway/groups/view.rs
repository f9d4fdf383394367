//! Model groups as they are shown.

use super::{
    queries::Stored,
    settings::{GroupMember, GroupRouting},
};
use crate::state::App;
use serde::Serialize;
use syndarix_domain::Timestamp;
use syndarix_llm::{ModelGroup, ModelGroups};
use utoipa::ToSchema;

/// Where a group comes from.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum GroupSource {
    /// From the operator's configuration.
    Configured,
    /// The organisation's own.
    Organisation,
}

/// A deployment in a group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelGroupMember)]
pub(super) struct MemberView {
    /// Its name.
    deployment: String,
    /// Its share of the calls of a `weighted` group.
    weight: u32,
    /// Whose model it is; null when it is there no longer, and passed over.
    provider: Option<String>,
    /// Its name there.
    model: Option<String>,
}

/// A name that can be asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrganisationModelGroup)]
pub(super) struct GroupView {
    /// The name.
    pub(super) name: String,
    /// Where it comes from.
    source: GroupSource,
    /// Whether removing the organisation's own group brings a configured one of its name back.
    is_configured: bool,
    /// Who is asked first.
    routing: GroupRouting,
    /// After how many milliseconds without any content a second deployment is asked the same.
    hedge_after_ms: Option<u64>,
    /// The group that is asked instead once a budget above a call has reached its soft limit, or would not pay for it.
    cheaper: Option<String>,
    /// In the order in which they are tried.
    chain: Vec<MemberView>,
    /// When the organisation's own group was last set.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}

impl GroupView {
    pub(super) fn of_configured(group: &ModelGroup) -> Self {
        let member = |one: &syndarix_llm::Deployment| MemberView {
            deployment: one.name.clone(),
            weight: one.weight,
            provider: Some(one.vendor().to_owned()),
            model: Some(one.model.clone()),
        };
        Self {
            name: group.name.clone(),
            source: GroupSource::Configured,
            is_configured: true,
            routing: group.routing.into(),
            hedge_after_ms: group.hedge_after_ms,
            cheaper: group.cheaper.clone(),
            chain: group.chain.iter().map(member).collect(),
            updated_at: None,
        }
    }

    pub(super) fn of_stored(app: &App, base: &ModelGroups, stored: &Stored) -> Self {
        let settings = stored.settings();
        let member = |member: &GroupMember| {
            let known = base.deployment(&member.deployment);
            MemberView {
                deployment: member.deployment.clone(),
                weight: member.weight.or(known.map(|one| one.weight)).unwrap_or(1),
                provider: known.map(|one| one.vendor().to_owned()),
                model: known.map(|one| one.model.clone()),
            }
        };
        Self {
            name: stored.name.clone(),
            source: GroupSource::Organisation,
            is_configured: app.models.groups.get(&stored.name).is_some(),
            routing: settings.routing,
            hedge_after_ms: settings.hedge_after_ms.and_then(|after| u64::try_from(after).ok()),
            cheaper: settings.cheaper.clone(),
            chain: settings.chain.iter().map(member).collect(),
            updated_at: Some(stored.updated_at),
        }
    }

    /// All groups that the organisation's projects can name, by name.
    pub(super) fn all(app: &App, base: &ModelGroups, stored: &[Stored]) -> Vec<Self> {
        let is_own = |name: &str| stored.iter().any(|one| one.name == name);
        let configured =
            app.models.groups.iter().filter(|group| !is_own(&group.name)).map(Self::of_configured);
        let mut all: Vec<Self> =
            configured.chain(stored.iter().map(|one| Self::of_stored(app, base, one))).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}
