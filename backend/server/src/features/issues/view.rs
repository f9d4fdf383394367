//! An issue as the API shows it.

use super::queries::IssueRow;
use crate::features::workflow::AuthorView;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// An issue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Issue)]
pub struct IssueView {
    /// Its id, as events name it.
    pub id: Uuid,
    /// The project it belongs to.
    pub project_id: Uuid,
    /// 1, 2, 3 within the project.
    pub number: i64,
    /// One line.
    pub title: String,
    /// The text, Markdown; null in lists.
    pub body: Option<String>,
    /// open or closed.
    pub state: String,
    /// Labels.
    pub labels: Vec<String>,
    /// Who shall do it.
    pub assignee: Option<String>,
    /// The story it is about.
    pub story_id: Option<Uuid>,
    /// Who wrote it.
    pub author: AuthorView,
    /// How many comments it has.
    pub comments: i64,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it or its comments changed last.
    pub updated_at: DateTime<Utc>,
    /// When it was closed.
    pub closed_at: Option<DateTime<Utc>>,
}

impl IssueView {
    /// With the names of its author.
    pub(super) fn of(row: IssueRow, names: &HashMap<Uuid, String>) -> Self {
        let author = row.author.0;
        let name = author.id().and_then(|id| names.get(&id)).map(String::as_str);
        Self {
            id: row.id,
            project_id: row.project_id,
            number: row.number,
            title: row.title,
            body: row.body,
            state: row.state,
            labels: row.labels,
            assignee: row.assignee,
            story_id: row.story_id,
            author: AuthorView::of(author, name),
            comments: row.comments,
            created_at: row.created_at,
            updated_at: row.updated_at,
            closed_at: row.closed_at,
        }
    }
}
