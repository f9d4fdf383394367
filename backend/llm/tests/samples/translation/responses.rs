//! A response, over models of both formats.

use serde_json::{Value, json};
use syndarix_llm::{Deployment, Endpoint, ProviderKind};

use super::{Case, deployment, with};

fn case(to: &Deployment, says: &'static str, more: Value, shown: &'static [&'static str]) -> Case {
    let body = with(json!({"model": "m", "input": "go"}), more);
    Case { says, endpoint: Endpoint::Responses, body, shown, to: to.clone() }
}

fn tools() -> Value {
    json!([{"type": "function", "name": "t", "parameters": {"type": "object"}, "strict": true}])
}

pub(super) fn to_openai() -> Vec<Case> {
    let to = deployment(ProviderKind::OpenAi, "gpt-5-mini", false);
    let case = |says, more, shown| case(&to, says, more, shown);
    let refused = |says, more| case(says, more, &[]);
    vec![
        case("`input` as a text", json!({}), &["/messages", "/max_completion_tokens"]),
        case(
            "`instructions` and a developer message",
            json!({"instructions": "A", "input": [{"role": "developer", "content": "B"}, {"role": "user", "content": "go"}]}),
            &["/messages"],
        ),
        case(
            "a picture",
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://h/p.png", "detail": "low"}]}]}),
            &["/messages/0/content"],
        ),
        case("`tools`", json!({"tools": tools()}), &["/tools/0"]),
        case(
            "a function that is named, `parallel_tool_calls: false`",
            json!({"tools": tools(), "tool_choice": {"type": "function", "name": "t"}, "parallel_tool_calls": false}),
            &["/tool_choice", "/parallel_tool_calls"],
        ),
        case(
            "`reasoning.effort`",
            json!({"reasoning": {"effort": "low", "summary": "auto"}}),
            &["/reasoning_effort"],
        ),
        case(
            "`text.format` with a schema",
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}}),
            &["/response_format"],
        ),
        case(
            "`text.format: json_object`, `text.verbosity`",
            json!({"text": {"format": {"type": "json_object"}, "verbosity": "low"}}),
            &["/response_format"],
        ),
        case("`safety_identifier`", json!({"safety_identifier": "u"}), &["/user"]),
        case(
            "`store: false`, `include: reasoning.encrypted_content`",
            json!({"store": false, "include": ["reasoning.encrypted_content"]}),
            &[],
        ),
        case(
            "`store: true`, `service_tier`, `truncation`, `max_tool_calls`, `prompt_cache_key`, other `include`",
            json!({"store": true, "service_tier": "flex", "truncation": "auto", "max_tool_calls": 3, "prompt_cache_key": "k",
                "include": ["message.output_text.logprobs"]}),
            &[],
        ),
        case(
            "reasoning that is sent back",
            json!({"input": [{"role": "user", "content": "go"}, {"type": "reasoning", "summary": [], "encrypted_content": "x"},
                {"role": "assistant", "content": "ok"}, {"role": "user", "content": "on"}]}),
            &["/messages/1"],
        ),
        refused("`previous_response_id`", json!({"previous_response_id": "resp_1"})),
        refused("`conversation`", json!({"conversation": "conv_1"})),
        refused("`background: true`", json!({"background": true})),
        refused("a tool that runs at OpenAI", json!({"tools": [{"type": "web_search"}]})),
        refused("an `item_reference`", json!({"input": [{"type": "item_reference", "id": "msg_1"}]})),
    ]
}

pub(super) fn to_anthropic() -> Vec<Case> {
    let to = deployment(ProviderKind::Anthropic, "claude-sonnet-5", true);
    let case = |says, more, shown| case(&to, says, more, shown);
    vec![
        case(
            "calls, their results, and thoughts that this gateway gave",
            json!({"input": [{"role": "user", "content": "go"},
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "thinking:s"},
                {"type": "function_call", "call_id": "a", "name": "t", "arguments": "{\"x\":1}"},
                {"type": "function_call", "call_id": "b", "name": "t", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "a", "output": "1"},
                {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_image", "image_url": "https://h/p.png"}]}]}),
            &["/messages/1/content", "/messages/2/content/0", "/messages/2/content/1/content", "/messages/3"],
        ),
        case(
            "reasoning of another provider",
            json!({"input": [{"role": "user", "content": "go"}, {"type": "reasoning", "summary": [], "encrypted_content": "x"},
                {"role": "assistant", "content": "ok"}, {"role": "user", "content": "on"}]}),
            &["/messages/1/content"],
        ),
        case("`reasoning.effort`", json!({"reasoning": {"effort": "low"}}), &["/thinking", "/output_config"]),
        case(
            "`reasoning.effort` with a function that must be called",
            json!({"reasoning": {"effort": "low"}, "tools": tools(), "tool_choice": "required"}),
            &["/thinking", "/tool_choice"],
        ),
        case(
            "`text.format` with a schema",
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}}),
            &["/output_config"],
        ),
        case(
            "`text.format: json_object`",
            json!({"text": {"format": {"type": "json_object"}}}),
            &["/output_config"],
        ),
    ]
}
