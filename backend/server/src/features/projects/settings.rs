//! `PATCH /projects/{project_id}`: name, autonomy, confidence threshold, test command, agent limit, kept answers,
//! credentials in prompts.

use super::{
    create::refused,
    fields,
    journal::{Category, changed},
    view::ProjectView,
};
use crate::{
    db::{Author, Error, Uow},
    features::{auth, gateway, llm::SecretsInPrompts},
    http::{Admin, ApiError, Idempotency, ProjectScope, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;
use sqlx::types::Json as Jsonb;
use syndarix_domain::{
    ids::ProjectId,
    policy::{Autonomy, Policy},
};
use utoipa::ToSchema;

/// What is to be different. What is left out stays.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeProject {
    /// Unique within the organisation; 1 to 200 characters.
    name: Option<String>,
    /// `full_control`, `milestone` or `autonomous`.
    #[schema(value_type = Option<String>)]
    autonomy: Option<Autonomy>,
    /// From 0 to 1, kept in whole percent.
    confidence_threshold: Option<f64>,
    /// At most 500 characters; null for none.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[schema(value_type = Option<String>)]
    test_command: Given<String>,
    /// How many agents it may have at once, from 1 to 1000. Agents above a lowered limit stay.
    agent_limit: Option<i32>,
    /// What is done about credentials in what is said to models: `off`, `report` or `redact`.
    secrets_in_prompts: Option<SecretsInPrompts>,
    /// For so many seconds, at most a week, the gateway gives an answer again to the same question; null: never.
    #[serde(default, skip_serializing_if = "Given::is_absent")]
    #[schema(value_type = Option<i32>)]
    gateway_cache_seconds: Given<i32>,
}

/// A field that null clears: not there, null, or a value.
#[derive(Debug, Default)]
enum Given<T> {
    #[default]
    Absent,
    Present(Option<T>),
}

impl<T> Given<T> {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T: Serialize> Serialize for Given<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => serializer.serialize_none(),
            Self::Present(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Present)
    }
}

/// What is stored now.
struct Settings {
    name: String,
    autonomy: Autonomy,
    policy: Policy,
    test_command: Option<String>,
    agent_limit: i32,
    secrets_in_prompts: SecretsInPrompts,
    gateway_cache_seconds: Option<i32>,
}

/// Change a project's settings.
#[utoipa::path(patch, path = "/projects/{project_id}", operation_id = "change_project", tag = "projects",
    params(("project_id" = String, Path, description = "The project")),
    request_body = ChangeProject,
    responses(
        (status = 200, description = "The project", body = ProjectView),
        (status = 409, description = "`name_taken`"),
        (status = 422, description = "A field is wrong"),
    ))]
pub(super) async fn change(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<ChangeProject>,
) -> Result<Json<ProjectView>, ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &body)?;
    let work = || async {
        let mut uow = app.store.begin(author);
        let before = load(&mut uow, scope.project()).await?;
        let after = body.applied_to(&before)?;
        store(&mut uow, scope.project(), &after).await.map_err(refused)?;
        record(&mut uow, scope.project(), &before, &after);
        let other_cache = before.gateway_cache_seconds != after.gateway_cache_seconds;
        if other_cache {
            // What was kept under another promise is not given out under this one.
            gateway::forget_answers(&mut uow, scope.project()).await?;
        }
        uow.commit().await?;
        app.gateway.forget();
        if other_cache {
            app.gateway.forget_settings(scope.project());
        }
        Ok(())
    };
    Ok(Json(idempotent(&app, author, work, |()| ProjectView::read(&app, &scope)).await?))
}

impl ChangeProject {
    fn applied_to(&self, before: &Settings) -> Result<Settings, ApiError> {
        let mut policy = before.policy.clone();
        if let Some(share) = self.confidence_threshold {
            policy.threshold = fields::percent("confidence_threshold", share)?;
        }
        Ok(Settings {
            name: match &self.name {
                Some(name) => auth::named("name", name)?,
                None => before.name.clone(),
            },
            autonomy: self.autonomy.unwrap_or(before.autonomy),
            policy,
            test_command: match &self.test_command {
                Given::Present(command) => fields::test_command(command.as_deref())?,
                Given::Absent => before.test_command.clone(),
            },
            agent_limit: self.agent_limit.map_or(Ok(before.agent_limit), fields::agent_limit)?,
            secrets_in_prompts: self.secrets_in_prompts.unwrap_or(before.secrets_in_prompts),
            gateway_cache_seconds: match &self.gateway_cache_seconds {
                Given::Present(seconds) => fields::gateway_cache_seconds(*seconds)?,
                Given::Absent => before.gateway_cache_seconds,
            },
        })
    }
}

