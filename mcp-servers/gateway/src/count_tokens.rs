//! `count_tokens`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::conversation::{Message, Role, check};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountTokens {
    /// A name of `list_models`.
    model: String,
    messages: Vec<Message>,
}

/// How large a prompt is.
#[derive(Debug, Serialize)]
pub(crate) struct Counted {
    tokens: u64,
    /// It is counted here, not by the model.
    estimated: bool,
}

#[derive(Deserialize)]
struct Answer {
    input_tokens: u64,
}

pub(crate) async fn count_tokens((): (), ctx: ProjectCtx, args: CountTokens) -> Result<Counted, ToolFailure> {
    check(&args.model, &args.messages)?;
    let (system, messages): (Vec<Message>, Vec<Message>) =
        args.messages.into_iter().partition(|message| message.role == Role::System);
    let system: Vec<&str> = system.iter().map(|message| message.content.as_str()).collect();
    let body = json!({ "model": args.model, "system": system.join("\n\n"), "messages": messages });
    let answer: Answer = ctx.backend()?.post(&["v1", "messages", "count_tokens"], &body).await?;
    Ok(Counted { tokens: answer.input_tokens, estimated: true })
}
