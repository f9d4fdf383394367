//! The state of one call while it goes along the chain.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::passing::{self, Passing, Reader};
use super::{AttemptHooks, AttemptIntent, AttemptOutcome, Gateway, Grant, ModelGroup};
use crate::ask::Ask;
use crate::assemble::Assembler;
use crate::error::{CallError, Cause, ErrorKind, ProviderError, Skipped};
use crate::provider::{Deployment, Piece, ProviderKind};
use crate::types::{Block, Completion, Delta, Usage};

pub(super) struct Call<'a> {
    gateway: &'a Gateway,
    ask: Ask<'a>,
    hooks: &'a dyn AttemptHooks,
    cancel: &'a CancellationToken,
    /// Who reads the answer while it is made; nobody: it is only given back.
    reader: Option<&'a Reader<'a>>,
    /// What the prompt's tokens cannot be more than.
    bound: u32,
    n: u32,
    causes: Vec<Cause>,
    /// The largest context window that turned out too small.
    too_small: Option<u32>,
    /// The shortest wait after which somebody may answer.
    retry_after: Option<Duration>,
}

/// What was seen of one attempt.
struct Seen {
    answer: Assembler,
    simulated: bool,
    passed_on: bool,
    start: Instant,
    first_content_ms: Option<u64>,
}

/// A failed attempt, recorded.
struct Failed {
    error: ProviderError,
    passed_on: bool,
}