/// Locked, so that what is recorded as the state before is what was there.
async fn load(uow: &mut Uow, project: ProjectId) -> Result<Settings, Error> {
    let (name, autonomy, Jsonb(policy), test_command, agent_limit, secrets_in_prompts, gateway_cache_seconds): (
        String,
        String,
        Jsonb<Policy>,
        Option<String>,
        i32,
        SecretsInPrompts,
        Option<i32>,
    ) = sqlx::query_as(
        "select name, autonomy, policy, test_command, agent_limit, secrets_in_prompts, gateway_cache_seconds
           from project where id = $1 for no key update",
    )
    .bind(project.0)
    .fetch_optional(uow.conn().await?)
    .await?
    .ok_or(Error::NotFound("project"))?;
    let autonomy = fields::autonomy(&autonomy);
    Ok(Settings {
        name,
        autonomy,
        policy,
        test_command,
        agent_limit,
        secrets_in_prompts,
        gateway_cache_seconds,
    })
}

async fn store(uow: &mut Uow, project: ProjectId, settings: &Settings) -> Result<(), Error> {
    sqlx::query(
        "update project set name = $2, autonomy = $3, policy = $4, test_command = $5, agent_limit = $6,
                            secrets_in_prompts = $7, gateway_cache_seconds = $8
          where id = $1",
    )
    .bind(project.0)
    .bind(&settings.name)
    .bind(settings.autonomy.name())
    .bind(Jsonb(&settings.policy))
    .bind(&settings.test_command)
    .bind(settings.agent_limit)
    .bind(settings.secrets_in_prompts)
    .bind(settings.gateway_cache_seconds)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// One entry for each thing that is different now.
fn record(uow: &mut Uow, project: ProjectId, before: &Settings, after: &Settings) {
    if before.name != after.name {
        let what = ("name", "project.renamed", format!("renamed the project to {}", after.name));
        let data = json!({ "before": before.name, "after": after.name });
        changed(uow, project, Category::Configuration, what, data);
    }
    if before.autonomy != after.autonomy {
        let action = format!("set the autonomy to {}", after.autonomy.name());
        let data = json!({ "before": before.autonomy, "after": after.autonomy });
        changed(uow, project, Category::Permission, ("autonomy", "project.autonomy_changed", action), data);
    }
    let (old, new) = (before.policy.threshold, after.policy.threshold);
    if old != new {
        let action = format!("set the confidence threshold to {new} %");
        let what = ("confidence_threshold", "project.threshold_changed", action);
        changed(uow, project, Category::Permission, what, json!({ "before": old, "after": new }));
    }
    if before.agent_limit != after.agent_limit {
        let action = format!("set the limit of agents to {}", after.agent_limit);
        let data = json!({ "before": before.agent_limit, "after": after.agent_limit });
        let what = ("agent_limit", "project.agent_limit_changed", action);
        changed(uow, project, Category::Configuration, what, data);
    }
    let (old, new) = (before.secrets_in_prompts, after.secrets_in_prompts);
    if old != new {
        let action = format!("set what is done about credentials in prompts to {}", new.name());
        let what = ("secrets_in_prompts", "project.secrets_in_prompts_changed", action);
        changed(uow, project, Category::Permission, what, json!({ "before": old, "after": new }));
    }
    if before.gateway_cache_seconds != after.gateway_cache_seconds {
        let action = match after.gateway_cache_seconds {
            Some(seconds) => format!("had models' answers given again for {seconds} s"),
            None => "had no answer of a model given again".to_owned(),
        };
        let data = json!({ "before": before.gateway_cache_seconds, "after": after.gateway_cache_seconds });
        let what = ("gateway_cache_seconds", "project.gateway_cache_changed", action);
        changed(uow, project, Category::Configuration, what, data);
    }
    if before.test_command != after.test_command {
        let what =
            ("test_command", "project.test_command_changed", "changed how the tests are run".to_owned());
        let data = json!({ "before": before.test_command, "after": after.test_command });
        changed(uow, project, Category::Configuration, what, data);
    }
}
