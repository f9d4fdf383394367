//! `list_models`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListModels {}

/// The models that the agent may ask.
#[derive(Debug, Serialize)]
pub(crate) struct Models {
    models: Vec<String>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

pub(crate) async fn list_models((): (), ctx: ProjectCtx, _args: ListModels) -> Result<Models, ToolFailure> {
    let page: Page = ctx.backend()?.get(&["v1", "models"], &[]).await?;
    Ok(Models { models: page.data.into_iter().map(|model| model.id).collect() })
}
