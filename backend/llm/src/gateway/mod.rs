//! One call over a chain of deployments: reserve, try, record, and only then the next.
//!
//! The loop keeps every cause in order. Failover and retry end with the first content passed on: what a person or
//! a program has seen of an answer is never followed by the beginning of another.

mod attempt;
mod call;
mod groups;
mod latency;
mod passing;
mod race;
mod routing;
mod session;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ask::{Ask, Native};
use crate::breaker::{Breaker, BreakerChange, BreakerNews, BreakerPolicy, BreakerState};
use crate::error::{CallError, Cause, ProviderError, RecordFailed, Refused};
use crate::price::{Cost, Price, PriceTable, Rates};
use crate::provider::{Adapters, Deployment, Http, Provider};
use crate::trace::TraceContext;
use crate::types::{ChatRequest, Completion, Delta, Usage};

pub use groups::{GroupError, ModelGroup, ModelGroups};
pub use passing::{Event, Head};
pub use routing::Routing;

/// What is about to be tried.
#[derive(Debug, Clone, Copy)]
pub struct AttemptIntent<'a> {
    /// The attempt's number within the call, from 1.
    pub n: u32,
    /// Whom it goes to.
    pub deployment: &'a Deployment,
    /// Upper bound of the prompt, in tokens.
    pub max_input_tokens: u32,
    /// The answer limit that is asked for, in tokens; what is granted is sent.
    pub max_output_tokens: u32,
    /// How many answers are asked for in one; each may be that long.
    pub choices: u32,
    /// The most it can cost with that limit, in micro-USD: what to reserve.
    pub worst_case_cost_micro_usd: i64,
    /// The price; unknown prices are flagged here.
    pub price: Price,
    /// The rates behind the most: whatever classes the tokens fall into, they cost no more.
    pub ceiling: Rates,
}

/// Leave to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The answer limit to send, in tokens: the intent's, or less when there is money for less only.
    pub max_output_tokens: u32,
    /// The span that the provider is told its own are part of.
    pub trace: Option<TraceContext>,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct AttemptOutcome<'a> {
    /// The attempt's number within the call, from 1.
    pub n: u32,
    /// Whom it went to.
    pub deployment: &'a Deployment,
    /// The answer or the failure.
    pub result: Result<&'a Completion, &'a ProviderError>,
    /// What was used, also by a failed attempt as far as the provider may charge for it.
    pub usage: Usage,
    /// What that costs: what to settle.
    pub cost: Cost,
    /// The rates behind it, to compute the cost again.
    pub price: Price,
    /// From sending to the end, in milliseconds.
    pub latency_ms: u64,
    /// From sending to the first content, in milliseconds.
    pub first_content_ms: Option<u64>,
    /// Whether a scripted endpoint answered.
    pub simulated: bool,
}

/// What the caller does around every attempt.
#[async_trait]
pub trait AttemptHooks: Send + Sync {
    /// Reserves the budget and records the intent, durably. A refusal stops the whole call, unless it [`Self::passes_on`].
    ///
    /// It is dropped where the attempt is not wanted any more: what it may have reserved by then is its own to take back.
    async fn before(&self, intent: &AttemptIntent<'_>) -> Result<Grant, Refused>;

    /// Settles and records the outcome, durably: the answer is given out only after this.
    async fn after(&self, outcome: &AttemptOutcome<'_>) -> Result<(), RecordFailed>;

    /// Whether this refusal is of the deployment that was to be asked and not of the call: the rest of the chain may be had for less.
    fn passes_on(&self, _refused: &Refused) -> bool {
        false
    }

    /// The group that is asked instead, when the call was refused for this before anything was sent: a cheaper one, since a
    /// budget above it has reached its soft limit, or would not pay for the first. `None`: the call ends.
    fn instead(&self, _refused: &Refused) -> Option<Arc<ModelGroup>> {
        None
    }

    /// Sees the pieces of the answer as they come. Waiting here slows the stream down.
    async fn delta(&self, _delta: &Delta) {}

    /// Sees how the whole call ended, before whoever waits for it does: they wait for this, too.
    async fn ended(&self, _result: Result<&Completion, &CallError>) {}
}

/// How stubbornly to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayPolicy {
    /// Retries at one deployment after the first attempt, for transient failures only.
    pub retries: u32,
    /// The first pause between attempts; it doubles with each.
    pub base_pause: Duration,
    /// The longest pause, and the longest wait a provider may ask for before the next deployment is tried instead.
    pub max_pause: Duration,
    /// When to leave a deployment alone.
    pub breaker: BreakerPolicy,
}

impl Default for GatewayPolicy {
    fn default() -> Self {
        Self {
            retries: 2,
            base_pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(20),
            breaker: BreakerPolicy::default(),
        }
    }
}

impl AttemptIntent<'_> {
    /// Leave for all that is asked for.
    pub fn granted(&self) -> Grant {
        Grant { max_output_tokens: self.max_output_tokens, trace: None }
    }
}

impl GatewayPolicy {
    /// The pause before the next attempt: what the provider asked for and up to a tenth more, or half to all of the
    /// doubled base, so that callers that failed together do not come back together.
    fn pause(&self, round: u32, asked: Option<Duration>) -> Duration {
        let mut rng = rand::rng();
        if let Some(asked) = asked {
            return asked.mul_f64(rng.random_range(1.0..1.1));
        }
        let doubled = self.base_pause.saturating_mul(2u32.saturating_pow(round)).min(self.max_pause);
        doubled.mul_f64(rng.random_range(0.5..1.0))
    }
}

/// Makes calls. One per process: it holds what is known of the deployments' health and pace, and the connections.
pub struct Gateway {
    adapters: Adapters,
    prices: PriceTable,
    breaker: Breaker,
    latencies: latency::Latencies,
    policy: GatewayPolicy,
}

