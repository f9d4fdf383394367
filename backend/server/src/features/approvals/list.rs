//! The inbox: the questions of every project that a person sees, or of one project.

use super::{
    queries::{self, Wanted},
    views::{ApprovalView, categories_of},
};
use crate::{
    http::{ApiError, Caller, List, Page, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(inbox)).routes(routes!(list_approvals))
}

/// Which questions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// pending (when nothing is said), decided (everything that is over), all.
    state: Option<String>,
    /// Of this project only.
    project_id: Option<Uuid>,
    /// critical, milestone, routine, uncertainty, expertise.
    category: Option<String>,
    /// critical, milestone, routine.
    lane: Option<String>,
    /// At most this many items, 1 to 200.
    limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    cursor: Option<String>,
}

impl Filter {
    fn page(&self) -> Page {
        Page { limit: self.limit, cursor: self.cursor.clone() }
    }

    fn wanted(&self, unsaid: Option<bool>) -> Result<Wanted, ApiError> {
        let pending = match self.state.as_deref() {
            None => unsaid,
            Some("pending") => Some(true),
            Some("decided") => Some(false),
            Some("all") => None,
            Some(_) => return Err(ApiError::invalid("state", "is pending, decided or all")),
        };
        let lane = self.lane.as_deref().map(|lane| {
            categories_of(lane).ok_or_else(|| ApiError::invalid("lane", "is critical, milestone or routine"))
        });
        let categories = match (lane.transpose()?, self.category.as_deref()) {
            (None, None) => None,
            (None, Some(category)) => Some(vec![category.to_owned()]),
            (Some(lane), category) => {
                let both = lane.iter().filter(|one| category.is_none_or(|category| category == **one));
                Some(both.map(|one| (*one).to_owned()).collect())
            }
        };
        Ok(Wanted { pending, project: self.project_id, categories })
    }
}

/// The inbox.
#[derive(Debug, Serialize, ToSchema)]
pub struct Inbox {
    /// The questions: open ones first, in the order in which they lapse; then those that are over, the newest first.
    pub items: Vec<ApprovalView>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
    /// Open questions of all projects that the caller sees, whatever the filter.
    pub unresolved: i64,
}

#[utoipa::path(get, path = "/approvals", operation_id = "inbox", tag = "approvals", params(Filter),
    responses((status = 200, body = Inbox), (status = 401), (status = 403), (status = 422)))]
async fn inbox(
    State(app): State<App>,
    caller: Caller,
    ValidQuery(filter): ValidQuery<Filter>,
) -> Result<Json<Inbox>, ApiError> {
    let user = caller.user()?;
    let page = filter.page();
    let wanted = filter.wanted(Some(true))?;
    let found = queries::inbox(app.pool(), user, &wanted, (page.limit()?, page.after()?)).await?;
    let List { items, next_cursor } = List::keyed(found, &page, ApprovalView::place)?;
    let unresolved = queries::unresolved(app.pool(), user).await?;
    Ok(Json(Inbox { items, next_cursor, unresolved }))
}

#[utoipa::path(get, path = "/projects/{project_id}/approvals", operation_id = "list_approvals", tag = "approvals",
    params(("project_id" = Uuid, Path), Filter),
    responses((status = 200, body = List<ApprovalView>), (status = 404), (status = 422)))]
async fn list_approvals(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(filter): ValidQuery<Filter>,
) -> Result<Json<List<ApprovalView>>, ApiError> {
    let page = filter.page();
    let window = (page.limit()?, page.after()?);
    let found = queries::of_project(app.pool(), scope.project(), &filter.wanted(None)?, window).await?;
    Ok(Json(List::keyed(found, &page, ApprovalView::place)?))
}
