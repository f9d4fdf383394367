//! One model call of a run.

use super::{
    hooks::{self, Recorder},
    ledger::Place,
    meters::Dialect,
    screen,
};
use crate::{
    db::{Error, storable, storable_json},
    state::App,
};
use chrono::Duration;
use std::sync::Arc;
use syndarix_domain::{
    Timestamp,
    actor::Actor,
    budget::Amount,
    ids::{AgentId, CallId, GatewayKeyId, ProjectId, RunId, StepId, StoryId, UserId},
    run::Run,
};
use syndarix_llm::{
    Ask, CallError, Cause, ChatRequest, Completion, Deployment, ErrorKind, ModelGroup, ModelGroups, Native,
    estimate_request,
};
use tokio_util::sync::CancellationToken;

/// What the call is for: every attempt's usage row carries it.
#[derive(Debug, Clone, Copy)]
pub struct Purpose {
    /// Who pays.
    pub project: ProjectId,
    /// The call: its attempts are counted within it.
    pub call: CallId,
    /// For which story.
    pub story: Option<StoryId>,
    /// For which run.
    pub run: Option<RunId>,
    /// For which step, and the fence of the job that does it. Attempts of an earlier worker belong to the same call.
    pub step: Option<(StepId, i64)>,
    /// Which agent asks.
    pub agent: Option<AgentId>,
    /// The virtual key that it came in with.
    pub key: Option<GatewayKeyId>,
    /// The person who asks, where one is known.
    pub user: Option<UserId>,
    /// A run asks to think: it parks while there is no money, and people read along. A client waits for its answer.
    pub thinks: bool,
}

impl Purpose {
    /// A call that is no step of a run.
    pub fn of_project(project: ProjectId, call: CallId) -> Self {
        Self {
            project,
            call,
            story: None,
            run: None,
            step: None,
            agent: None,
            key: None,
            user: None,
            thinks: false,
        }
    }

    /// A step's call, made by the job with this fence.
    pub fn of_step(run: &Run, step: StepId, fence: i64) -> Self {
        Self {
            story: Some(run.story),
            run: Some(run.id),
            step: Some((step, fence)),
            agent: Some(run.agent),
            thinks: true,
            ..Self::of_project(run.project, CallId(step.0))
        }
    }

    /// What it counts against, but for the sprint, which is the story's at the moment of the call.
    pub fn place(&self) -> Place {
        Place {
            sprint: None,
            agent: self.agent,
            run: self.run,
            key: self.key,
            ..Place::of_project(self.project)
        }
    }

    /// In whose name it is recorded.
    pub(super) fn actor(&self) -> Actor {
        self.agent.map_or(Actor::System, Actor::Agent)
    }
}

/// The group that a group names for when a budget above a call has reached its soft limit, or would not pay for it.
pub(super) fn cheaper_than(groups: &ModelGroups, group: &ModelGroup) -> Option<Arc<ModelGroup>> {
    groups.group(group.cheaper.as_deref()?)
}

/// What was asked for, and what serves it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The model group, or the deployment.
    pub(super) group: String,
    /// The cheaper group, where a soft limit is reached, or a hard one would not pay for what was asked for.
    pub(super) downgraded_to: Option<String>,
    /// Who asks.
    pub(super) dialect: Dialect,
    /// Whether the provider gives the answer in pieces.
    pub(super) streamed: bool,
}

impl Request {
    /// An agent's, whose answers are always streamed to the gateway.
    pub(super) fn of_agent(group: &str) -> Self {
        Self { group: group.to_owned(), downgraded_to: None, dialect: Dialect::Agent, streamed: true }
    }

