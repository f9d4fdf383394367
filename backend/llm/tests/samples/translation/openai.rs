//! A chat completion for a model of Anthropic's.

use serde_json::{Value, json};
use syndarix_llm::{Deployment, Endpoint, ProviderKind};

use super::{Case, deployment, plain, with};

/// A model that is given a budget to think; newer ones think as they like.
const BUDGETED: &str = "claude-sonnet-4-5";
const ADAPTIVE: &str = "claude-sonnet-5";

fn to(model: &str) -> Deployment {
    deployment(ProviderKind::Anthropic, model, true)
}

fn case(says: &'static str, more: Value, shown: &'static [&'static str]) -> Case {
    Case { says, endpoint: Endpoint::ChatCompletions, body: with(plain(), more), shown, to: to(BUDGETED) }
}

fn on(model: &str, case: Case) -> Case {
    Case { to: to(model), ..case }
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}])
}

fn calls() -> Value {
    json!([
        {"id": "a", "type": "function", "function": {"name": "t", "arguments": "{\"x\":1}"}},
        {"id": "b", "type": "function", "function": {"name": "t", "arguments": "{}"}},
    ])
}

pub(super) fn chat_to_anthropic() -> Vec<Case> {
    [prompts(), caching(), thinking(), calling(), output()].into_iter().flatten().collect()
}

fn prompts() -> Vec<Case> {
    let picture = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let user = |parts: Value| json!({"messages": [{"role": "user", "content": parts}]});
    vec![
        case("no limit of the answer", json!({}), &["/max_tokens"]),
        case("`max_completion_tokens: 99`", json!({"max_completion_tokens": 99}), &["/max_tokens"]),
        case(
            "a system and a developer message",
            json!({"messages": [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}, {"role": "user", "content": "go"}]}),
            &["/system/0/text"],
        ),
        case(
            "a picture in the request",
            user(json!([picture("data:image/png;base64,AAAA")])),
            &["/messages/0/content/0/source"],
        ),
        case(
            "a picture elsewhere",
            user(json!([picture("https://h/p.png")])),
            &["/messages/0/content/0/source"],
        ),
        case(
            "`image_url.detail: high`",
            user(json!([{"type": "image_url", "image_url": {"url": "https://h/p.png", "detail": "high"}}])),
            &["/messages/0/content/0/source"],
        ),
        case(
            "audio",
            user(json!([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}])),
            &[],
        ),
        case(
            "`user`, or its newer name `safety_identifier`",
            json!({"safety_identifier": "u"}),
            &["/metadata"],
        ),
        case(
            "`name` of a message",
            json!({"messages": [{"role": "user", "name": "ann", "content": "go"}]}),
            &["/messages/0/role"],
        ),
        case("`stop`", json!({"stop": "END"}), &["/stop_sequences"]),
        case("`temperature: 0.5`", json!({"temperature": 0.5}), &["/temperature"]),
        case("`temperature: 1.5`", json!({"temperature": 1.5}), &["/temperature"]),
        case("`top_p: 0.9`", json!({"top_p": 0.9}), &["/top_p"]),
        case(
            "`temperature` and `top_p`",
            json!({"temperature": 0.5, "top_p": 0.9}),
            &["/temperature", "/top_p"],
        ),
        Case {
            to: deployment(ProviderKind::Anthropic, ADAPTIVE, false),
            ..case(
                "`temperature` and `top_p`, where the deployment takes none",
                json!({"temperature": 0.5, "top_p": 0.9}),
                &["/temperature", "/top_p"],
            )
        },
        case(
            "`seed`, `logit_bias`, penalties, `logprobs`, `n: 2`",
            json!({"seed": 1, "logit_bias": {"5": 1}, "presence_penalty": 1, "frequency_penalty": 1, "logprobs": true, "n": 2}),
            &[],
        ),
    ]
}

fn caching() -> Vec<Case> {
    let mark = || json!({"type": "ephemeral"});
    vec![
        case(
            "no `cache_control`",
            json!({"messages": [{"role": "system", "content": "A"}, {"role": "user", "content": "go"}]}),
            &["/system", "/messages/0/content"],
        ),
        case(
            "`cache_control` on a part of the system message",
            json!({"messages": [{"role": "system", "content": [
                {"type": "text", "text": "A", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "text", "text": "B"}]}, {"role": "user", "content": "go"}]}),
            &["/system", "/messages/0/content"],
        ),
        case(
            "`cache_control` on a part of a message",
            json!({"messages": [{"role": "user", "content": [
                {"type": "text", "text": "A", "cache_control": mark()}, {"type": "text", "text": "B"}]}]}),
            &["/messages/0/content"],
        ),
        case(
            "`cache_control` on a message",
            json!({"messages": [{"role": "user", "content": "A", "cache_control": mark()}]}),
            &["/messages/0/content"],
        ),
        case(
            "`cache_control` on a tool",
            json!({"tools": [{"type": "function", "function": {"name": "t"}, "cache_control": mark()}]}),
            &["/tools/0/cache_control"],
        ),
    ]
}

