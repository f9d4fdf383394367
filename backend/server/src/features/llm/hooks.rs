//! Around every attempt: reserve and record before, settle and record after.

use super::{
    call::{Purpose, Request},
    ledger::{Attempt, Failed, Outcome, PassedOver, Place, Refusal, Reservation, Settlement},
    meters::{self, Ended},
    spans::{self, CallSpan},
};
use crate::{
    db::{Error, storable},
    state::App,
};
use async_trait::async_trait;
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use syndarix_domain::ids::{ProjectId, SprintId, StepId, StoryId};
use syndarix_llm::{
    Ask, AttemptHooks, AttemptIntent, AttemptOutcome, CallError, Completion, Delta, Grant, ModelGroup,
    ProviderKind, RecordFailed, Refused, TraceContext,
};
use tokio::runtime::Handle;
use uuid::Uuid;

/// The refusal's code when a hard limit would be passed.
pub(super) const BUDGET: &str = "budget_exceeded";
/// The refusal's code when only what other calls reserve is in the way: most of it comes back when they settle.
pub(super) const RESERVED: &str = "budget_reserved";
/// The refusal's code when a soft limit is reached, and a cheaper group is to be asked.
const YIELDS: &str = "soft_limit";
/// The refusal's code when the intent could not be written.
const NOT_RECORDED: &str = "not_recorded";
/// How long a client's call waits for other calls' reservations. A run waits by itself, parked.
const PATIENCE: Duration = Duration::from_secs(5);

/// Records the attempts of one call.
pub(super) struct Recorder {
    app: App,
    purpose: Purpose,
    /// What was asked for.
    request: Request,
    /// What serves it once a soft limit is reached, or where a hard one would not pay for what was asked for.
    cheaper: Option<Arc<ModelGroup>>,
    place: Place,
    /// Attempts of this call that an earlier worker made.
    earlier: i32,
    begun: Instant,
    span: Option<CallSpan>,
    /// The client's trace, which providers are told as it is where no span of ours is in between.
    trace: Option<TraceContext>,
    under_way: Mutex<UnderWay>,
}

/// What is known of the attempts so far.
#[derive(Default)]
struct UnderWay {
    /// Attempts that are at a provider, by number.
    away: HashMap<u32, Away>,
    /// Since when some attempt is at a provider, and how long some has been before.
    busy: Option<Instant>,
    upstream: Duration,
    attempts: u32,
    /// The attempt that was begun last.
    current: Option<Uuid>,
    /// Whether a scripted endpoint answers it, as far as is known.
    simulated: bool,
    /// Whether the cheaper group is asked. Decided before the first attempt: none changes its model half way.
    downgraded: bool,
    /// Of all that were refused for money, the one that needs least: once that is there, the call can be made.
    refusal: Option<Refusal>,
    /// Others' reservations have been waited for.
    waited: bool,
}

/// An attempt that is at its provider.
struct Away {
    reservation: Reservation,
    /// The answer limit, in tokens.
    granted: u32,
    since: Instant,
    /// Its span.
    trace: Option<TraceContext>,
}

impl UnderWay {
    /// An attempt leaves for its provider.
    fn left(&mut self, n: u32, (reservation, granted): (Reservation, u32), trace: Option<TraceContext>) {
        let since = Instant::now();
        self.busy.get_or_insert(since);
        self.current = Some(reservation.id);
        self.away.insert(n, Away { reservation, granted, since, trace });
        self.attempts += 1;
    }

    /// It may not be made.
    fn refused(&mut self, refusal: &Refusal) {
        self.waited |= refusal.only_reserved;
        let needs_less = |before: &Refusal| before.yields || refusal.needed.money <= before.needed.money;
        if self.refusal.as_ref().is_none_or(needs_less) {
            self.refusal = Some(refusal.clone());
        }
    }

