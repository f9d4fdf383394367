//! A message for a model of OpenAI's.

use serde_json::{Value, json};
use syndarix_llm::{Endpoint, ProviderKind};

use super::{Case, deployment, plain, with};

fn case(says: &'static str, more: Value, shown: &'static [&'static str]) -> Case {
    let to = deployment(ProviderKind::OpenAi, "gpt-4.1", true);
    let body = with(with(plain(), json!({"max_tokens": 900})), more);
    Case { says, endpoint: Endpoint::Messages, body, shown, to }
}

/// The same, for a model that reasons and takes no temperature.
fn reasons(case: Case) -> Case {
    Case { to: deployment(ProviderKind::OpenAi, "gpt-5-mini", false), ..case }
}

/// The same, for a model that is asked over responses.
fn responds(case: Case) -> Case {
    Case { to: deployment(ProviderKind::OpenAi, "gpt-5.5", false), ..case }
}

fn tools() -> Value {
    json!([{"name": "t", "input_schema": {"type": "object"}}])
}

pub(super) fn messages_to_openai() -> Vec<Case> {
    [prompts(), thinking(), calling(), output()].into_iter().flatten().collect()
}

fn prompts() -> Vec<Case> {
    let user = |blocks: Value| json!({"messages": [{"role": "user", "content": blocks}]});
    let base64 = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    vec![
        case("`max_tokens`", json!({}), &["/max_completion_tokens"]),
        case("`system`", json!({"system": "A"}), &["/messages/0"]),
        case(
            "`cache_control`",
            json!({"system": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "B"}]}),
            &["/messages/0"],
        ),
        case(
            "two texts of the user's, side by side",
            user(json!([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}])),
            &["/messages/0"],
        ),
        case(
            "a picture in the request",
            user(json!([{"type": "image", "source": base64}])),
            &["/messages/0/content/0"],
        ),
        case(
            "a picture elsewhere",
            user(json!([{"type": "image", "source": {"type": "url", "url": "https://h/p.png"}}])),
            &["/messages/0/content/0"],
        ),
        case("a document", user(json!([{"type": "document", "source": base64}])), &[]),
        case("`metadata.user_id`", json!({"metadata": {"user_id": "u"}}), &["/user"]),
        case("`stop_sequences`", json!({"stop_sequences": ["END"]}), &["/stop"]),
        case(
            "`temperature` and `top_p`",
            json!({"temperature": 0.5, "top_p": 0.9}),
            &["/temperature", "/top_p"],
        ),
        reasons(case(
            "`temperature` and `top_p`, where the deployment takes none",
            json!({"temperature": 0.5, "top_p": 0.9}),
            &["/temperature", "/top_p"],
        )),
        case(
            "`top_k`, `service_tier`, `diagnostics`",
            json!({"top_k": 5, "service_tier": "auto", "diagnostics": {}}),
            &[],
        ),
    ]
}

fn thinking() -> Vec<Case> {
    let thinks = |thinking: Value| json!({"thinking": thinking});
    let budget = |tokens: u32| json!({"type": "enabled", "budget_tokens": tokens});
    vec![
        reasons(case("`thinking` of 2,048 tokens", thinks(budget(2_048)), &["/reasoning_effort"])),
        reasons(case("`thinking` of 8,192 tokens", thinks(budget(8_192)), &["/reasoning_effort"])),
        reasons(case("`thinking` of 16,384 tokens", thinks(budget(16_384)), &["/reasoning_effort"])),
        reasons(case("`thinking: adaptive`", thinks(json!({"type": "adaptive"})), &["/reasoning_effort"])),
        reasons(case(
            "`thinking: adaptive` with `effort: xhigh`",
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
            &["/reasoning_effort"],
        )),
        reasons(case(
            "`thinking: adaptive` with `display`",
            thinks(json!({"type": "adaptive", "display": "summarized"})),
            &["/reasoning_effort"],
        )),
        reasons(case("`thinking: disabled`", thinks(json!({"type": "disabled"})), &["/reasoning_effort"])),
        reasons(case(
            "`thinking: between_tools`",
            thinks(json!({"type": "between_tools"})),
            &["/reasoning_effort"],
        )),
        responds(case(
            "`thinking` with `tools`, a model from GPT-5.4 on, which is asked over responses",
            with(thinks(budget(2_048)), json!({"tools": tools()})),
            &["/reasoning", "/tools/0", "/store", "/include"],
        )),
        responds(case(
            "`stop_sequences`, the same",
            json!({"stop_sequences": ["END"]}),
            &["/input", "/max_output_tokens"],
        )),
        case(
            "`thinking`, where the model takes a temperature and so is none that reasons",
            thinks(budget(2_048)),
            &["/reasoning_effort"],
        ),
        case(
            "thoughts that are sent back",
            json!({"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "ok"}]}, {"role": "user", "content": "on"}]}),
            &["/messages/1"],
        ),
    ]
}

fn calling() -> Vec<Case> {
    let choice = |choice: Value| json!({"tools": tools(), "tool_choice": choice});
    let results = |first: Value| {
        json!({"messages": [{"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "t", "input": {"x": 1}}]},
            {"role": "user", "content": [first, {"type": "text", "text": "on"}]}]})
    };
    vec![
        case("`tools`", json!({"tools": tools()}), &["/tools/0"]),
        case(
            "`strict: true`",
            json!({"tools": [{"name": "t", "strict": true}]}),
            &["/tools/0/function/strict"],
        ),
        case(
            "other fields of a tool",
            json!({"tools": [{"name": "t", "defer_loading": true, "input_examples": [{}]}]}),
            &["/tools/0/function/name"],
        ),
        case(
            "a tool that runs at Anthropic",
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
            &[],
        ),
        case("`tool_choice: any`", choice(json!({"type": "any"})), &["/tool_choice"]),
        case("a tool that is named", choice(json!({"type": "tool", "name": "t"})), &["/tool_choice"]),
        case(
            "`disable_parallel_tool_use`",
            choice(json!({"type": "auto", "disable_parallel_tool_use": true})),
            &["/tool_choice", "/parallel_tool_calls"],
        ),
        case(
            "a call and its result",
            results(json!({"type": "tool_result", "tool_use_id": "a", "content": "1"})),
            &["/messages/1", "/messages/2", "/messages/3"],
        ),
        case(
            "a result that failed",
            results(json!({"type": "tool_result", "tool_use_id": "a", "content": "no", "is_error": true})),
            &["/messages/2"],
        ),
        case(
            "a result with a picture, which the user shows",
            results(json!({"type": "tool_result", "tool_use_id": "a", "content": [
                {"type": "image", "source": {"type": "url", "url": "https://h/p.png"}}]})),
            &["/messages/2", "/messages/3"],
        ),
    ]
}

fn output() -> Vec<Case> {
    vec![
        case(
            "`output_config.format`",
            json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
            &["/response_format"],
        ),
        case(
            "citations",
            json!({"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": [
                {"type": "text", "text": "ok", "citations": [{"type": "char_location"}]}]}, {"role": "user", "content": "on"}]}),
            &["/messages/1"],
        ),
    ]
}
