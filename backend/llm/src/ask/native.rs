//! A request as a client wrote it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Endpoint;
use super::files::Files;
use super::foreign::{self, Cleaned};
use super::top::{Top, unescaped};
use crate::inbound::dropped::THOUGHTS;
use crate::inbound::{self, WireError};
use crate::provider::fit::{Lost, answers_as_responses, fit};
use crate::provider::{self, Deployment, Wire};
use crate::trace::TraceContext;
use crate::types::ChatRequest;

/// A request in the neutral vocabulary, and what of it has no place there.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) request: ChatRequest,
    dropped: Vec<(Wire, Vec<String>)>,
}

impl Translated {
    /// Whether nothing of it has no place there, for whichever format it is.
    pub(super) fn is_all(&self) -> bool {
        self.dropped.iter().all(|(_, names)| names.is_empty())
    }

    fn dropped_for(&self, wire: Wire) -> impl Iterator<Item = &str> {
        let lists = self.dropped.iter().filter(move |(known, _)| *known == wire);
        lists.flat_map(|(_, names)| names).map(String::as_str)
    }
}

/// A request as a client wrote it. Cheap to make: nothing below the top of the document is looked at.
#[derive(Debug)]
pub struct Native {
    pub(super) endpoint: Endpoint,
    pub(super) body: Bytes,
    /// The top of the document: each field's name and where its value stands.
    fields: Vec<(String, Range<usize>)>,
    model: String,
    pub(super) stream: bool,
    include_usage: bool,
    pub(super) max_output: Option<u32>,
    /// How many tools are offered whose description is the provider's.
    pub(super) vendors_tools: u32,
    files: OnceLock<Files>,
    pub(super) beta: Option<String>,
    pub(super) strict: bool,
    session: Option<String>,
    trace: Option<TraceContext>,
    cleaned: OnceLock<Vec<Cleaned>>,
    translated: OnceLock<Result<Translated, WireError>>,
}

impl Native {
    /// Reads the top of a request.
    pub fn parse(endpoint: Endpoint, body: Bytes) -> Result<Self, WireError> {
        let Top(fields) = serde_json::from_slice(&body)
            .map_err(|error| WireError(format!("the body is no JSON object of this shape: {error}")))?;
        // Both are slices of one allocation, so that the difference is where the value stands.
        let start = body.as_ptr().addr();
        let place = |raw: &str| {
            let at = raw.as_ptr().addr().saturating_sub(start);
            at..at + raw.len()
        };
        let fields = fields.into_iter().map(|(name, raw)| (name.into_owned(), place(raw.get()))).collect();
        let mut native = Self {
            endpoint,
            body,
            fields,
            model: String::new(),
            stream: false,
            include_usage: endpoint != Endpoint::ChatCompletions,
            max_output: None,
            vendors_tools: 0,
            files: OnceLock::new(),
            beta: None,
            strict: false,
            session: None,
            trace: None,
            cleaned: OnceLock::new(),
            translated: OnceLock::new(),
        };
        native.read_top()?;
        Ok(native)
    }

    fn read_top(&mut self) -> Result<(), WireError> {
        self.model = self
            .value::<String>("model")?
            .filter(|model| !model.is_empty())
            .ok_or_else(|| WireError("`model` is missing: name a model group or a deployment".into()))?;
        self.vendors_tools = self.refuse_dear()?;
        self.stream = self.value::<bool>("stream")?.unwrap_or(false);
        let limits = self.limit_fields().map(|field| self.value::<u32>(field));
        self.max_output = limits.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().min();
        if self.endpoint == Endpoint::ChatCompletions {
            let options = self.value::<Value>("stream_options")?;
            let wanted = options.as_ref().and_then(|options| options.get("include_usage")?.as_bool());
            self.include_usage = wanted.unwrap_or(false);
        }
        Ok(())
    }

    /// With what the client's headers say beside the body.
    #[must_use]
    pub fn with_headers(mut self, beta: Option<String>, strict: bool) -> Self {
        self.beta = beta;
        self.strict = strict;
        self
    }

    /// With the conversation that the client says it belongs to: its calls go to the same one of equal deployments.
    #[must_use]
    pub fn with_session(mut self, session: Option<String>) -> Self {
        self.session = session;
        self
    }