    /// It is back. Of two at once, the time is counted once.
    fn back(&mut self, n: u32) -> Option<Away> {
        let back = self.away.remove(&n)?;
        if self.away.is_empty() {
            self.upstream += self.busy.take().map(|since| since.elapsed()).unwrap_or_default();
        }
        Some(back)
    }
}

impl Recorder {
    /// For a call of this group, or of the cheaper one.
    pub(super) async fn new(
        app: &App,
        purpose: Purpose,
        (request, ask): (Request, Ask<'_>),
        cheaper: Option<Arc<ModelGroup>>,
    ) -> Result<Self, Error> {
        let (earlier, sprint) = match (purpose.step, purpose.story) {
            (None, None) => (0, None),
            (step, story) => before(app, purpose.project, step.map(|(id, _)| id), story).await?,
        };
        let place = Place { sprint, ..purpose.place() };
        let app = app.clone();
        let begun = Instant::now();
        let listening = app.models.spans.get();
        let span = listening.and_then(|spans| CallSpan::begin(spans, ask, app.clock().now()));
        let trace = spans::client_of(ask).cloned();
        let under_way = Mutex::default();
        Ok(Self { app, purpose, request, cheaper, place, earlier, begun, span, trace, under_way })
    }

    /// Where the call stands in the tree of budgets.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The cheaper group, where this process knows already that a soft limit is reached: nothing has to be asked then.
    pub(super) fn known_to_yield(&self) -> Option<Arc<ModelGroup>> {
        let cheaper = self.cheaper.clone().filter(|_| self.app.ledger.is_soft_reached(&self.place))?;
        self.with(|under_way| under_way.downgraded = true);
        Some(cheaper)
    }

    /// What was asked for, and what serves it now.
    fn request(&self) -> Request {
        let downgraded = self.with(|under_way| under_way.downgraded);
        let downgraded_to = self.cheaper.as_ref().filter(|_| downgraded).map(|group| group.name.clone());
        Request { downgraded_to, ..self.request.clone() }
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.with(|under_way| under_way.refusal.clone())
    }

    fn with<T>(&self, look: impl FnOnce(&mut UnderWay) -> T) -> T {
        look(&mut self.under_way.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether something cheaper might be had where this was refused. A run does not change its model for what is only
    /// reserved: it asks again in a moment.
    fn is_for_money(&self, refused: &Refused) -> bool {
        refused.code == BUDGET || refused.code == RESERVED && !self.purpose.thinks
    }

    async fn reserve(&self, intent: &AttemptIntent<'_>) -> Result<Result<Grant, Refused>, Error> {
        let (deployment, purpose) = (intent.deployment, &self.purpose);
        let simulated = deployment.provider == ProviderKind::Scripted;
        let Request { group, downgraded_to, .. } = self.request();
        let downgraded = downgraded_to.is_some();
        let reservation = Reservation {
            id: self.app.store.new_id(),
            place: self.place,
            attempt: Attempt {
                call: purpose.call,
                number: self.earlier.saturating_add(i32::try_from(intent.n).unwrap_or(i32::MAX)),
                story: purpose.story,
                step: purpose.step,
                user: purpose.user,
                deployment: deployment.name.clone(),
                provider: deployment.vendor().to_owned(),
                model: deployment.model.clone(),
                unpriced: intent.price.is_unknown(),
                price_version: self.app.models.gateway.price_version(deployment).to_owned(),
                simulated,
                group,
                downgraded_to,
            },
            rates: intent.ceiling,
            max_input: intent.max_input_tokens,
            max_output: intent.max_output_tokens,
            choices: intent.choices,
            at: self.app.clock().now(),
            yields: intent.n == 1 && self.cheaper.is_some() && !downgraded,
        };
        // Once, however many are asked for leave.
        let waits = !purpose.thinks && !self.with(|under_way| under_way.waited);
        let patience = if waits { PATIENCE } else { Duration::ZERO };
        let answer = self.app.ledger.reserve(&reservation, patience).await?;
        let trace = self.span.as_ref().map(CallSpan::attempt);
        self.with(|under_way| match &answer {
            Ok(granted) => {
                under_way.left(intent.n, (reservation, *granted), trace.clone());
                under_way.simulated = simulated;
            }
            Err(refusal) => under_way.refused(refusal),
        });
        let granted =
            |max_output_tokens| Grant { max_output_tokens, trace: trace.or_else(|| self.trace.clone()) };
        Ok(answer.map(granted).map_err(|refusal| {
            let code = match refusal {
                Refusal { yields: true, .. } => YIELDS,
                Refusal { only_reserved: true, .. } => RESERVED,
                _ => BUDGET,
            };
            Refused { code: code.into(), reason: refusal.reason }
        }))
    }

    fn settlement(&self, id: Uuid, outcome: &AttemptOutcome<'_>) -> Settlement {
        let purpose = &self.purpose;
        let (model, error) = match outcome.result {
            Ok(completion) => (storable(&completion.model), None),
            Err(error) => {
                let failed = Failed { kind: error.kind.name(), message: storable(error.message.clone()) };
                (outcome.deployment.model.clone(), Some(failed))
            }
        };
        Settlement {
            id,
            project: purpose.project,
            actor: purpose.actor(),
            outcome: Outcome {
                call: purpose.call,
                run: purpose.run,
                step: purpose.step.map(|(id, _)| id),
                model,
                error,
                usage: outcome.usage,
                cost: outcome.cost.micro_usd,
                unpriced: outcome.cost.price_unknown,
                rates: *outcome.price.rates(),
                price_version: self.app.models.gateway.price_version(outcome.deployment).to_owned(),
                latency_ms: outcome.latency_ms,
                first_content_ms: outcome.first_content_ms,
                simulated: outcome.simulated,
            },
            at: self.app.clock().now(),
            unsure: false,
        }
    }

    /// Whom the call passed over is written down beside it: nearly always nobody. Where nobody was asked, not who was too
    /// dear: a client that asks again and again without money leaves nothing.
    fn note_passed_over(&self, result: Result<&Completion, &CallError>, was_sent: bool) {
        let causes = result.map_or_else(CallError::causes, |completion| &completion.before[..]);
        let noted = causes.iter().filter(|cause| was_sent || !cause.is_over_budget());
        let of = (self.purpose.project, self.purpose.call);
        let Some(call) = PassedOver::of(of, noted, self.app.clock().now()) else { return };
        let app = self.app.clone();
        self.app.gateway.beside(async move { app.ledger.passed_over(call).await });
    }

    /// An endpoint behind a real provider's name says that it is scripted: from here on its cost is no real money,
    /// also if nobody hears the end of its answer.
    async fn note_simulated(&self) {
        let row = self.with(|under_way| {
            let known = std::mem::replace(&mut under_way.simulated, true);
            under_way.current.filter(|_| !known)
        });
        let Some(row) = row else { return };
        let noted = sqlx::query("update usage set simulated = true where id = $1 and project_id = $2")
            .bind(row)
            .bind(self.purpose.project.0)
            .execute(self.app.pool())
            .await;
        if let Err(error) = noted {
            tracing::warn!(%error, "cannot note that an attempt is simulated; its settlement will");
        }
    }
}

/// A call that is dropped, by a panic or with its task, leaves attempts at their providers that nobody would end while this
/// process lives.
impl Drop for Recorder {
    fn drop(&mut self) {
        let under_way = self.under_way.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Where there is no runtime any more, the process ends, and its successor finds what was reserved.
        if under_way.away.is_empty() || Handle::try_current().is_err() {
            return;
        }
        let now = self.app.clock().now();
        for Away { reservation, granted, .. } in under_way.away.values() {
            let mut settlement = reservation.dropped(*granted, now);
            settlement.outcome.simulated |= under_way.simulated && under_way.current == Some(reservation.id);
            self.app.ledger.owe(settlement);
        }
    }
}

/// The attempts that a step has had, also those of the version before, which gave them no call; and the story's sprint.
async fn before(
    app: &App,
    project: ProjectId,
    step: Option<StepId>,
    story: Option<StoryId>,
) -> Result<(i32, Option<SprintId>), Error> {
    let (attempts, sprint): (i32, Option<Uuid>) = sqlx::query_as(
        "select coalesce((select max(attempt) from usage where step_id = $1 and project_id = $2), 0),
                (select (state ->> 'sprint')::uuid from story where id = $3 and project_id = $2)",
    )
    .bind(step.map(|id| id.0))
    .bind(project.0)
    .bind(story.map(|id| id.0))
    .fetch_one(app.pool())
    .await?;
    Ok((attempts, sprint.map(SprintId)))
}

#[async_trait]
impl AttemptHooks for Recorder {
    async fn before(&self, intent: &AttemptIntent<'_>) -> Result<Grant, Refused> {
        match crate::db::retry_conflicts(|| self.reserve(intent)).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, "cannot record a model call's intent");
                let reason = "what the call may cost could not be set aside, because the database does not answer or \
                              cannot write: nothing was asked of a model; try again in a moment";
                Err(Refused { code: NOT_RECORDED.into(), reason: reason.into() })
            }
        }
    }

