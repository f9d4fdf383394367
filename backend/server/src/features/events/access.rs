//! What the caller may follow, asked again while a stream runs: a token ends, a membership is taken away.

use crate::{
    http::{ApiError, Caller, ProjectScope, View},
    state::App,
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderName, request::Parts},
};
use sqlx::PgPool;
use syndarix_domain::ids::{ProjectId, UserId};

/// The most projects in one stream; beyond that the newest.
const MAX_PROJECTS: i64 = 400;

/// The request that a stream began with, to be judged again as if it came now.
pub(super) struct Access {
    pub(super) app: App,
    parts: Parts,
    pub(super) of: Of,
}

/// Whose events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// One project's, named in the path.
    Project,
    /// All that a person may see.
    Person,
}

impl Access {
    pub(super) fn new(app: App, parts: Parts, of: Of) -> Self {
        Self { app, parts, of }
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<String> {
        // An id of ours is ASCII; any other is kept as something that cannot be resumed from.
        self.parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// The projects that the caller may see now.
    pub(super) async fn projects(&self) -> Result<Vec<ProjectId>, ApiError> {
        let mut parts = self.parts.clone();
        // Who it was when the stream began does not count.
        parts.extensions.remove::<Caller>();
        match self.of {
            Of::Project => {
                let scope = ProjectScope::<View>::from_request_parts(&mut parts, &self.app).await?;
                Ok(vec![scope.project()])
            }
            Of::Person => {
                let user = Caller::from_request_parts(&mut parts, &self.app).await?.user()?;
                Ok(visible_to(self.app.pool(), user).await?)
            }
        }
    }
}

/// In an order that stays, so that two answers can be compared.
async fn visible_to(pool: &PgPool, user: UserId) -> Result<Vec<ProjectId>, sqlx::Error> {
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar(
        "select id from (
            select p.id from project_member pm join project p on p.id = pm.project_id where pm.user_id = $1
            union
            select p.id from membership m join project p on p.organisation_id = m.organisation_id
             where m.user_id = $1 and m.role in ('owner', 'admin')
         ) visible order by id desc limit $2",
    )
    .bind(user.0)
    .bind(MAX_PROJECTS)
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(ProjectId).collect())
}
