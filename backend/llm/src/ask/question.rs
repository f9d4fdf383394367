//! What of a request decides on its answer.

use serde_json::json;

use super::{Endpoint, Native};

/// A question, to know it again by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The same text for the same question, and for no other.
    pub text: String,
    /// Our own vocabulary says all of it: whoever asks it in any format, whole or streamed, may be given one answer. Else
    /// only the provider's own bytes are an answer.
    pub is_neutral: bool,
}

impl Native {
    /// The question, but for whom it is put to. None where an answer could not be given again: a stream whose meaning
    /// is in bytes that are passed on and not kept.
    pub fn question(&self) -> Option<Question> {
        let neutral = self.translated().ok().filter(|translated| translated.is_all());
        if let Some(translated) = neutral.filter(|_| self.beta.is_none()) {
            let text = json!(["neutral", self.strict, translated.request]).to_string();
            return Some(Question { text, is_neutral: true });
        }
        if self.stream && self.endpoint != Endpoint::Embeddings {
            return None;
        }
        let mut body = self.document().ok()?;
        // Whom it is put to is added by whoever knows whom the name means; the rest says how the answer is sent.
        for field in ["model", "stream", "stream_options"] {
            body.as_object_mut()?.remove(field);
        }
        let text = json!([self.endpoint.path(), self.strict, self.beta, body]).to_string();
        Some(Question { text, is_neutral: false })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn asked(endpoint: Endpoint, body: &Value) -> Option<Question> {
        Native::parse(endpoint, body.to_string().into()).unwrap().question()
    }

    fn with(body: &Value, field: &str, value: Value) -> Value {
        let mut body = body.clone();
        body[field] = value;
        body
    }

    #[test]
    fn the_same_question_is_the_same_in_either_format_whole_or_streamed() {
        let chat = json!({"model": "a", "max_tokens": 9, "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hé"}]});
        let message = json!({"messages": [{"content": [{"type": "text", "text": "hé"}], "role": "user"}],
            "system": "Be brief.", "max_tokens": 9, "model": "b"});
        let one = asked(Endpoint::ChatCompletions, &chat).unwrap();
        assert!(one.is_neutral);
        assert_eq!(Some(&one), asked(Endpoint::Messages, &message).as_ref());
        let streamed = with(&chat, "stream", json!(true));
        let streamed = with(&streamed, "stream_options", json!({"include_usage": true}));
        assert_eq!(Some(one), asked(Endpoint::ChatCompletions, &streamed));
    }

    #[test]
    fn whatever_may_change_the_answer_makes_another_question() {
        let chat = json!({"model": "a", "messages": [{"role": "user", "content": "hi"}]});
        let mut questions = vec![asked(Endpoint::ChatCompletions, &chat)];
        let tool = json!([{"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}]);
        for (field, value) in [
            ("max_tokens", json!(7)),
            ("temperature", json!(0.5)),
            ("top_p", json!(0.5)),
            ("stop", json!(["x"])),
            ("tools", tool),
            ("user", json!("somebody")),
            ("reasoning_effort", json!("low")),
            ("response_format", json!({"type": "json_object"})),
            ("seed", json!(1)),
            ("seed", json!(2)),
            ("logprobs", json!(true)),
            ("n", json!(2)),
            ("messages", json!([{"role": "user", "content": "hi "}])),
        ] {
            questions.push(asked(Endpoint::ChatCompletions, &with(&chat, field, value)));
        }
        for (at, one) in questions.iter().enumerate() {
            assert!(one.is_some() && !questions[..at].contains(one), "{one:?}");
        }
    }

    #[test]
    fn what_only_the_provider_knows_is_answered_with_its_own_bytes_or_not_again() {
        let chat = json!({"model": "a", "seed": 7, "messages": [{"role": "user", "content": "hi"}]});
        assert!(!asked(Endpoint::ChatCompletions, &chat).unwrap().is_neutral);
        assert_eq!(asked(Endpoint::ChatCompletions, &with(&chat, "stream", json!(true))), None);
        let input = json!({"model": "a", "input": ["x"]});
        assert!(!asked(Endpoint::Embeddings, &input).unwrap().is_neutral);
        let message = json!({"model": "a", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        let native = Native::parse(Endpoint::Messages, message.to_string().into()).unwrap();
        let in_trial = native.with_headers(Some("a-feature".into()), false);
        assert!(!in_trial.question().unwrap().is_neutral);
    }
}
