//! The spans of a call and of its attempts, with the attributes that OpenTelemetry has for generative models.
//!
//! Invariants: nothing of this is made while nobody listens, or where whoever began the trace does not keep it; what was
//! said to a model and what it said are told only where the operator wants them to be.

use super::{call::Request, content, meters};
use crate::telemetry::{Kind, Span, Spans, attribute};
use serde_json::Value;
use std::time::{Duration, Instant};
use syndarix_domain::Timestamp;
use syndarix_llm::{
    Ask, AttemptOutcome, CallError, Completion, ErrorKind, SpanId, StopReason, TraceContext, Usage,
};

/// The span of a call that is under way.
pub(super) struct CallSpan {
    spans: Spans,
    context: TraceContext,
    parent: Option<SpanId>,
    begun: Instant,
    /// Nanoseconds since 1970, at the same moment.
    started: u64,
    input: Vec<Value>,
}

impl CallSpan {
    /// Begins it, as part of the client's trace where there is one. `None`: it is not kept.
    pub(super) fn begin(spans: &Spans, ask: Ask<'_>, now: Timestamp) -> Option<Self> {
        let (context, parent) = match client_of(ask) {
            Some(client) if !client.is_sampled() => return None,
            Some(client) => (client.child(), Some(client.span)),
            None => (TraceContext::begin(), None),
        };
        let started = now.timestamp_nanos_opt().and_then(|at| u64::try_from(at).ok()).unwrap_or_default();
        let input = if spans.content { content::said(ask) } else { Vec::new() };
        Some(Self { spans: spans.clone(), context, parent, begun: Instant::now(), started, input })
    }

    /// The place of another attempt, which its provider is told.
    pub(super) fn attempt(&self) -> TraceContext {
        self.context.child()
    }

    /// An attempt has ended.
    pub(super) fn attempted(
        &self,
        request: &Request,
        (context, since): (&TraceContext, Instant),
        outcome: &AttemptOutcome<'_>,
    ) {
        let deployment = outcome.deployment;
        let mut attributes = vec![
            attribute("gen_ai.operation.name", request.dialect.operation()),
            attribute("gen_ai.provider.name", deployment.vendor()),
            attribute("gen_ai.request.model", deployment.model.as_str()),
            attribute("syndarix.deployment", deployment.name.as_str()),
            attribute("syndarix.attempt", outcome.n),
            attribute("syndarix.cost_micro_usd", outcome.cost.micro_usd),
            attribute("syndarix.simulated", outcome.simulated),
        ];
        if let Some(host) = deployment.base_url.host_str() {
            attributes.push(attribute("server.address", host));
        }
        if let Some(port) = deployment.base_url.port_or_known_default() {
            attributes.push(attribute("server.port", port));
        }
        if let Some(first) = outcome.first_content_ms.filter(|_| request.streamed) {
            let seconds = Duration::from_millis(first).as_secs_f64();
            attributes.push(attribute("gen_ai.response.time_to_first_chunk", seconds));
        }
        attributes.extend(used(&outcome.usage));
        let error = match outcome.result {
            Ok(completion) => {
                attributes.extend(self.answered(completion));
                None
            }
            Err(error) => {
                attributes.push(attribute("error.type", word(error.kind)));
                Some(error.message.clone())
            }
        };
        self.spans.put(Span {
            trace: self.context.trace,
            id: context.span,
            parent: Some(self.context.span),
            name: format!("{} {}", request.dialect.operation(), deployment.model),
            kind: Kind::Client,
            started: self.at(since),
            ended: self.at(Instant::now()),
            attributes,
            error,
        });
    }

    /// The call has ended.
    pub(super) fn ended(&self, request: &Request, attempts: u32, result: Result<&Completion, &CallError>) {
        let operation = request.dialect.operation();
        let mut attributes = vec![
            attribute("gen_ai.operation.name", operation),
            attribute("gen_ai.request.model", request.group.as_str()),
            attribute("syndarix.dialect", request.dialect.name()),
            attribute("syndarix.attempts", attempts),
        ];
        if let Some(cheaper) = &request.downgraded_to {
            attributes.push(attribute("syndarix.downgraded_to", cheaper.as_str()));
        }
        attributes.extend(self.input.iter().cloned());
        let error = match result {
            Ok(completion) => {
                attributes.push(attribute("gen_ai.provider.name", completion.provider.as_str()));
                attributes.push(attribute("syndarix.deployment", completion.deployment.as_str()));
                attributes.extend(used(&completion.usage));
                attributes.extend(self.answered(completion));
                None
            }
            Err(error) => {
                attributes.push(attribute("error.type", meters::ended(Some(error))));
                Some(error.to_string())
            }
        };
        self.spans.put(Span {
            trace: self.context.trace,
            id: self.context.span,
            parent: self.parent,
            name: format!("{operation} {}", request.group),
            kind: if request.dialect == meters::Dialect::Agent { Kind::Internal } else { Kind::Server },
            started: self.started,
            ended: self.at(Instant::now()),
            attributes,
            error,
        });
    }

    fn answered(&self, completion: &Completion) -> Vec<Value> {
        let mut attributes = vec![
            attribute("gen_ai.response.model", completion.model.as_str()),
            attribute("gen_ai.response.finish_reasons", vec![reason(&completion.stop)]),
        ];
        if self.spans.content {
            attributes.extend(content::answered(completion));
        }
        attributes
    }

    /// A moment of this call by the clock on the wall, which may be set while the call goes on.
    fn at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.begun).as_nanos();
        self.started.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// The trace that a client has begun.
pub(super) fn client_of(ask: Ask<'_>) -> Option<&TraceContext> {
    match ask {
        Ask::Native(native) => native.trace(),
        Ask::Neutral(_) => None,
    }
}

fn used(usage: &Usage) -> Vec<Value> {
    let counts = [
        ("gen_ai.usage.input_tokens", usage.prompt()),
        ("gen_ai.usage.output_tokens", usage.output),
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
    ];
    // The first two are always said; of the others, what there is.
    let said = counts.iter().enumerate().filter(|(place, (_, tokens))| *place < 2 || *tokens > 0);
    said.map(|(_, (name, tokens))| attribute(name, *tokens)).collect()
}

/// The class of a failure, as it is stored.
fn word(kind: ErrorKind) -> String {
    let stored = serde_json::to_value(kind).unwrap_or_default();
    stored["kind"].as_str().unwrap_or("_OTHER").to_owned()
}

/// Why a model stopped, in OpenTelemetry's words where it has one.
fn reason(stop: &StopReason) -> &str {
    match stop {
        StopReason::EndTurn | StopReason::StopSequence => "stop",
        StopReason::MaxTokens => "length",
        StopReason::ToolUse => "tool_call",
        StopReason::Refusal => "content_filter",
        StopReason::Other(word) => word,
    }
}
