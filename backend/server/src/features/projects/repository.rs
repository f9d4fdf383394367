//! Where a project's repository comes from, and trying again when it did not come.

use super::{import, places, view::ProjectView};
use crate::{
    config::Config,
    db::{Author, Error, Uow},
    http::{Admin, ApiError, Idempotency, ProjectScope, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json as Jsonb;
use std::path::Path;
use syndarix_domain::{Timestamp, ids::ProjectId};
use syndarix_forge::RemoteSource;
use syndarix_jobs::Filter;
use utoipa::ToSchema;

/// The longest address, in characters.
const MAX_LOCATION: usize = 2000;

/// Where a repository comes from, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", content = "location", rename_all = "snake_case")]
pub enum Source {
    /// A new one, with a README.
    Empty,
    /// A directory on this machine.
    Path(String),
    /// An address that git understands: `https://`, `ssh://` or `user@host:path`.
    Url(String),
}

impl Source {
    /// What git is given to fetch from. None: there is nothing to fetch.
    ///
    /// Whether somebody may name this directory was decided when they did: an operator's command may name more than the
    /// process that does the import lets others name.
    pub(super) fn remote(&self, config: &Config) -> Result<Option<RemoteSource>, String> {
        match self {
            Self::Empty => Ok(None),
            Self::Path(path) => places::local(Path::new(path), config).map(|(source, _)| Some(source)),
            Self::Url(url) if url.trim_start().starts_with('/') => {
                Err("a directory on this machine is a `path`, not a `url`".into())
            }
            Self::Url(url) => RemoteSource::parse(url).map(Some).map_err(|error| error.to_string()),
        }
    }

    /// The address without credentials.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Self::Empty => None,
            Self::Path(path) => Some(path.clone()),
            Self::Url(url) => RemoteSource::parse(url).ok().map(|source| source.to_string()),
        }
    }

    /// What stays once the repository is there: nothing that opens a door.
    pub(super) fn without_credentials(&self) -> Self {
        match self {
            Self::Url(_) => Self::Url(self.shown().unwrap_or_default()),
            other => other.clone(),
        }
    }
}

/// How a body names the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SourceKind {
    /// A new repository with a README.
    Empty,
    /// A directory on the server.
    Path,
    /// An address that git understands.
    Url,
}

/// Where the repository comes from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RepositoryBody {
    source: SourceKind,
    /// The directory or the address; left out when the source is `empty`.
    location: Option<String>,
}

impl RepositoryBody {
    /// The checked source.
    pub(super) fn checked(&self, config: &Config) -> Result<Source, ApiError> {
        let wrong = |message: String| ApiError::invalid("repository.location", message);
        let location = self.location.as_deref().map(str::trim).filter(|location| !location.is_empty());
        let source = match (self.source, location) {
            (SourceKind::Empty, None) => Source::Empty,
            (SourceKind::Empty, Some(_)) => return Err(wrong("an empty repository has no location".into())),
            (_, None) => return Err(wrong("is missing".into())),
            (_, Some(location)) if location.chars().count() > MAX_LOCATION => {
                return Err(wrong(format!("must have at most {MAX_LOCATION} characters")));
            }
            (SourceKind::Path, Some(path)) => Source::Path(path.into()),
            (SourceKind::Url, Some(url)) => Source::Url(url.into()),
        };
        if let Source::Path(path) = &source {
            places::may_name(Path::new(path), config).map_err(wrong)?;
        }
        source.remote(config).map_err(wrong)?;
        Ok(source)
    }
}

/// Another attempt to bring the repository.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// Another source; when nothing is said, the same again.
    repository: Option<RepositoryBody>,
}

/// Try again to bring the repository, from the same place or from another one.
#[utoipa::path(post, path = "/projects/{project_id}/repository/retry", operation_id = "retry_repository",
    tag = "projects", params(("project_id" = String, Path, description = "The project")),
    request_body = Retry,
    responses(
        (status = 200, description = "The project; its repository is being imported", body = ProjectView),
        (status = 409, description = "`repository_not_failed`"),
        (status = 422, description = "The location cannot be one"),
    ))]
pub(super) async fn retry(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<Retry>,
) -> Result<Json<ProjectView>, ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &body)?;
    let work = || async {
        let source = body.repository.as_ref().map(|body| body.checked(&app.config)).transpose()?;
        let mut uow = app.store.begin(author);
        begin_again(&mut uow, scope.project(), source.as_ref()).await?;
        let shown = source.as_ref().and_then(Source::shown);
        let data = json!({ "changed": "repository", "location": shown });
        uow.announce(scope.project(), "project", scope.project(), "project.updated", data);
        uow.enqueue(import::job(scope.project()))?;
        uow.commit().await?;
        Ok(())
    };
    Ok(Json(idempotent(&app, author, work, |()| ProjectView::read(&app, &scope)).await?))
}

/// Has the project wait for its repository once more. A project that waits although no job works on it, because
/// that one went to the dead letters, counts as failed.
async fn begin_again(uow: &mut Uow, project: ProjectId, source: Option<&Source>) -> Result<(), ApiError> {
    let filter = Filter { project: Some(project.0), kind: Some(import::KIND.into()), ..Filter::default() };
    let under_way = !syndarix_jobs::list(uow.conn().await?, &filter).await?.is_empty();
    let again = sqlx::query(
        "update project set repository_state = 'importing', repository_detail = '',
                repository_source = coalesce($2, repository_source)
         where id = $1 and (repository_state = 'failed' or (repository_state = 'importing' and not $3))",
    )
    .bind(project.0)
    .bind(source.map(Jsonb))
    .bind(under_way)
    .execute(uow.conn().await?)
    .await?;
    if again.rows_affected() == 1 {
        return Ok(());
    }
    Err(ApiError::conflict(
        "repository_not_failed",
        "the repository is there, or on its way: there is nothing to try again",
    ))
}

/// What the import job works on: the source, and the name and age of the project. None when there is nothing to do.
pub(super) async fn awaited(
    app: &App,
    project: ProjectId,
) -> Result<Option<(Source, String, Timestamp)>, Error> {
    let row: Option<(Jsonb<Source>, String, Timestamp)> = sqlx::query_as(
        "select repository_source, name, created_at from project where id = $1 and repository_state = 'importing'",
    )
    .bind(project.0)
    .fetch_optional(app.pool())
    .await?;
    Ok(row.map(|(Jsonb(source), name, at)| (source, name, at)))
}
