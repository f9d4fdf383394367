//! One attempt between its two hooks.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::call::{Call, millis};
use super::passing::{self, Passing};
use super::race::Race;
use super::{AttemptIntent, AttemptOutcome, Grant};
use crate::assemble::Assembler;
use crate::error::{ErrorKind, ProviderError, RecordFailed, Refused, TimeoutPhase};
use crate::provider::{Deployment, LEFT_OVER, Piece, PieceStream, ProviderKind};
use crate::types::{Block, Completion, Delta, Usage};

/// Who is asked, and against whom.
#[derive(Clone, Copy)]
pub(super) struct Leg<'a> {
    /// The attempt's number within the call, from 1.
    pub(super) n: u32,
    pub(super) deployment: &'a Deployment,
    pub(super) cancel: &'a CancellationToken,
    /// The race that it must win before anything of its answer counts.
    pub(super) race: Option<&'a Race>,
}

/// A failed attempt, recorded.
pub(super) struct Failed {
    pub(super) n: u32,
    pub(super) error: ProviderError,
    pub(super) passed_on: bool,
    /// Another attempt had content first: this one's end says nothing about the call.
    pub(super) lost: bool,
}

/// An attempt, recorded.
pub(super) type Attempted = Result<Completion, Failed>;

/// The whole call must end.
pub(super) enum Stop {
    Refused(Refused),
    Cancelled,
    NotRecorded(RecordFailed),
}

/// What was seen of one attempt.
struct Seen {
    answer: Assembler,
    simulated: bool,
    passed_on: bool,
    start: Instant,
    first_content_ms: Option<u64>,
}

