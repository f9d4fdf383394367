//! Who asks: a client with a virtual key, or an agent within its run.

use crate::{
    db::Error,
    features::{
        gateway::keys::{Exceeded, Held, Key, Quota, Share, lifetime},
        llm::Purpose,
    },
    http::CallerKind,
    state::App,
};
use std::{iter, sync::Arc, time::Duration};
use syndarix_domain::ids::{AgentId, CallId, ProjectId, RunId, StepId, StoryId};
use syndarix_llm::{ModelGroup, ModelGroups};
use uuid::Uuid;

/// Cheaper groups that lead from an agent's own: more would be a circle.
const MAX_CHEAPER: usize = 16;

/// Whoever a call is made for. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Asker {
    Key(Arc<Key>),
    Agent(Arc<AtWork>),
}

/// An agent in its run.
#[derive(Debug)]
pub(super) struct AtWork {
    project: ProjectId,
    agent: AgentId,
    run: RunId,
    story: Option<StoryId>,
    /// The tool call that asks, and the fence of the job that makes it.
    step: Option<(StepId, i64)>,
    /// The model group that its type thinks with.
    group: String,
    /// For how long the project has answers given again; none: never.
    cache: Option<Duration>,
}

impl Asker {
    pub(super) fn project(&self) -> ProjectId {
        match self {
            Self::Key(key) => key.project,
            Self::Agent(agent) => agent.project,
        }
    }

    /// Whose calls are counted together.
    pub(super) fn id(&self) -> Uuid {
        match self {
            Self::Key(key) => key.id.0,
            Self::Agent(agent) => agent.agent.0,
        }
    }

    /// The names that it may ask for. An agent asks nobody dearer than who it thinks with: its type's group, and those
    /// that the group names as cheaper, in this order.
    pub(super) fn models<'a>(&self, groups: &'a ModelGroups) -> Vec<&'a str> {
        match self {
            Self::Key(key) => groups.names().filter(|name| key.allows(name)).collect(),
            Self::Agent(agent) => {
                let cheaper = |group: &&'a ModelGroup| groups.get(group.cheaper.as_deref()?);
                let chain = iter::successors(groups.get(&agent.group), cheaper).take(MAX_CHEAPER);
                chain.map(|group| group.name.as_str()).collect()
            }
        }
    }

    /// Whether it may ask for this name.
    pub(super) fn allows(&self, groups: &ModelGroups, name: &str) -> bool {
        match self {
            Self::Key(key) => key.allows(name),
            Self::Agent(_) => self.models(groups).contains(&name),
        }
    }

    /// In messages to it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "this key",
            Self::Agent(_) => "this agent",
        }
    }

    /// For how long answers are given again; none: never.
    pub(super) fn cache(&self) -> Option<Duration> {
        match self {
            Self::Key(key) => key.cache,
            Self::Agent(agent) => agent.cache,
        }
    }

    /// Counts a request against the limits of a minute, where there are any.
    pub(super) async fn count(&self, app: &App) -> (Quota, Result<(), Exceeded>) {
        match self {
            Self::Key(key) => key.meter.admit(app.gateway.limits.get(), key.id.0).await,
            Self::Agent(_) => (Quota::default(), Ok(())),
        }
    }

    /// The most tokens that it may take in a minute; none: there is no limit.
    pub(super) fn tokens_per_minute(&self) -> Option<u32> {
        match self {
            Self::Key(key) => key.meter.tokens_per_minute(),
            Self::Agent(_) => None,
        }
    }

    /// Sets so many tokens of this minute aside for a call, where as many as it needs are left.
    pub(super) async fn set_aside(
        &self,
        app: &App,
        (needed, tokens): (u32, u32),
    ) -> (Quota, Result<Held, Exceeded>) {
        let Self::Key(key) = self else { return (Quota::default(), Ok(Held::default())) };
        let (buckets, tasks) = (app.gateway.limits.get().cloned(), app.gateway.calls.clone());
        let share = buckets.map(|buckets| Share { buckets, owner: key.id.0, tasks });
        key.meter.set_aside((needed, tokens), share).await
    }

    /// What a call is booked on. A step's call has the step's id, so that attempts are counted within it.
    pub(super) fn purpose(&self, id: Uuid) -> Purpose {
        match self {
            Self::Key(key) => Purpose {
                agent: key.agent,
                key: Some(key.id),
                user: key.user,
                ..Purpose::of_project(key.project, CallId(id))
            },
            Self::Agent(agent) => Purpose {
                story: agent.story,
                run: Some(agent.run),
                step: agent.step,
                agent: Some(agent.agent),
                ..Purpose::of_project(agent.project, CallId(agent.step.map_or(id, |(step, _)| step.0)))
            },
        }
    }
}

/// The run's story, the group that the agent's type thinks with, the step and its fence, and the project's setting.
type Found = (Option<Uuid>, Option<String>, Option<Uuid>, Option<i64>, Option<i32>);

impl AtWork {
    /// What a call of this caller is booked on; `None`: it is no agent of whom anything is known. `step` is what the
    /// tool says that causes the call: it counts only if it is the run's own.
    pub(super) async fn of(
        app: &App,
        caller: &CallerKind,
        step: Option<StepId>,
    ) -> Result<Option<Self>, Error> {
        let CallerKind::Agent { agent, project, run, .. } = caller else { return Ok(None) };
        let row: Option<Found> = sqlx::query_as(
            "select r.story_id, v.definition ->> 'model_group', s.id, s.fence, p.gateway_cache_seconds
               from run r
               join project p on p.id = r.project_id
               join agent a on a.id = $3 and a.project_id = r.project_id
               left join agent_type_version v on v.agent_type_id = a.agent_type_id and v.version = a.type_version
               left join step s on s.id = $4 and s.project_id = r.project_id and s.run_id = r.id and s.kind = 'tool'
              where r.id = $1 and r.project_id = $2",
        )
        .bind(run.0)
        .bind(project.0)
        .bind(agent.0)
        .bind(step.map(|step| step.0))
        .fetch_optional(app.pool())
        .await?;
        Ok(row.map(|(story, group, step, fence, cache)| Self {
            project: *project,
            agent: *agent,
            run: *run,
            story: story.map(StoryId),
            step: step.map(StepId).zip(fence),
            group: group.unwrap_or_default(),
            cache: lifetime(cache),
        }))
    }
}