fn thinking() -> Vec<Case> {
    let effort = |effort: &str, more: Value| with(json!({"reasoning_effort": effort}), more);
    let with_calls = |first: Value| {
        json!({"messages": [{"role": "user", "content": "go"},
            with(json!({"role": "assistant", "content": null, "tool_calls": calls()}), first),
            {"role": "tool", "tool_call_id": "a", "content": "1"}, {"role": "tool", "tool_call_id": "b", "content": "2"}]})
    };
    let proofs = json!({"reasoning_content": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]});
    vec![
        case("`reasoning_effort: low`", effort("low", json!({})), &["/thinking"]),
        case("`reasoning_effort: medium`", effort("medium", json!({})), &["/thinking"]),
        case(
            "`reasoning_effort: high`, an answer of 20,000 tokens",
            effort("high", json!({"max_tokens": 20_000})),
            &["/thinking"],
        ),
        case(
            "`reasoning_effort: low`, an answer of 1,500 tokens",
            effort("low", json!({"max_tokens": 1_500})),
            &["/thinking"],
        ),
        case("`reasoning_effort: none`", effort("none", json!({})), &["/thinking"]),
        case(
            "`reasoning_effort` with a tool that must be called",
            effort("low", json!({"tools": tools(), "tool_choice": "required"})),
            &["/thinking", "/tool_choice"],
        ),
        case(
            "`reasoning_effort`, `temperature` and `top_p`",
            effort("low", json!({"temperature": 0.5, "top_p": 0.5})),
            &["/thinking", "/temperature", "/top_p"],
        ),
        case(
            "`reasoning_effort` after calls whose thoughts are signed",
            effort("low", with_calls(proofs)),
            &["/thinking", "/messages/1/content/0"],
        ),
        case("`reasoning_effort` after calls without", effort("low", with_calls(json!({}))), &["/thinking"]),
        case(
            "`reasoning_content` without a signature",
            with_calls(json!({"reasoning_content": "hm"})),
            &["/messages/1/content/0/type"],
        ),
        on(
            ADAPTIVE,
            case(
                "`reasoning_effort: low`, a model from 4.6 on",
                effort("low", json!({})),
                &["/thinking", "/output_config"],
            ),
        ),
        on(
            ADAPTIVE,
            case(
                "`reasoning_effort: minimal`, the same",
                effort("minimal", json!({})),
                &["/thinking", "/output_config"],
            ),
        ),
        on(ADAPTIVE, case("`reasoning_effort: none`, the same", effort("none", json!({})), &["/thinking"])),
        on(
            "claude-fable-5",
            case(
                "`reasoning_effort: none`, a model that always thinks",
                effort("none", json!({})),
                &["/thinking"],
            ),
        ),
        on(
            ADAPTIVE,
            case(
                "`reasoning_effort` with a tool that must be called, a model from 4.6 on",
                effort("low", json!({"tools": tools(), "tool_choice": "required"})),
                &["/thinking", "/output_config"],
            ),
        ),
    ]
}

fn calling() -> Vec<Case> {
    let choice = |choice: Value| json!({"tools": tools(), "tool_choice": choice});
    let results = |first: Value| {
        json!({"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "ok", "tool_calls": calls()},
            {"role": "tool", "tool_call_id": "a", "content": first}, {"role": "tool", "tool_call_id": "b", "content": "2"}]})
    };
    vec![
        case("`tools`", json!({"tools": tools()}), &["/tools/0"]),
        case(
            "`strict: true`",
            json!({"tools": [{"type": "function", "function": {"name": "t", "strict": true}}]}),
            &["/tools/0/strict"],
        ),
        case("`tool_choice: auto`", choice(json!("auto")), &["/tool_choice"]),
        case("`tool_choice: none`", choice(json!("none")), &["/tool_choice"]),
        case("`tool_choice: required`", choice(json!("required")), &["/tool_choice"]),
        case(
            "a tool that is named",
            choice(json!({"type": "function", "function": {"name": "t"}})),
            &["/tool_choice"],
        ),
        case(
            "`tool_choice` of allowed tools",
            choice(json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}})),
            &["/tool_choice"],
        ),
        case("a tool of OpenAI's own", json!({"tools": [{"type": "custom", "custom": {"name": "t"}}]}), &[]),
        case(
            "`parallel_tool_calls: false`",
            json!({"tools": tools(), "parallel_tool_calls": false}),
            &["/tool_choice"],
        ),
        case(
            "two calls and their results",
            results(json!("1")),
            &["/messages/1/content", "/messages/2/content/0", "/messages/3"],
        ),
        case(
            "a result that begins with `[tool error] `",
            results(json!("[tool error] no")),
            &["/messages/2/content/0"],
        ),
        case(
            "a result with a picture",
            results(
                json!([{"type": "text", "text": "1"}, {"type": "image_url", "image_url": {"url": "https://h/p.png"}}]),
            ),
            &["/messages/2/content/0/content"],
        ),
    ]
}

fn output() -> Vec<Case> {
    vec![
        case(
            "`response_format` with a schema",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}}),
            &["/output_config"],
        ),
        case(
            "`response_format: json_object`",
            json!({"response_format": {"type": "json_object"}}),
            &["/output_config"],
        ),
        case(
            "a refusal that is sent back",
            json!({"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": null, "refusal": "no"}, {"role": "user", "content": "why"}]}),
            &["/messages/1/content"],
        ),
    ]
}
