//! The state of one call while it goes along the chain.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Failed, Stop};
use super::passing::Reader;
use super::{AttemptHooks, Gateway, ModelGroup, Routing, routing};
use crate::ask::Ask;
use crate::breaker::BreakerState;
use crate::error::{CallError, Cause, ErrorKind, Refused, Skipped};
use crate::provider::Deployment;
use crate::types::Completion;

pub(super) struct Call<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) ask: Ask<'a>,
    pub(super) hooks: &'a dyn AttemptHooks,
    pub(super) cancel: &'a CancellationToken,
    /// Who reads the answer while it is made; nobody: it is only given back.
    pub(super) reader: Option<&'a Reader<'a>>,
    /// The number of the newest attempt.
    n: AtomicU32,
    causes: Vec<Cause>,
    /// The largest context window that turned out too small.
    too_small: Option<u32>,
    /// The shortest wait after which somebody may answer.
    retry_after: Option<Duration>,
    /// Why the latest deployment was passed over that there was no money for.
    refused: Option<Refused>,
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
            n: AtomicU32::new(0),
            causes: Vec::new(),
            too_small: None,
            retry_after: None,
            refused: None,
        }
    }

    /// The same after another group was refused before anything was sent. Where that was for want of money it stays what
    /// is in the way, unless somebody answers.
    pub(super) fn after(self, refused: Refused, causes: Vec<Cause>, retry_after_ms: Option<u64>) -> Self {
        let refused = Some(refused).filter(|refused| self.hooks.passes_on(refused));
        Self { refused, causes, retry_after: retry_after_ms.map(Duration::from_millis), ..self }
    }

    pub(super) fn read_by(self, reader: Option<&'a Reader<'a>>) -> Self {
        Self { reader, ..self }
    }

    pub(super) async fn run(mut self, group: &'a ModelGroup) -> Result<Completion, CallError> {
        let (mut rest, session) = routing::order(self.gateway, group, self.ask);
        while !rest.is_empty() {
            let deployment = rest.remove(0);
            let Some((answered, completion)) = self.deployment(deployment, &mut rest, group).await? else {
                continue;
            };
            if let (Routing::LeastLatency, Some(session)) = (group.routing, session) {
                self.gateway.latencies.went(session, answered);
            }
            self.note_alone(group, &rest);
            return Ok(Completion { before: self.causes, ..completion });
        }
        if let Some(refused) = self.refused.take() {
            return Err(self.refusal(refused));
        }
        let retry_after_ms = self.retry_after.map(millis);
        Err(CallError::Exhausted { causes: self.causes, retry_after_ms })
    }

    /// Where a group picks whom it asks, those that are left alone are not picked, and so never come up.
    fn note_alone(&mut self, group: &ModelGroup, rest: &[&Deployment]) {
        if group.routing == Routing::Order {
            return;
        }
        for deployment in rest {
            let state = self.gateway.breaker_state(deployment);
            if let BreakerState::Open { remaining } = state {
                self.skip(deployment, Skipped::CoolingDown { for_ms: millis(remaining) });
            }
        }
    }

    /// The next attempt's number.
    pub(super) fn numbered(&self) -> u32 {
        self.n.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Why this deployment cannot be asked at all.
    pub(super) fn unfit(&self, deployment: &Deployment) -> Option<Skipped> {
        let window = deployment.context_window;
        if self.too_small.is_some_and(|too_small| window <= too_small) {
            return Some(Skipped::WindowTooSmall { window });
        }
        let error = self.ask.dropped(deployment).err()?;
        Some(Skipped::Untranslatable { reason: error.to_string() })
    }

    /// Tries one deployment, retries and a second one beside it included. `None`: the next one's turn.
    async fn deployment(
        &mut self,
        deployment: &'a Deployment,
        rest: &mut Vec<&'a Deployment>,
        group: &ModelGroup,
    ) -> Result<Option<(&'a Deployment, Completion)>, CallError> {
        if let Some(reason) = self.unfit(deployment) {
            self.skip(deployment, reason);
            return Ok(None);
        }
        for round in 0.. {
            if let Err(wait) = self.gateway.breaker.admit(deployment.circuit(), Instant::now()) {
                self.hint(wait);
                self.skip(deployment, Skipped::CoolingDown { for_ms: millis(wait) });
                return Ok(None);
            }
            let numbered = *self.n.get_mut();
            let tried = match self.try_with_hedge(deployment, rest, group.hedge_after()).await {
                Err(Stop::Refused(refused)) if self.hooks.passes_on(&refused) => {
                    // Nothing was sent: whoever is asked next has the number.
                    *self.n.get_mut() = numbered;
                    self.pass_over(deployment, refused);
                    return Ok(None);
                }
                tried => tried.map_err(|stop| self.stopped(stop))?,
            };
            if let Some(refused) = tried.refused.filter(|refused| self.hooks.passes_on(refused)) {
                self.pass_over(deployment, refused);
            }
            // Where another one was asked too, or instead, both have been tried enough.
            let alone = tried.attempts.iter().all(|(one, _)| std::ptr::eq(*one, deployment));
            let round = if alone { round } else { u32::MAX };
            let (answers, failures): (Vec<_>, Vec<_>) =
                tried.attempts.into_iter().partition(|(_, result)| result.is_ok());
            if let Some((answered, Ok(completion))) = answers.into_iter().next() {
                return Ok(Some((answered, completion)));
            }
            let mut next = Next::MoveOn;
            for (failing, result) in failures {
                if let Err(failed) = result {
                    next = self.judge(failing, failed, round)?;
                }
            }
            match next {
                Next::Again { after } => self.pause(after).await?,
                Next::MoveOn => break,
            }
        }
        Ok(None)
    }

    fn stopped(&mut self, stop: Stop) -> CallError {
        match stop {
            Stop::Refused(refused) => self.refusal(refused),
            Stop::Cancelled => CallError::Cancelled { causes: std::mem::take(&mut self.causes) },
            Stop::NotRecorded(failed) => {
                CallError::NotRecorded { failed, causes: std::mem::take(&mut self.causes) }
            }
        }
    }

    fn refusal(&mut self, refused: Refused) -> CallError {
        let causes = std::mem::take(&mut self.causes);
        CallError::Refused { refused, causes, retry_after_ms: self.retry_after.map(millis) }
    }

    /// Keeps the cause and decides how to go on.
    fn judge(&mut self, deployment: &Deployment, failed: Failed, round: u32) -> Result<Next, CallError> {
        let kind = failed.error.kind;
        self.causes.push(Cause::Failed {
            n: failed.n,
            deployment: deployment.name.clone(),
            error: failed.error,
        });
        if failed.lost && !self.cancel.is_cancelled() {
            return Ok(Next::MoveOn);
        }
        if kind == ErrorKind::Cancelled {
            return Err(CallError::Cancelled { causes: std::mem::take(&mut self.causes) });
        }
        if failed.passed_on || !kind.allows_failover() {
            // What this one finds wrong, whoever is too dear may not. An answer that broke off had nothing to do with money.
            let broke_off = kind.may_pass() || failed.passed_on && self.reader.is_some();
            return Err(match self.refused.take().filter(|_| !broke_off) {
                Some(refused) => self.refusal(refused),
                None => CallError::Fatal { causes: std::mem::take(&mut self.causes) },
            });
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

    /// There is no money for this one.
    fn pass_over(&mut self, deployment: &Deployment, refused: Refused) {
        self.skip(deployment, Skipped::OverBudget { reason: refused.reason.clone() });
        self.refused = Some(refused);
    }

    fn skip(&mut self, deployment: &Deployment, reason: Skipped) {
        self.causes.push(Cause::Skipped { deployment: deployment.name.clone(), reason });
    }

    fn hint(&mut self, wait: Duration) {
        self.retry_after = Some(self.retry_after.map_or(wait, |shortest| shortest.min(wait)));
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