impl Call<'_> {
    pub(super) async fn attempt(&self, leg: Leg<'_>) -> Result<Attempted, Stop> {
        let deployment = leg.deployment;
        let bound = self.ask.bound(deployment);
        let grant = self.admit(leg, bound).await?;
        let mut seen = Seen::new(deployment);
        let exchanged = self.exchange(leg, &grant, &mut seen).await;
        let latency_ms = millis(seen.start.elapsed());
        // A charge by estimate fits what was set aside.
        let estimate = || self.ask.estimate().min(bound);
        let usage = match &exchanged {
            Err(error) if !error.maybe_billed => Usage::default(),
            // The provider counted to the end. Zeros mean that it did not.
            Err(ProviderError { usage: Some(told), .. })
                if told.prompt() > 0 && (told.output > 0 || seen.first_content_ms.is_none()) =>
            {
                *told
            }
            // Nobody saw how much of it was written: all that it was allowed counts.
            Err(_) if self.ask.is_blind() && seen.first_content_ms.is_none() => {
                let limit = grant.max_output_tokens.min(self.ask.max_output(deployment));
                let output = limit.saturating_mul(self.ask.choices(deployment));
                Usage { input: estimate(), output, estimated: true, ..Usage::default() }
            }
            _ => seen.answer.usage_or(estimate),
        };
        let price = self.gateway.price(deployment, usage.prompt());
        let cost = price.cost(&usage);
        let simulated = seen.simulated || exchanged.as_ref().is_err_and(|error| error.simulated);
        let (passed_on, first_content_ms) = (seen.passed_on, seen.first_content_ms);
        let result = exchanged.map(|()| Completion {
            usage,
            latency_ms,
            cost_micro_usd: cost.micro_usd,
            price_unknown: cost.price_unknown,
            ..seen.finish(deployment)
        });
        let lost = leg.race.is_some_and(|race| race.lost(leg.n));
        self.learn(leg, result.as_ref().err(), first_content_ms, latency_ms);
        let outcome = AttemptOutcome {
            n: leg.n,
            deployment,
            result: result.as_ref(),
            usage,
            cost,
            price,
            latency_ms,
            first_content_ms,
            simulated,
        };
        log(&outcome);
        self.hooks.after(&outcome).await.map_err(Stop::NotRecorded)?;
        Ok(result.map_err(|error| Failed { n: leg.n, error, passed_on, lost }))
    }

    /// Asks the caller for leave, for as long as the attempt is wanted.
    async fn admit(&self, leg: Leg<'_>, bound: u32) -> Result<Grant, Stop> {
        let deployment = leg.deployment;
        let price = self.gateway.price(deployment, bound);
        let (max_output_tokens, choices) = (self.ask.max_output(deployment), self.ask.choices(deployment));
        let all = max_output_tokens.saturating_mul(choices);
        let dear = price.rates().dear_extras();
        let ceiling = price.rates().ceiling(self.ask.extras(deployment, dear));
        let intent = AttemptIntent {
            n: leg.n,
            deployment,
            max_input_tokens: bound,
            max_output_tokens,
            choices,
            worst_case_cost_micro_usd: ceiling.worst_case(bound, all),
            price,
            ceiling,
        };
        let leave = tokio::select! {
            biased;
            () = leg.cancel.cancelled() => Err(Stop::Cancelled),
            leave = self.hooks.before(&intent) => leave.map_err(Stop::Refused),
        };
        if leave.is_err() {
            self.gateway.breaker.undecided(deployment.circuit(), Instant::now());
        }
        leave
    }

    /// Sends the request and reads the whole answer, passing its pieces on.
    async fn exchange(&self, leg: Leg<'_>, grant: &Grant, seen: &mut Seen) -> Result<(), ProviderError> {
        let deployment = leg.deployment;
        let provider = self.gateway.provider(deployment);
        let max_output_tokens = grant.max_output_tokens.min(self.ask.max_output(deployment));
        let grant = Grant { max_output_tokens, trace: grant.trace.clone() };
        let mut pieces = provider.send(deployment, self.ask, &grant, leg.cancel).await?;
        let read = self.read(leg, &mut pieces, seen).await;
        if read.as_ref().is_err_and(|error| error.kind == ErrorKind::Cancelled) {
            seen.left_over(pieces).await;
        }
        read
    }

    async fn read(
        &self,
        leg: Leg<'_>,
        pieces: &mut PieceStream,
        seen: &mut Seen,
    ) -> Result<(), ProviderError> {
        let mut passing = self.reader.map(|reader| Passing::new(reader, leg.deployment, leg.n));
        while let Some(piece) = next(pieces, leg, seen).await {
            let piece = seen.take(piece?);
            if seen.first_content_ms.is_some() {
                win(leg)?;
            }
            for delta in &piece.deltas {
                self.hooks.delta(delta).await;
            }
            match &mut passing {
                Some(passing) => {
                    let passed = passing.take(piece, seen.known()).await;
                    seen.passed_on = passing.is_open();
                    passed?;
                }
                None => seen.passed_on |= seen.first_content_ms.is_some(),
            }
        }
        if !seen.answer.is_finished() {
            let message = "the answer ended before it was whole";
            return Err(ProviderError::new(ErrorKind::Connection, message).billed());
        }
        win(leg)?;
        match &mut passing {
            Some(passing) => passing.finish(seen.known()).await,
            None => Ok(()),
        }
    }

    /// What the attempt says about the deployment's health and pace.
    fn learn(&self, leg: Leg<'_>, error: Option<&ProviderError>, first: Option<u64>, total: u64) {
        let (breaker, latencies) = (&self.gateway.breaker, &self.gateway.latencies);
        let (deployment, circuit) = (leg.deployment, leg.deployment.circuit());
        match error.map(|error| error.kind) {
            None => {
                breaker.succeeded(circuit);
                latencies.took(deployment, first, total);
            }
            Some(kind) if kind.is_unhealthy() => {
                let longer = |wait: &Duration| *wait > self.gateway.policy.max_pause;
                breaker.failed(circuit, kind.retry_after().filter(longer), Instant::now());
            }
            Some(_) => {
                breaker.undecided(circuit, Instant::now());
                // It took at least as long as it was given before another one was faster.
                if leg.race.is_some_and(|race| race.lost(leg.n)) {
                    latencies.took(deployment, Some(total), total);
                }
            }
        }
    }
}

/// The next piece; a stream's first content within its limit.
async fn next(pieces: &mut PieceStream, leg: Leg<'_>, seen: &Seen) -> Option<Result<Piece, ProviderError>> {
    tokio::select! {
        biased;
        () = leg.cancel.cancelled() => Some(Err(ProviderError::cancelled().billed())),
        piece = in_time(pieces, leg.deployment, seen) => piece,
    }
}