    fn passes_on(&self, refused: &Refused) -> bool {
        self.is_for_money(refused)
    }

    fn instead(&self, refused: &Refused) -> Option<Arc<ModelGroup>> {
        if refused.code != YIELDS && !self.is_for_money(refused) {
            return None;
        }
        let cheaper = self.cheaper.clone()?;
        let was_asked = self.with(|under_way| std::mem::replace(&mut under_way.downgraded, true));
        (!was_asked).then_some(cheaper)
    }

    async fn after(&self, outcome: &AttemptOutcome<'_>) -> Result<(), RecordFailed> {
        let Some(Away { reservation, since, trace, .. }) = self.with(|under_way| under_way.back(outcome.n))
        else {
            return Err(RecordFailed("an attempt that was not begun has ended".into()));
        };
        self.app.models.meters.attempted(outcome, self.request.streamed, since.elapsed());
        if let (Some(span), Some(trace)) = (&self.span, &trace) {
            span.attempted(&self.request(), (trace, since), outcome);
        }
        // Not settled: another worker took the step over and ended this attempt as interrupted. What fails here is owed.
        crate::db::retry_conflicts(|| self.app.ledger.settle(self.settlement(reservation.id, outcome)))
            .await
            .map(|_settled| ())
            .map_err(|error| RecordFailed(error.to_string()))
    }

    async fn delta(&self, delta: &Delta) {
        match delta {
            Delta::Started { simulated: true, .. } => self.note_simulated().await,
            Delta::Text { text, .. } => {
                // Unless a run thinks there is nobody on a screen who reads along.
                let Some(run) = self.purpose.run.filter(|_| self.purpose.thinks) else { return };
                let simulated = self.with(|under_way| under_way.simulated);
                let data = json!({ "run_id": run, "text": text, "simulated": simulated });
                self.app.hub.ephemeral(self.purpose.project, "run.delta", &data);
            }
            _ => {}
        }
    }
    async fn ended(&self, result: Result<&Completion, &CallError>) {
        let (attempts, upstream) = self.with(|under_way| (under_way.attempts, under_way.upstream));
        self.app.models.meters.called(&Ended {
            dialect: self.request.dialect,
            group: &self.request.group,
            outcome: meters::ended(result.err()),
            attempts,
            total: self.begun.elapsed(),
            upstream,
        });
        if let Some(span) = &self.span {
            span.ended(&self.request(), attempts, result);
        }
        self.note_passed_over(result, attempts > 0);
    }
}