impl Gateway {
    /// A gateway over HTTP; the client comes from [`crate::http_client`].
    pub fn new(http: Http, prices: PriceTable, policy: GatewayPolicy) -> Self {
        let adapters = Adapters::new(http);
        let (breaker, latencies) = (Breaker::new(policy.breaker), latency::Latencies::default());
        Self { adapters, prices, breaker, latencies, policy }
    }

    /// From now on other processes are told which deployments this one leaves alone.
    pub fn tell(&self, news: Arc<dyn BreakerNews>) {
        self.breaker.tell(news);
    }

    /// Another process leaves a deployment alone, or does so no longer.
    pub fn hear(&self, change: BreakerChange) {
        self.breaker.hear(change, tokio::time::Instant::now());
    }

    /// Asks the group's deployments until one answers: first whom its routing picks, then the others in order.
    ///
    /// Errors: see [`CallError`]; each keeps what every attempt failed of.
    pub async fn complete(
        &self,
        group: &ModelGroup,
        request: &ChatRequest,
        hooks: &dyn AttemptHooks,
        cancel: &CancellationToken,
    ) -> Result<Completion, CallError> {
        let result = self.call(group, (Ask::Neutral(request), None), hooks, cancel).await;
        hooks.ended(result.as_ref()).await;
        result
    }

    /// Makes the call; of another group, when the hooks say so before anything is sent.
    async fn call<'a>(
        &'a self,
        group: &'a ModelGroup,
        (ask, reader): (Ask<'a>, Option<&'a passing::Reader<'a>>),
        hooks: &'a dyn AttemptHooks,
        cancel: &'a CancellationToken,
    ) -> Result<Completion, CallError> {
        let result = call::Call::new(self, ask, hooks, cancel).read_by(reader).run(group).await;
        let nothing_sent =
            |causes: &[Cause]| causes.iter().all(|cause| matches!(cause, Cause::Skipped { .. }));
        let result = match result {
            Err(CallError::Refused { refused, causes, retry_after_ms }) if nothing_sent(&causes) => {
                match hooks.instead(&refused) {
                    Some(other) => {
                        let call = call::Call::new(self, ask, hooks, cancel).read_by(reader);
                        call.after(refused, causes, retry_after_ms).run(&other).await
                    }
                    None => Err(CallError::Refused { refused, causes, retry_after_ms }),
                }
            }
            result => result,
        };
        match result {
            // Whoever there is money for may answer before there is money for the others.
            Err(CallError::Refused { refused, causes, retry_after_ms })
                if hooks.passes_on(&refused) && causes.iter().any(Cause::may_pass) =>
            {
                Err(CallError::Exhausted { causes, retry_after_ms })
            }
            result => result,
        }
    }

    /// Asks the same way for a client of a wire format, and passes the answer on while it is made. The channel's
    /// capacity is how far the provider may be ahead of the reader.
    ///
    /// When the reader goes away the provider is stopped, and the attempt is recorded like any other: whoever calls
    /// this lets it run to its end, in a task of its own.
    pub async fn answer(
        &self,
        group: &ModelGroup,
        native: &Native,
        hooks: &dyn AttemptHooks,
        out: mpsc::Sender<Event>,
    ) {
        let (ask, cancel) = (Ask::Native(native), CancellationToken::new());
        let reader = passing::Reader { out: &out, ask };
        let call = self.call(group, (ask, Some(&reader)), hooks, &cancel);
        let mut call = std::pin::pin!(call);
        let result = tokio::select! {
            biased;
            result = &mut call => result,
            () = out.closed() => {
                cancel.cancel();
                call.await
            }
        };
        hooks.ended(result.as_ref()).await;
        // Nobody is left to be told when this fails.
        let _gone = out.send(Event::End(Box::new(result))).await;
    }

    /// The price of a deployment's model for a prompt of so many tokens.
    pub fn price(&self, deployment: &Deployment, prompt_tokens: u32) -> Price {
        match deployment.prices {
            Some(rates) => Price::Known(rates),
            None => self.prices.price(deployment.vendor(), &deployment.model, prompt_tokens),
        }
    }

    /// Where a deployment's price comes from, to be recorded with usage: the table's version, or `deployment`.
    pub fn price_version(&self, deployment: &Deployment) -> &str {
        if deployment.prices.is_some() { "deployment" } else { &self.prices.version }
    }

    /// Whom a call of this group may ask first, as things stand now: those that are left alone only where all of them are.
    /// Asking this picks nobody.
    pub fn first<'a>(&self, group: &'a ModelGroup) -> Vec<&'a Deployment> {
        let now = tokio::time::Instant::now();
        let most = if group.routing == Routing::Order { 1 } else { usize::MAX };
        let is_healthy = |one: &&Deployment| !self.breaker.is_open(one.circuit(), now);
        let healthy: Vec<_> = group.chain.iter().filter(is_healthy).take(most).collect();
        if healthy.is_empty() { group.chain.iter().take(most).collect() } else { healthy }
    }

    /// How a deployment stands in this process, for whoever wants to see it.
    pub fn breaker_state(&self, deployment: &Deployment) -> BreakerState {
        self.breaker.state(deployment.circuit(), tokio::time::Instant::now())
    }

    fn provider(&self, deployment: &Deployment) -> &dyn Provider {
        self.adapters.of(deployment.provider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_never_undercut_what_was_asked() {
        let policy = GatewayPolicy::default();
        for round in 0..40 {
            let pause = policy.pause(round, None);
            assert!(pause >= policy.base_pause / 2 && pause <= policy.max_pause, "{pause:?}");
            assert!(policy.pause(round, Some(Duration::from_secs(3))) >= Duration::from_secs(3));
        }
    }
}