    /// The same with another body.
    pub(crate) fn with_body(&self, body: Bytes) -> Result<Self, WireError> {
        let other = Self::parse(self.endpoint, body)?;
        let other = other.with_headers(self.beta.clone(), self.strict).with_session(self.session.clone());
        Ok(other.with_trace(self.trace.clone()))
    }

    /// As it was written.
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// As part of a trace that the client has begun.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<TraceContext>) -> Self {
        self.trace = trace;
        self
    }

    /// The client's trace.
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// The conversation that the client says it belongs to.
    pub(crate) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Where it came in.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The model that is asked for: a group's name or a deployment's.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the answer is to be streamed.
    pub fn is_streamed(&self) -> bool {
        self.stream
    }

    /// Whether a stream is to carry usage at its end.
    pub fn includes_usage(&self) -> bool {
        self.include_usage
    }

    /// Features in trial that the client asks Anthropic for.
    pub(crate) fn beta(&self) -> Option<&str> {
        self.beta.as_deref()
    }

    pub(super) fn is_for(&self, deployment: &Deployment) -> Option<&Self> {
        self.endpoint.is_of(deployment).then_some(self)
    }

    /// How many answers are asked for in one. Some servers take it as a text, and some with a decimal point.
    pub(crate) fn choices(&self) -> u32 {
        if self.endpoint != Endpoint::ChatCompletions {
            return 1;
        }
        let said = self.value::<Value>("n").ok().flatten();
        let number = said.and_then(|n| n.as_f64().or_else(|| n.as_str()?.trim().parse().ok())).unwrap_or(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, which is meant"
        )]
        let number = number.ceil() as u32;
        number.max(1)
    }

    /// The fields that limit the answer: those that the client wrote.
    fn limit_fields(&self) -> impl Iterator<Item = &'static str> {
        let names: &[&'static str] = match self.endpoint {
            Endpoint::ChatCompletions => &["max_completion_tokens", "max_tokens"],
            Endpoint::Messages => &["max_tokens"],
            Endpoint::Responses => &["max_output_tokens"],
            Endpoint::Embeddings => &[],
        };
        let is_said = |name: &str| self.raw(name).is_some_and(|value| value != b"null");
        names.iter().copied().filter(move |name| is_said(name))
    }

    /// A field's own bytes. Of a field that is there twice the last one counts, as with every reader of JSON.
    pub(crate) fn raw(&self, name: &str) -> Option<&[u8]> {
        let (_, place) = self.fields.iter().rev().find(|(field, _)| field == name)?;
        self.body.get(place.clone())
    }

    /// Its fields as they stand there, each mention by itself.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .map(|(name, place)| (name.as_str(), self.body.get(place.clone()).unwrap_or_default()))
    }

    /// Its pictures and documents.
    pub(crate) fn files(&self) -> Files {
        *self.files.get_or_init(|| self.count_files())
    }

    /// Whether this word is anywhere in the body, also if it is written with escapes.
    pub(super) fn says(&self, word: &[u8]) -> bool {
        let says = |body: &[u8]| memchr::memmem::find(body, word).is_some();
        says(&self.body) || unescaped(&self.body).is_some_and(|body| says(&body))
    }

    /// The names of its fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn value<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Result<Option<T>, WireError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_slice::<Option<T>>(raw).map_err(|error| WireError(format!("`{name}`: {error}")))
    }

    /// The body for a deployment of the client's own format.
    pub(crate) fn body_for(&self, deployment: &Deployment, max_output: u32) -> Vec<u8> {
        let mut patch: BTreeMap<&str, Value> = BTreeMap::new();
        patch.insert("model", json!(deployment.model));
        if self.endpoint != Endpoint::Embeddings {
            let usual = match self.endpoint {
                Endpoint::Responses => "max_output_tokens",
                _ if deployment.provider.is_openais_own() => "max_completion_tokens",
                _ => "max_tokens",
            };
            // Where both are said, one server goes by the one and another by the other.
            patch.extend(self.limit_fields().map(|field| (field, json!(max_output))));
            if patch.len() == 1 {
                patch.insert(usual, json!(max_output));
            }
        }
        if self.endpoint == Endpoint::ChatCompletions && self.stream {
            // What a stream cost is never left to a guess, whether the client wants to know or not.
            let said = self.value::<Value>("stream_options").ok().flatten();
            let mut options = said.filter(Value::is_object).unwrap_or_else(|| json!({}));
            options["include_usage"] = json!(true);
            patch.insert("stream_options", options);
        }
        if self.endpoint == Endpoint::Responses {
            patch.insert("store", json!(false));
            patch.insert("include", self.included());
        }
        patch.extend(self.foreign(deployment).iter().map(|clean| (clean.field, clean.value.clone())));
        self.patched(&patch)
    }

    /// Fields that are sent in other words, since they carry what this provider refuses.
    pub(super) fn foreign(&self, deployment: &Deployment) -> &[Cleaned] {
        let fields = foreign::fields(self.endpoint, deployment.provider);
        if fields.is_empty() {
            return &[];
        }
        // Whoever looks at anything of an endpoint looks at the same.
        self.cleaned.get_or_init(|| {
            let cleaned = |field: &&'static str| foreign::cleaned(self.endpoint, field, self.raw(field)?);
            fields.iter().filter_map(cleaned).collect()
        })
    }

    /// What the translation for this deployment leaves out.
    ///
    /// Errors: it cannot be asked there at all.
    pub(super) fn lost(&self, deployment: &Deployment, max_output: u32) -> Result<Vec<String>, WireError> {
        let translated = self.translated()?;
        let fitted = fit(deployment, &translated.request, max_output);
        let wishes = fitted.lost.into_iter().map(|lost| self.word(lost));
        let trial = self.beta.as_ref().map(|_| "anthropic-beta");
        // What only Anthropic has a word for, nobody else has.
        let wire = deployment.provider.wire().unwrap_or(Wire::OpenAi);
        let is_back = || answers_as_responses(deployment) && self.brings_back(deployment);
        let dropped = translated.dropped_for(wire).filter(|name| *name != THOUGHTS || !is_back());
        let names = dropped.chain(wishes).chain(trial).map(str::to_owned);
        Ok(names.chain(provider::unsaid(deployment, &translated.request)?).collect())
    }

    /// A wish as the client's format names it.
    fn word(&self, lost: Lost) -> &'static str {
        match (lost, self.endpoint) {
            (Lost::Temperature, _) => "temperature",
            (Lost::TopP, _) => "top_p",
            (Lost::Reasoning, Endpoint::Messages) => "thinking",
            (Lost::Reasoning, Endpoint::Responses) => "reasoning",
            (Lost::Reasoning, _) => "reasoning_effort",
        }
    }

    fn patched(&self, patch: &BTreeMap<&str, Value>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 128);
        let mut put = |name: &str, value: &[u8]| {
            out.push(if out.is_empty() { b'{' } else { b',' });
            out.extend_from_slice(json!(name).to_string().as_bytes());
            out.push(b':');
            out.extend_from_slice(value);
        };
        for (name, value) in patch {
            put(name, value.to_string().as_bytes());
        }
        for (name, place) in self.fields.iter().filter(|(name, _)| !patch.contains_key(name.as_str())) {
            put(name, self.body.get(place.clone()).unwrap_or(b"null"));
        }
        out.push(b'}');
        out
    }

    /// All of it.
    pub(crate) fn document(&self) -> Result<Value, WireError> {
        serde_json::from_slice(&self.body).map_err(|error| WireError(error.to_string()))
    }

    pub(super) fn translated(&self) -> Result<&Translated, WireError> {
        let translated = self.translated.get_or_init(|| {
            let body = self.document()?;
            let inbound = match self.endpoint {
                Endpoint::ChatCompletions => inbound::parse(Wire::OpenAi, &body)?,
                Endpoint::Messages => inbound::parse(Wire::Anthropic, &body)?,
                Endpoint::Responses => inbound::responses::parse(&body)?,
                Endpoint::Embeddings => {
                    return Err(WireError("only a provider of OpenAI's format can be asked this".into()));
                }
            };
            let lost = |wire| (wire, inbound::dropped::dropped(self.endpoint, wire, &body));
            let dropped = Wire::ALL.into_iter().map(lost).collect();
            Ok(Translated { request: inbound.request, dropped })
        });
        translated.as_ref().map_err(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Ask;
    use crate::provider::ProviderKind;

    fn deployment(provider: ProviderKind) -> Deployment {
        Deployment {
            model: "real-model".into(),
            context_window: 100_000,
            max_output: 4_000,
            ..Deployment::new("d", provider, "http://localhost/v1".parse().unwrap())
        }
    }

    fn sent(endpoint: Endpoint, kind: ProviderKind, body: &Value) -> Value {
        let native = Native::parse(endpoint, body.to_string().into()).unwrap();
        let deployment = deployment(kind);
        let limit = Ask::Native(&native).max_output(&deployment);
        serde_json::from_slice(&native.body_for(&deployment, limit)).unwrap()
    }

    #[test]
    fn only_the_model_the_limit_and_the_usage_of_a_stream_are_changed() {
        let body = json!({
            "model": "code", "stream": true, "messages": [{"role": "user", "content": "hé", "x": 1}],
            "stream_options": {"include_obfuscation": false}, "seed": 7, "unheard_of": {"a": [1.50, null]},
        });
        let got = sent(Endpoint::ChatCompletions, ProviderKind::OpenAi, &body);
        let mut expected = body.clone();
        expected["model"] = json!("real-model");
        expected["max_completion_tokens"] = json!(4_000);
        expected["stream_options"] = json!({"include_obfuscation": false, "include_usage": true});
        assert_eq!(got, expected);
    }

    #[test]
    fn a_limit_is_lowered_where_the_client_wrote_it_and_never_raised() {
        for (said, limit) in [(9_000, 4_000), (12, 12)] {
            let body = json!({"model": "m", "max_tokens": said, "messages": []});
            let got = sent(Endpoint::Messages, ProviderKind::Anthropic, &body);
            assert_eq!(got["max_tokens"], limit);
            let got = sent(Endpoint::ChatCompletions, ProviderKind::OpenAi, &body);
            assert_eq!((&got["max_tokens"], got.get("max_completion_tokens")), (&json!(limit), None));
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_sent_once_with_what_we_say() {
        let body = r#"{"model": "a", "mod\u0065l": "b", "messages": [], "n": 1.0}"#;
        let native = Native::parse(Endpoint::ChatCompletions, body.into()).unwrap();
        assert_eq!(native.model(), "b");
        let sent = String::from_utf8(native.body_for(&deployment(ProviderKind::Ollama), 4_000)).unwrap();
        assert_eq!(sent, r#"{"max_tokens":4000,"model":"real-model","messages":[],"n":1.0}"#);
    }

    #[test]
    fn what_is_wrong_at_the_top_is_named() {
        for (body, word) in [
            ("[]", "object"),
            ("{\"messages\": []}", "model"),
            ("{\"model\": 3}", "model"),
            ("{\"model\": \"m\", \"stream\": \"yes\"}", "stream"),
            ("{\"model\": \"m\", \"max_tokens\": -1}", "max_tokens"),
            ("{\"model\"", "JSON"),
        ] {
            let error = Native::parse(Endpoint::Messages, body.into()).unwrap_err().to_string();
            assert!(error.contains(word), "{body}: {error}");
        }
    }

    #[test]
    fn several_answers_in_one_are_counted_however_a_server_takes_their_number() {
        let choices = |n: Value, kind| {
            let body = json!({"model": "a", "messages": [], "n": n}).to_string();
            let native = Native::parse(Endpoint::ChatCompletions, body.into()).unwrap();
            Ask::Native(&native).choices(&deployment(kind))
        };
        let said = [json!(3), json!(3.0), json!("3"), json!(2.5), json!(null), json!(0), json!("x")];
        let counted = said.map(|n| choices(n, ProviderKind::OpenAiCompatible));
        assert_eq!(counted, [3, 3, 3, 3, 1, 1, 1]);
        assert_eq!(choices(json!(3), ProviderKind::Anthropic), 1, "which is asked for one");
    }

    #[test]
    fn of_two_limits_the_lower_one_holds_under_both_names() {
        let body =
            json!({"model": "a", "messages": [], "max_completion_tokens": 3_000, "max_tokens": 1_000_000});
        let sent = sent(Endpoint::ChatCompletions, ProviderKind::OpenAiCompatible, &body);
        assert_eq!(sent["max_completion_tokens"], 3_000);
        assert_eq!(sent["max_tokens"], 3_000);
    }
}