async fn in_time(
    pieces: &mut PieceStream,
    deployment: &Deployment,
    seen: &Seen,
) -> Option<Result<Piece, ProviderError>> {
    if seen.first_content_ms.is_some() {
        return pieces.next().await;
    }
    let limit = deployment.limits.first_token();
    // What is there already is taken, however late: answers that are not streamed are read before they are pieces.
    timeout_at(seen.start + limit, pieces.next())
        .await
        .unwrap_or_else(|_| Some(Err(ProviderError::timeout(TimeoutPhase::FirstToken, limit).billed())))
}

fn win(leg: Leg<'_>) -> Result<(), ProviderError> {
    match leg.race {
        Some(race) if !race.win(leg.n) => {
            Err(ProviderError::new(ErrorKind::Cancelled, "another deployment was faster").billed())
        }
        _ => Ok(()),
    }
}

impl Seen {
    fn new(deployment: &Deployment) -> Self {
        Self {
            answer: Assembler::default(),
            simulated: deployment.provider == ProviderKind::Scripted,
            passed_on: false,
            start: Instant::now(),
            first_content_ms: None,
        }
    }

    /// Takes a piece; once the answer is known to be simulated, every later word about it says so.
    fn take(&mut self, mut piece: Piece) -> Piece {
        for delta in &mut piece.deltas {
            if let Delta::Started { simulated, .. } = delta {
                self.simulated |= *simulated;
                *simulated = self.simulated;
            }
            if delta.is_content() && self.first_content_ms.is_none() {
                self.first_content_ms = Some(millis(self.start.elapsed()));
            }
            self.answer.push(delta);
        }
        piece
    }

    /// Takes what the provider had sent when nobody wanted more of it: that was written, and is paid for.
    async fn left_over(&mut self, mut pieces: PieceStream) {
        let until = Instant::now() + LEFT_OVER;
        while Instant::now() < until {
            let Ok(Some(Ok(piece))) = timeout_at(until, pieces.next()).await else { break };
            self.take(piece);
        }
    }

    fn known(&self) -> passing::Seen<'_> {
        passing::Seen { model: self.answer.model(), prompt: self.answer.prompt(), simulated: self.simulated }
    }

    /// The answer as far as the stream tells; the figures are the call's to fill in.
    fn finish(self, deployment: &Deployment) -> Completion {
        let model = self.answer.model().to_owned();
        let (mut blocks, stop) = self.answer.finish();
        for block in &mut blocks {
            if let Block::Thinking { model, .. } = block {
                *model = Some(deployment.model.clone());
            }
        }
        Completion {
            blocks,
            stop,
            usage: Usage::default(),
            deployment: deployment.name.clone(),
            provider: deployment.vendor().to_owned(),
            model,
            simulated: self.simulated,
            latency_ms: 0,
            cost_micro_usd: 0,
            price_unknown: false,
            before: Vec::new(),
        }
    }
}

/// Its usage row says what came of an attempt: only what failed is worth a line of its own.
fn log(outcome: &AttemptOutcome<'_>) {
    macro_rules! line {
        ($level:ident, $($error:tt)*) => {
            tracing::$level!(
                attempt = outcome.n,
                deployment = %outcome.deployment.name,
                gen_ai.provider.name = outcome.deployment.vendor(),
                gen_ai.request.model = %outcome.deployment.model,
                gen_ai.usage.input_tokens = outcome.usage.prompt(),
                gen_ai.usage.output_tokens = outcome.usage.output,
                cost_micro_usd = outcome.cost.micro_usd,
                price_unknown = outcome.cost.price_unknown,
                latency_ms = outcome.latency_ms,
                simulated = outcome.simulated,
                $($error)*
            )
        };
    }
    match outcome.result {
        Ok(_) => {
            line!(debug, "a model answered");
        }
        // What another attempt overtook, or a caller gave up, is nobody's failure.
        Err(error) if error.kind == ErrorKind::Cancelled => {
            line!(debug, %error, "a model attempt was cancelled");
        }
        Err(error) => {
            line!(info, %error, "a model attempt failed");
        }
    }
}
