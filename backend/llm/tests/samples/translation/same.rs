//! A request for a model whose provider speaks the client's own format.

use serde_json::{Value, json};
use syndarix_llm::{Endpoint, ProviderKind};

use super::{Case, deployment, with};

pub(super) fn same_format() -> Vec<Case> {
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": "go", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": "ok", "reasoning_content": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
    ]);
    let chat = |says, kind, more: Value, shown| Case {
        says,
        endpoint: Endpoint::ChatCompletions,
        body: with(json!({"model": "m", "messages": messages}), more),
        shown,
        to: deployment(kind, "n", false),
    };
    let both: &[&str] = &["/messages/0/content/0", "/messages/1"];
    vec![
        chat(
            "a field that nobody knows, `seed`, `temperature`",
            ProviderKind::OpenAi,
            json!({"messages": [{"role": "user", "content": "go"}], "unheard_of": {"a": 1.5}, "seed": 7, "temperature": 0.5}),
            &["/unheard_of", "/seed", "/temperature", "/model"],
        ),
        chat(
            "what Anthropic's models left in the conversation, for OpenAI",
            ProviderKind::OpenAi,
            json!({}),
            both,
        ),
        chat(
            "the same, for another server of OpenAI's format",
            ProviderKind::OpenAiCompatible,
            json!({}),
            both,
        ),
        Case {
            says: "a response for a model from GPT-5.4 on, with a field that nobody knows, and another model's thoughts",
            endpoint: Endpoint::Responses,
            body: json!({"model": "m", "unheard_of": 1, "store": true, "input": [{"role": "user", "content": "go"},
                {"type": "reasoning", "summary": [], "encrypted_content": "thinking:s"}, {"role": "assistant", "content": "ok"}]}),
            shown: &["/unheard_of", "/input/1", "/store", "/include", "/max_output_tokens"],
            to: deployment(ProviderKind::OpenAi, "gpt-5.5", false),
        },
        Case {
            says: "thoughts that nobody signed, for Anthropic",
            endpoint: Endpoint::Messages,
            body: json!({"model": "m", "max_tokens": 900, "messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "ok"}]}, {"role": "user", "content": "on"}]}),
            shown: &["/messages/1/content"],
            to: deployment(ProviderKind::Anthropic, "n", false),
        },
    ]
}