/// What to do after a failure.
enum Next {
    Again { after: Duration },
    MoveOn,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        gateway: &'a Gateway,
        ask: Ask<'a>,
        hooks: &'a dyn AttemptHooks,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            gateway,
            ask,
            hooks,
            cancel,
            reader: None,
            bound: ask.bound(),
            n: 0,
            causes: Vec::new(),
            too_small: None,
            retry_after: None,
        }
    }

    pub(super) fn read_by(self, reader: &'a Reader<'a>) -> Self {
        Self { reader: Some(reader), ..self }
    }

    pub(super) async fn run(mut self, group: &ModelGroup) -> Result<Completion, CallError> {
        for deployment in &group.chain {
            if let Some(completion) = self.deployment(deployment).await? {
                return Ok(completion);
            }
        }
        let retry_after_ms = self.retry_after.map(millis);
        Err(CallError::Exhausted { causes: self.causes, retry_after_ms })
    }

    /// Tries one deployment, retries included. `None`: the next one's turn.
    async fn deployment(&mut self, deployment: &Deployment) -> Result<Option<Completion>, CallError> {
        let window = deployment.context_window;
        if self.too_small.is_some_and(|too_small| window <= too_small) {
            self.skip(deployment, Skipped::WindowTooSmall { window });
            return Ok(None);
        }
        if let Err(error) = self.ask.dropped(deployment) {
            self.skip(deployment, Skipped::Untranslatable { reason: error.to_string() });
            return Ok(None);
        }
        for round in 0.. {
            if let Err(wait) = self.gateway.breaker.admit(&deployment.name) {
                self.hint(wait);
                self.skip(deployment, Skipped::CoolingDown { for_ms: millis(wait) });
                return Ok(None);
            }
            let failed = match self.attempt(deployment).await? {
                Ok(completion) => return Ok(Some(completion)),
                Err(failed) => failed,
            };
            match self.judge(deployment, failed, round)? {
                Next::Again { after } => self.pause(after).await?,
                Next::MoveOn => break,
            }
        }
        Ok(None)
    }

    /// One attempt between its two hooks.
    async fn attempt(&mut self, deployment: &Deployment) -> Result<Result<Completion, Failed>, CallError> {
        let grant = self.admit(deployment).await?;
        let mut seen = Seen::new(deployment);
        let exchanged = self.exchange(deployment, grant, &mut seen).await;
        let latency_ms = millis(seen.start.elapsed());
        let usage = match &exchanged {
            Err(error) if !error.maybe_billed => Usage::default(),
            _ => seen.answer.usage_or(|| self.ask.estimate()),
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
        self.settle_breaker(deployment, result.as_ref().err());
        let (n, result_ref) = (self.n, result.as_ref());
        let outcome = AttemptOutcome {
            n,
            deployment,
            result: result_ref,
            usage,
            cost,
            price,
            latency_ms,
            first_content_ms,
            simulated,
        };
        log(&outcome);
        if let Err(failed) = self.hooks.after(&outcome).await {
            return Err(CallError::NotRecorded { failed, causes: std::mem::take(&mut self.causes) });
        }
        Ok(result.map_err(|error| Failed { error, passed_on }))
    }

    /// Asks the caller for leave.
    async fn admit(&mut self, deployment: &Deployment) -> Result<Grant, CallError> {
        if self.cancel.is_cancelled() {
            self.gateway.breaker.undecided(&deployment.name);
            return Err(CallError::Cancelled { causes: std::mem::take(&mut self.causes) });
        }
        self.n += 1;
        let price = self.gateway.price(deployment, self.bound);
        let max_output_tokens = self.ask.max_output(deployment);
        let intent = AttemptIntent {
            n: self.n,
            deployment,
            max_input_tokens: self.bound,
            max_output_tokens,
            worst_case_cost_micro_usd: price.rates().worst_case(self.bound, max_output_tokens),
            price,
        };
        self.hooks.before(&intent).await.map_err(|refused| {
            self.gateway.breaker.undecided(&deployment.name);
            CallError::Refused { refused, causes: std::mem::take(&mut self.causes) }
        })
    }

    /// Sends the request and reads the whole answer, passing its pieces on.
    async fn exchange(
        &self,
        deployment: &Deployment,
        grant: Grant,
        seen: &mut Seen,
    ) -> Result<(), ProviderError> {
        let provider = self.gateway.provider(deployment);
        let limit = grant.max_output_tokens.min(self.ask.max_output(deployment));
        let mut pieces = provider.send(deployment, self.ask, limit, self.cancel).await?;
        let mut passing = self.reader.map(|reader| Passing::new(reader, deployment, self.n));
        while let Some(piece) = pieces.next().await {
            let piece = seen.take(piece?);
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
        match &mut passing {
            Some(passing) => passing.finish(seen.known()).await,
            None => Ok(()),
        }
    }

    fn settle_breaker(&self, deployment: &Deployment, error: Option<&ProviderError>) {
        let (breaker, name) = (&self.gateway.breaker, &deployment.name);
        match error.map(|error| error.kind) {
            None => breaker.succeeded(name),
            Some(kind) if kind.is_unhealthy() => {
                breaker.failed(name, kind.retry_after().filter(|wait| *wait > self.gateway.policy.max_pause));
            }
            Some(_) => breaker.undecided(name),
        }
    }

    /// Keeps the cause and decides how to go on.
    fn judge(&mut self, deployment: &Deployment, failed: Failed, round: u32) -> Result<Next, CallError> {
        let kind = failed.error.kind;
        self.causes.push(Cause::Failed {
            n: self.n,
            deployment: deployment.name.clone(),
            error: failed.error,
        });
        if kind == ErrorKind::Cancelled {
            return Err(CallError::Cancelled { causes: std::mem::take(&mut self.causes) });
        }
        if failed.passed_on || !kind.allows_failover() {
            return Err(CallError::Fatal { causes: std::mem::take(&mut self.causes) });
        }
        if kind == ErrorKind::ContextTooLong {
            self.too_small = self.too_small.max(Some(deployment.context_window));
        }
        let policy = &self.gateway.policy;
        let asked = kind.retry_after();
        let patient = asked.is_none_or(|asked| asked <= policy.max_pause);
        if kind.is_transient() && patient && round < policy.retries {
            return Ok(Next::Again { after: policy.pause(round, asked) });
        }
        if kind.is_transient() {
            self.hint(asked.unwrap_or(policy.max_pause));
        }
        Ok(Next::MoveOn)
    }

    async fn pause(&mut self, length: Duration) -> Result<(), CallError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(CallError::Cancelled { causes: std::mem::take(&mut self.causes) }),
            () = tokio::time::sleep(length) => Ok(()),
        }
    }

    fn skip(&mut self, deployment: &Deployment, reason: Skipped) {
        self.causes.push(Cause::Skipped { deployment: deployment.name.clone(), reason });
    }

    fn hint(&mut self, wait: Duration) {
        self.retry_after = Some(self.retry_after.map_or(wait, |shortest| shortest.min(wait)));
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
        }
    }
}

fn log(outcome: &AttemptOutcome<'_>) {
    let error = outcome.result.err().map(tracing::field::display);
    tracing::info!(
        attempt = outcome.n,
        deployment = %outcome.deployment.name,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = outcome.deployment.vendor(),
        gen_ai.request.model = %outcome.deployment.model,
        gen_ai.usage.input_tokens = outcome.usage.prompt(),
        gen_ai.usage.output_tokens = outcome.usage.output,
        cost_micro_usd = outcome.cost.micro_usd,
        price_unknown = outcome.cost.price_unknown,
        latency_ms = outcome.latency_ms,
        simulated = outcome.simulated,
        error,
        "model attempt"
    );
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
