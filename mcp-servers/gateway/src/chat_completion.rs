//! `chat_completion`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::{
    PATIENCE,
    conversation::{Message, check},
};

/// The longest answer unless asked otherwise, in tokens.
const DEFAULT_MAX_TOKENS: u32 = 4_096;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatCompletion {
    /// A name of `list_models`.
    model: String,
    messages: Vec<Message>,
    /// The longest answer; 4096 by default. The smaller it is, the less of the budget the call holds meanwhile.
    max_tokens: Option<u32>,
    temperature: Option<f64>,
    /// JSON Schema that the answer must have the shape of.
    json_schema: Option<Map<String, Value>>,
}

/// What the model answered.
#[derive(Debug, Serialize)]
pub(crate) struct Answered {
    text: String,
    /// stop, length, or why else it ended.
    finish_reason: String,
    /// Who answered: a name of the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    tokens_in: u64,
    tokens_out: u64,
    /// A script answered, not a model.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
}

/// As the gateway answers.
#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Default, Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

pub(crate) async fn chat_completion(
    (): (),
    ctx: ProjectCtx,
    args: ChatCompletion,
) -> Result<Answered, ToolFailure> {
    check(&args.model, &args.messages)?;
    let backend = ctx.backend()?.with_patience(PATIENCE);
    let (completion, headers): (Completion, _) =
        backend.post_heard(&["v1", "chat", "completions"], &body(&args)).await?;
    let choice = completion.choices.into_iter().next();
    let choice = choice.ok_or_else(|| ToolFailure::unavailable("The model answered nothing; ask again."))?;
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Ok(Answered {
        text: choice.message.content.or(choice.message.refusal).unwrap_or_default(),
        finish_reason: choice.finish_reason.unwrap_or_default(),
        deployment: said("x-syndarix-deployment").map(str::to_owned),
        simulated: said("x-syndarix-simulated") == Some("true"),
        tokens_in: completion.usage.prompt_tokens,
        tokens_out: completion.usage.completion_tokens,
    })
}

fn body(args: &ChatCompletion) -> Value {
    let mut body = json!({
        "model": args.model,
        "messages": args.messages,
        "max_tokens": args.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
    });
    if let Some(temperature) = args.temperature {
        body["temperature"] = temperature.into();
    }
    if let Some(schema) = &args.json_schema {
        let wanted = json!({ "name": "answer", "schema": schema, "strict": true });
        body["response_format"] = json!({ "type": "json_schema", "json_schema": wanted });
    }
    body
}