    /// A client's.
    pub(super) fn of_client(group: &str, native: &Native) -> Self {
        let dialect = Dialect::Client(native.endpoint());
        Self { dialect, streamed: native.is_streamed(), ..Self::of_agent(group) }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// A hard limit would be passed.
    Budget {
        /// Which limit, in words.
        detail: String,
        /// What the least useful call would use up.
        needed: Amount,
        /// What the call counts against.
        place: Place,
    },
    /// Every deployment that there is money for is rate limited, overloaded or down: later it may work.
    Later {
        /// When to try again.
        until: Timestamp,
        /// What the providers said.
        detail: String,
        /// An answer came and could not be read: worth a few more tries, not any number.
        garbled: bool,
    },
    /// The caller gave up.
    Cancelled,
    /// No later attempt would succeed either.
    Fatal {
        /// Why.
        detail: String,
    },
    /// The call could not be recorded: the database was away. The step's next attempt finds what was.
    NotRecorded {
        /// What was not recorded.
        detail: String,
    },
    /// The database failed.
    Store(Error),
}

/// How long a run waits when every deployment is down and none said for how long, in seconds.
const DEFAULT_PAUSE: i64 = 20;
/// The longest that a run waits because a provider asked for it, in seconds.
const LONGEST_PAUSE: i64 = 15 * 60;
/// How long a run waits for calls under way to settle, when only what they reserve is in its way, in seconds.
const RESERVED_PAUSE: i64 = 2;
/// How long a run waits before it asks again for an answer that broke off, in seconds.
const BROKEN_PAUSE: i64 = 2;

/// Asks the group's deployments in order; reserves, records and settles every attempt. What all of them used up is in
/// [`super::used`].
pub async fn complete(
    app: &App,
    purpose: Purpose,
    group: &str,
    request: &ChatRequest,
    cancel: &CancellationToken,
) -> Result<Completion, Failure> {
    let groups = app.gateway.groups_of(app, purpose.project).await.map_err(Failure::Store)?;
    let Some(chain) = groups.get(group) else {
        let detail = no_group(&groups, group);
        return Err(Failure::Fatal { detail });
    };
    let clean = screen::request(app, &purpose, request).await.map_err(Failure::Store)?;
    let request = clean.as_ref().unwrap_or(request);
    let asked = (Request::of_agent(group), Ask::Neutral(request));
    let recorder =
        Recorder::new(app, purpose, asked, cheaper_than(&groups, chain)).await.map_err(Failure::Store)?;
    let cheaper = recorder.known_to_yield();
    let answer =
        app.models.gateway.complete(cheaper.as_deref().unwrap_or(chain), request, &recorder, cancel).await;
    match answer {
        Ok(completion) => {
            let prompt = u64::from(completion.usage.prompt());
            tracing::debug!(deployment = %completion.deployment, prompt, "model answered");
            readable(completion)
        }
        Err(error) => Err(failure(app, &recorder, error)),
    }
}

/// The answer as it can be stored and sent back.
fn readable(completion: Completion) -> Result<Completion, Failure> {
    serde_json::to_value(completion)
        .map(storable_json)
        .and_then(serde_json::from_value)
        .map_err(|source| Failure::Store(Error::Corrupt { what: "completion", source }))
}

/// How much room the messages of a request have at every deployment of the group, in tokens as
/// [`syndarix_llm::estimate_block`] counts them. The request is the one without its messages.
pub async fn room(app: &App, project: ProjectId, group: &str, request: &ChatRequest) -> Result<u32, Error> {
    let groups = app.gateway.groups_of(app, project).await?;
    let chain = groups.get(group).map_or(&[][..], |group| &group.chain);
    let window = |deployment: &Deployment| {
        deployment.context_window.saturating_sub(deployment.max_output_for(request))
    };
    let window = chain.iter().map(window).min().unwrap_or_default();
    // The estimate is up to twice the true number: with a third more, even what is dense fits.
    Ok((window.saturating_add(window / 3)).saturating_sub(estimate_request(request)))
}

/// What is missing, and what the operator does about it.
fn no_group(groups: &ModelGroups, group: &str) -> String {
    let known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    if known.is_empty() {
        return "no model is configured: set ANTHROPIC_API_KEY, OPENAI_API_KEY, or SYNDARIX_MODEL_BASE_URL with \
                SYNDARIX_MODEL, start Syndarix again, then unblock the story"
            .into();
    }
    format!("there is no model group `{group}`; configured: {}", known.join(", "))
}

fn failure(app: &App, recorder: &Recorder, error: CallError) -> Failure {
    let detail = storable(error.to_string());
    let garbled = error.causes().last().is_some_and(is_garbled);
    let later = |seconds: i64, detail| Failure::Later {
        until: app.clock().now() + Duration::seconds(seconds),
        detail,
        garbled,
    };
    match error {
        CallError::Refused { refused, .. } => match refused.code.as_str() {
            hooks::BUDGET => {
                let (detail, needed) = recorder
                    .refusal()
                    .map_or((refused.reason, Amount::default()), |least| (least.reason, least.needed));
                Failure::Budget { detail, needed, place: recorder.place() }
            }
            hooks::RESERVED => later(RESERVED_PAUSE, refused.reason),
            _ => Failure::NotRecorded { detail: refused.reason },
        },
        CallError::NotRecorded { .. } => Failure::NotRecorded { detail },
        CallError::Cancelled { .. } => Failure::Cancelled,
        CallError::Exhausted { causes, retry_after_ms } if causes.iter().any(Cause::may_pass) => {
            let asked = retry_after_ms.and_then(|ms| i64::try_from(ms.div_ceil(1000)).ok());
            later(asked.unwrap_or(DEFAULT_PAUSE).clamp(1, LONGEST_PAUSE), detail)
        }
        // It broke off after its first words: nobody acted on them, so it is asked again.
        CallError::Fatal { causes } if causes.last().is_some_and(Cause::may_pass) => {
            later(BROKEN_PAUSE, detail)
        }
        CallError::Exhausted { .. } | CallError::Fatal { .. } => Failure::Fatal { detail },
    }
}

fn is_garbled(cause: &Cause) -> bool {
    matches!(cause, Cause::Failed { error, .. } if error.kind == ErrorKind::Malformed)
}
