//! `GET` and `PUT /projects/{project_id}/policy`: which actions a human must agree to.

use super::{
    fields,
    journal::{Category as Kind, changed},
};
use crate::{
    db::{Author, Error},
    http::{Admin, ApiError, Idempotency, ProjectScope, ValidJson, View, idempotent, keyed},
    state::App,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json as Jsonb;
use syndarix_domain::policy::{Action, Answer, Category, Policy, Row};
use utoipa::ToSchema;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AnswerView {
    /// A human.
    Ask,
    /// Nobody: it happens.
    Auto,
}

impl From<Answer> for AnswerView {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Ask => Self::Ask,
            Answer::Auto => Self::Auto,
        }
    }
}

impl From<AnswerView> for Answer {
    fn from(answer: AnswerView) -> Self {
        match answer {
            AnswerView::Ask => Self::Ask,
            AnswerView::Auto => Self::Auto,
        }
    }
}

/// One action of the matrix.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct RowView {
    #[schema(value_type = String)]
    action: Action,
    title: String,
    /// Follows from the answers: `critical`, `milestone`, `routine` or `expertise`.
    #[schema(value_type = String)]
    category: Category,
    full_control: AnswerView,
    milestone: AnswerView,
    autonomous: AnswerView,
}

/// A project's policy.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct PolicyView {
    rows: Vec<RowView>,
    /// From 0 to 1: below this confidence a human is asked at every level.
    threshold: f64,
}

impl From<Policy> for PolicyView {
    fn from(policy: Policy) -> Self {
        let row = |row: Row| RowView {
            action: row.action,
            title: row.action.title().to_owned(),
            category: row.category(),
            full_control: row.full_control.into(),
            milestone: row.milestone.into(),
            autonomous: row.autonomous.into(),
        };
        Self { rows: policy.rows.into_iter().map(row).collect(), threshold: fields::share(policy.threshold) }
    }
}

/// One action of a new matrix.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RowBody {
    #[schema(value_type = String)]
    action: Action,
    /// As it was read; it follows from the action and is not looked at.
    title: Option<String>,
    /// As it was read; it follows from the answers and is not looked at.
    category: Option<String>,
    full_control: AnswerView,
    milestone: AnswerView,
    autonomous: AnswerView,
}

/// A new policy: every action once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyBody {
    rows: Vec<RowBody>,
    /// From 0 to 1, kept in whole percent.
    threshold: f64,
}

impl PolicyBody {
    /// The policy, with its rows in the usual order.
    fn checked(&self) -> Result<Policy, ApiError> {
        let threshold = fields::percent("threshold", self.threshold)?;
        let actions = Policy::default().rows.into_iter().map(|row| row.action);
        let rows = actions.map(|action| self.row(action)).collect::<Result<Vec<_>, _>>()?;
        Ok(Policy { rows, threshold })
    }

    fn row(&self, action: Action) -> Result<Row, ApiError> {
        let wrong = |message: &str| ApiError::invalid("rows", format!("{}: {message}", action.title()));
        let mut named = self.rows.iter().filter(|row| row.action == action);
        let row = named.next().ok_or_else(|| wrong("has no line, and every action needs one"))?;
        if named.next().is_some() {
            return Err(wrong("has more than one line"));
        }
        let answers = [row.full_control, row.milestone, row.autonomous];
        if action == Action::HumanInput && answers.contains(&AnswerView::Auto) {
            return Err(wrong("is always asked: nobody else can answer it"));
        }
        let [full_control, milestone, autonomous] = answers.map(Answer::from);
        Ok(Row { action, full_control, milestone, autonomous })
    }
}

/// A project's policy.
#[utoipa::path(get, path = "/projects/{project_id}/policy", operation_id = "read_policy", tag = "projects",
    params(("project_id" = String, Path, description = "The project")),
    responses((status = 200, description = "The policy", body = PolicyView)))]
pub(super) async fn read(
    State(app): State<App>,
    scope: ProjectScope<View>,
) -> Result<Json<PolicyView>, ApiError> {
    let Jsonb(policy): Jsonb<Policy> = sqlx::query_scalar("select policy from project where id = $1")
        .bind(scope.project().0)
        .fetch_one(app.pool())
        .await?;
    Ok(Json(policy.into()))
}

/// Replace a project's policy. What was asked before keeps the rule that asked it.
#[utoipa::path(put, path = "/projects/{project_id}/policy", operation_id = "replace_policy", tag = "projects",
    params(("project_id" = String, Path, description = "The project")),
    request_body = PolicyBody,
    responses(
        (status = 200, description = "The policy", body = PolicyView),
        (status = 422, description = "An action is missing, there twice, or unknown"),
    ))]
pub(super) async fn replace(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<PolicyBody>,
) -> Result<Json<PolicyView>, ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &body)?;
    let work = || async {
        let after = body.checked()?;
        let mut uow = app.store.begin(author);
        let before: Option<Jsonb<Policy>> =
            sqlx::query_scalar("select policy from project where id = $1 for no key update")
                .bind(scope.project().0)
                .fetch_optional(uow.conn().await?)
                .await?;
        let Jsonb(before) = before.ok_or(Error::NotFound("project"))?;
        if before != after {
            sqlx::query("update project set policy = $2 where id = $1")
                .bind(scope.project().0)
                .bind(Jsonb(&after))
                .execute(uow.conn().await?)
                .await?;
            let what = ("policy", "project.policy_changed", "changed what humans are asked".to_owned());
            let data = json!({ "before": before, "after": after });
            changed(&mut uow, scope.project(), Kind::Permission, what, data);
        }
        Ok(uow.commit_with(after).await?)
    };
    let view = idempotent(&app, author, work, |policy: Policy| async { Ok(PolicyView::from(policy)) });
    Ok(Json(view.await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> PolicyBody {
        let view = PolicyView::from(Policy::default());
        serde_json::from_value(serde_json::to_value(view).unwrap()).unwrap()
    }

    #[test]
    fn what_is_shown_can_be_sent_back() {
        assert_eq!(body().checked().unwrap(), Policy::default());
    }

    #[test]
    fn the_order_of_the_rows_does_not_matter() {
        let mut body = body();
        body.rows.reverse();
        assert_eq!(body.checked().unwrap(), Policy::default());
    }

    #[test]
    fn a_missing_row_a_second_one_and_a_wrong_threshold_are_refused() {
        let mut missing = body();
        missing.rows.pop();
        assert!(missing.checked().unwrap_err().to_string().contains("has no line"));
        let mut twice = body();
        twice.rows.extend(body().rows.pop());
        assert!(twice.checked().unwrap_err().to_string().contains("more than one line"));
        assert!(PolicyBody { threshold: 1.5, ..body() }.checked().is_err());
    }

    #[test]
    fn a_question_to_a_human_cannot_be_answered_by_nobody() {
        let mut body = body();
        for row in body.rows.iter_mut().filter(|row| row.action == Action::HumanInput) {
            row.autonomous = AnswerView::Auto;
        }
        assert!(body.checked().unwrap_err().to_string().contains("always asked"));
    }
}
