//! OpenAI's responses, for those of its models that take tools only there (see `fit`).
//!
//! Invariants: nothing is stored at OpenAI, so that what a model thought comes sealed with its answer and goes back with the
//! conversation; it goes back only where it was sealed, to the same model under the same key: anybody else refuses the whole
//! request over it.

mod encode;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Details, MAX_CALLS, WireUsage, null_is_default};
use crate::error::{ErrorKind, ProviderError};
use crate::provider::Deployment;
use crate::provider::transport::{Decoder, stream_error};
use crate::sse::SseEvent;
use crate::types::{Delta, StopReason, Usage};

pub(super) use encode::{encode, unsaid};

/// Begins the signature that stands for what OpenAI sealed.
pub(crate) const SEAL: &str = "openai_reasoning:";

/// Has thoughts sealed into the answer, which nobody keeps.
pub(crate) const SEALED_THOUGHTS: &str = "reasoning.encrypted_content";

/// Stands before what this deployment's model thought, and says that it was this one.
pub(crate) fn seal(deployment: &Deployment) -> String {
    format!("{SEAL}{:016x}:", deployment.circuit().0)
}

/// The meaning of an answer that is not streamed.
pub(super) fn whole(body: &[u8], mut decoder: ResponsesDecoder) -> Result<Vec<Delta>, ProviderError> {
    let mut response: Response = serde_json::from_slice(body)
        .map_err(|error| ProviderError::malformed(format!("the answer is not as it should be: {error}")))?;
    let mut deltas: Vec<Delta> = response.started().into_iter().collect();
    for (index, item) in (0..).zip(std::mem::take(&mut response.output)) {
        deltas.extend(decoder.finish(index, item)?);
    }
    deltas.extend(decoder.end(response)?);
    Ok(deltas)
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Event {
    #[serde(rename = "response.created")]
    Created { response: Box<Response> },
    #[serde(rename = "response.output_item.added")]
    Added { output_index: u32, item: Item },
    #[serde(rename = "response.output_text.delta")]
    Text { output_index: u32, delta: String },
    #[serde(rename = "response.refusal.delta")]
    Refusal { output_index: u32, delta: String },
    #[serde(rename = "response.reasoning_summary_part.added")]
    Part {
        output_index: u32,
        #[serde(default)]
        summary_index: u32,
    },
    #[serde(rename = "response.reasoning_summary_text.delta", alias = "response.reasoning_text.delta")]
    Thought { output_index: u32, delta: String },
    #[serde(
        rename = "response.function_call_arguments.delta",
        alias = "response.custom_tool_call_input.delta"
    )]
    Input { output_index: u32, delta: String },
    #[serde(rename = "response.function_call_arguments.done")]
    WholeInput { output_index: u32, arguments: String },
    #[serde(rename = "response.output_item.done")]
    Done { output_index: u32, item: Item },
    #[serde(rename = "response.completed", alias = "response.incomplete", alias = "response.failed")]
    End { response: Box<Response> },
    #[serde(rename = "error")]
    Error {
        #[serde(default)]
        code: Value,
        #[serde(default)]
        message: Value,
        // What other APIs of OpenAI's say, and gateways before it.
        #[serde(default)]
        error: Option<Value>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
struct Response {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    output: Vec<Item>,
    #[serde(default)]
    usage: Option<Counted>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
}

#[derive(Debug, Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        #[serde(default, deserialize_with = "null_is_default")]
        content: Vec<Part>,
    },
    Reasoning {
        #[serde(default, deserialize_with = "null_is_default")]
        summary: Vec<Part>,
        #[serde(default, deserialize_with = "null_is_default")]
        content: Vec<Part>,
        #[serde(default)]
        encrypted_content: Option<String>,
    },
    FunctionCall {
        call_id: String,
        name: String,
        #[serde(default)]
        arguments: String,
    },
    // Of clients whose own words are passed on.
    CustomToolCall {
        call_id: String,
        name: String,
        #[serde(default)]
        input: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

/// The figures of chat completions, under this API's names.
#[derive(Debug, Deserialize)]
struct Counted {
    #[serde(default, deserialize_with = "null_is_default")]
    input_tokens: u64,
    #[serde(default, deserialize_with = "null_is_default")]
    output_tokens: u64,
    #[serde(default)]
    input_tokens_details: Option<Details>,
    #[serde(default)]
    output_tokens_details: Option<Details>,
}

impl From<Counted> for Usage {
    fn from(counted: Counted) -> Self {
        let same = WireUsage {
            prompt_tokens: counted.input_tokens,
            completion_tokens: counted.output_tokens,
            prompt_tokens_details: counted.input_tokens_details,
            completion_tokens_details: counted.output_tokens_details,
        };
        same.into()
    }
}

impl Response {
    fn started(&self) -> Option<Delta> {
        let model = self.model.clone().filter(|model| !model.is_empty())?;
        let simulated = model.starts_with(crate::scripted::MODEL_PREFIX);
        Some(Delta::Started { model, simulated })
    }
}

/// Reads the stream. An item's place in the output is its block's number.
#[derive(Debug, Default)]
pub(crate) struct ResponsesDecoder {
    /// Stands before what is sealed.
    seal: String,
    /// Calls that have begun.
    calls: BTreeSet<u32>,
    /// Items of which something was said.
    filled: BTreeSet<u32>,
    refused: bool,
    done: bool,
}

impl Decoder for ResponsesDecoder {
    fn event(&mut self, event: &SseEvent) -> Result<Vec<Delta>, ProviderError> {
        let data = event.data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(Vec::new());
        }
        let event: Event = serde_json::from_str(data)
            .map_err(|error| ProviderError::malformed(format!("an event is not as it should be: {error}")))?;
        match event {
            Event::Created { response } => Ok(response.started().into_iter().collect()),
            Event::Added { output_index, item } => Ok(self.begin(bounded(output_index)?, &item)),
            Event::Text { output_index, delta } => self.say(output_index, delta, text),
            Event::Refusal { output_index, delta } => {
                self.refused = true;
                self.say(output_index, delta, text)
            }
            Event::Part { summary_index: 0, .. } | Event::Unknown => Ok(Vec::new()),
            Event::Part { output_index, .. } => self.say(output_index, BETWEEN.to_owned(), thought),
            Event::Thought { output_index, delta } => self.say(output_index, delta, thought),
            Event::Input { output_index, delta } => self.say(output_index, delta, input),
            Event::WholeInput { output_index, .. } if self.filled.contains(&output_index) => Ok(Vec::new()),
            Event::WholeInput { output_index, arguments } => self.say(output_index, arguments, input),
            Event::Done { output_index, item } => self.finish(output_index, item),
            Event::End { response } => self.end(*response),
            Event::Error { code, message, error } => {
                Err(failed(&error.unwrap_or_else(|| json!({"code": code, "message": message}))))
            }
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn may_end(&self) -> bool {
        self.done
    }

    fn ends_in_its_own_words(&self) -> bool {
        true
    }
}

impl ResponsesDecoder {
    pub(super) fn of(deployment: &Deployment) -> Self {
        Self { seal: seal(deployment), ..Self::default() }
    }

    /// A call begins with its name, any other item with what is said in it.
    fn begin(&mut self, index: u32, item: &Item) -> Vec<Delta> {
        let (Item::FunctionCall { call_id, name, .. } | Item::CustomToolCall { call_id, name, .. }) = item
        else {
            return Vec::new();
        };
        if !self.calls.insert(index) {
            return Vec::new();
        }
        vec![Delta::ToolUse { index, id: call_id.clone(), name: name.clone() }]
    }

    fn say(
        &mut self,
        index: u32,
        said: String,
        delta: fn(u32, String) -> Delta,
    ) -> Result<Vec<Delta>, ProviderError> {
        let index = bounded(index)?;
        if said.is_empty() {
            return Ok(Vec::new());
        }
        self.filled.insert(index);
        Ok(vec![delta(index, said)])
    }

    /// What of a whole item did not come in pieces. What is sealed is taken from here only: in an item that is still being
    /// made it need not be whole.
    fn finish(&mut self, index: u32, item: Item) -> Result<Vec<Delta>, ProviderError> {
        let mut deltas = self.begin(bounded(index)?, &item);
        let is_new = !self.filled.contains(&index);
        match item {
            Item::Message { content } if is_new => {
                for part in content {
                    self.refused |= part.refusal.is_some();
                    deltas.extend(self.say(index, part.said(), text)?);
                }
            }
            Item::Reasoning { summary, content, encrypted_content } => {
                if is_new {
                    let parts: Vec<String> = summary.into_iter().chain(content).map(Part::said).collect();
                    deltas.extend(self.say(index, parts.join(BETWEEN), thought)?);
                }
                if let Some(sealed) = encrypted_content.filter(|sealed| !sealed.is_empty()) {
                    deltas.push(Delta::Signature { index, signature: format!("{}{sealed}", self.seal) });
                }
            }
            Item::FunctionCall { arguments: said, .. } | Item::CustomToolCall { input: said, .. }
                if is_new =>
            {
                deltas.extend(self.say(index, said, input)?);
            }
            _ => {}
        }
        Ok(deltas)
    }

    /// A response that failed says what it used as one that did not.
    fn end(&mut self, mut response: Response) -> Result<Vec<Delta>, ProviderError> {
        let usage = response.usage.take().map(Usage::from);
        let stop = self.stop(&response).map_err(|error| error.with_usage(usage))?;
        self.done = true;
        let usage = usage.map(|usage| Delta::Usage { usage });
        Ok(usage.into_iter().chain([Delta::Finished { stop }]).collect())
    }

    fn stop(&self, response: &Response) -> Result<StopReason, ProviderError> {
        if let Some(error) = &response.error {
            return Err(failed(error));
        }
        let reason = response.incomplete_details.as_ref().and_then(|details| details.reason.as_deref());
        match response.status.as_deref() {
            Some("completed") if !self.calls.is_empty() => Ok(StopReason::ToolUse),
            Some("completed") if self.refused => Ok(StopReason::Refusal),
            Some("completed") => Ok(StopReason::EndTurn),
            Some("incomplete") => Ok(match reason {
                Some("max_output_tokens") => StopReason::MaxTokens,
                Some("content_filter") => StopReason::Refusal,
                other => StopReason::Other(other.unwrap_or("incomplete").to_owned()),
            }),
            Some(status @ ("failed" | "cancelled")) => {
                let message = format!("the response is {status} without a reason");
                Err(ProviderError::new(ErrorKind::ServerError, message).billed())
            }
            _ => Err(ProviderError::malformed("the response ends without a status that is an end")),
        }
    }
}

/// Stands between two parts of a summary.
const BETWEEN: &str = "\n\n";

fn text(index: u32, text: String) -> Delta {
    Delta::Text { index, text }
}

fn thought(index: u32, text: String) -> Delta {
    Delta::Thinking { index, text }
}

fn input(index: u32, json: String) -> Delta {
    Delta::ToolInput { index, json }
}

impl Part {
    fn said(self) -> String {
        self.text.or(self.refusal).unwrap_or_default()
    }
}

fn bounded(index: u32) -> Result<u32, ProviderError> {
    if index < MAX_CALLS {
        Ok(index)
    } else {
        Err(ProviderError::malformed(format!("item {index} is beyond {MAX_CALLS}")))
    }
}

/// Why a response failed that had begun. What is wrong with the request itself would be wrong for any other deployment.
fn failed(error: &Value) -> ProviderError {
    let code = error.get("code").and_then(Value::as_str).unwrap_or_default();
    let is_the_requests = code == "invalid_prompt" || code.contains("image") || code.contains("policy");
    let error = stream_error(error);
    if error.kind == ErrorKind::ServerError && is_the_requests {
        return ProviderError { kind: ErrorKind::BadRequest, ..error };
    }
    error
}

#[cfg(test)]
mod tests;
