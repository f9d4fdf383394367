//! What is done about credentials in prompts, before they leave: nothing, say so, or take them out.
//!
//! Invariants: what is found is in the audit before the call goes out, as counts and never as values; without a record there
//! is no call; with `off`, and where nothing is found, the request goes out as it came.

use super::call::Purpose;
use crate::{
    db::{Author, Error, audit},
    state::App,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use syndarix_llm::{ChatRequest, Found, ModelGroups, Native, Redactor, inbound::WireError};
use utoipa::ToSchema;

/// What a project wants done about credentials in what it says to models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case", type_name = "text")]
pub enum SecretsInPrompts {
    /// Nobody looks.
    #[default]
    Off,
    /// The audit says how many of which kind; they are sent.
    Report,
    /// The audit says it, and `[redacted: KIND]` is sent instead.
    Redact,
}

impl SecretsInPrompts {
    /// As it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Report => "report",
            Self::Redact => "redact",
        }
    }
}

/// What looks at a project's prompts.
#[derive(Debug)]
pub struct Screen {
    mode: SecretsInPrompts,
    redactor: Redactor,
}

impl Screen {
    /// For a project with these models, whose keys no prompt may hold either. `None`: nobody looks.
    pub fn of(mode: SecretsInPrompts, groups: &ModelGroups) -> Result<Option<Self>, Error> {
        if mode == SecretsInPrompts::Off {
            return Ok(None);
        }
        let of_groups = groups.iter().flat_map(|group| &group.chain);
        let keys = groups.deployments().chain(of_groups).filter_map(|one| one.api_key.as_ref());
        let redactor = Redactor::new(keys).map_err(|error| Error::Outside(error.to_string()))?;
        Ok(Some(Self { mode, redactor }))
    }
}

/// What is sent instead of an agent's request; `None`: the request itself.
pub(super) async fn request(
    app: &App,
    purpose: &Purpose,
    request: &ChatRequest,
) -> Result<Option<ChatRequest>, Error> {
    look(app, purpose, |redactor| redactor.request(request)).await
}

/// What is sent instead of a client's request; `None`: the request itself.
pub(super) async fn native(app: &App, purpose: &Purpose, native: &Native) -> Result<Option<Native>, Error> {
    look(app, purpose, |redactor| redactor.native(native)).await
}

async fn look<T>(
    app: &App,
    purpose: &Purpose,
    clean: impl FnOnce(&Redactor) -> Result<(Option<T>, Found), WireError>,
) -> Result<Option<T>, Error> {
    let Some(screen) = app.gateway.screen_of(app, purpose.project).await? else { return Ok(None) };
    let (cleaned, found) = clean(&screen.redactor).map_err(|error| Error::Outside(error.to_string()))?;
    if found.is_empty() {
        return Ok(None);
    }
    record(app, purpose, screen.mode, &found).await?;
    Ok(cleaned.filter(|_| screen.mode == SecretsInPrompts::Redact))
}

async fn record(app: &App, purpose: &Purpose, mode: SecretsInPrompts, found: &Found) -> Result<(), Error> {
    let mut uow = app.store.begin(Author::of(purpose.actor()));
    let done = if mode == SecretsInPrompts::Redact { "were taken out" } else { "were sent" };
    let kinds: Vec<String> = found.iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
    let entry = audit::Entry {
        id: uow.new_id(),
        project: Some(purpose.project),
        event_type: "prompt.secrets_found".into(),
        category: "gateway".into(),
        severity: audit::Severity::Warning,
        actor: purpose.actor(),
        action: format!("found credentials in a prompt, which {done}: {}", kinds.join(", ")),
        data: json!({
            "call_id": purpose.call, "run_id": purpose.run, "key_id": purpose.key, "mode": mode, "found": found,
        }),
        at: uow.now(),
    };
    uow.audit(entry);
    uow.commit().await?;
    Ok(())
}
