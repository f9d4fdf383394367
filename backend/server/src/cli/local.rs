//! Commands that read and write go through the very operations of the API, in this process, on the configured
//! database, in the name of a user: what the API would refuse, a command refuses, with the same sentence.

use super::{Failure, Global};
use crate::{
    http,
    lifecycle::{self, Session},
    state::App,
};
use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use serde_json::Value;
use sqlx::PgExecutor;
use syndarix_domain::ids::UserId;
use tower::ServiceExt;
use uuid::Uuid;

/// The largest answer that is read: a page of the largest list.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The application on the configured database, for one command.
pub(super) struct Local {
    session: Session,
    pub(super) app: App,
    router: Router,
    token: Option<String>,
}

impl Local {
    /// Opens the database and brings its schema up to date; nobody is signed in.
    pub(super) async fn open(global: &Global) -> Result<Self, Failure> {
        let mut config = global.config()?;
        // Who runs commands on this data directory can read any directory that the process can.
        config.import_from.push("/".into());
        let session = Session::open(&config).await?;
        match lifecycle::offline(config, session.pool().clone()).await {
            Ok(app) => Ok(Self { router: http::router(app.clone()), app, session, token: None }),
            Err(error) => {
                session.close().await;
                Err(error.into())
            }
        }
    }

    /// Opens the database and runs a command in the name of `--as`, or of the only user there is.
    pub(super) async fn run<T, F>(global: &Global, work: F) -> Result<T, Failure>
    where
        F: AsyncFnOnce(&Self) -> Result<T, Failure>,
    {
        let mut local = Self::open(global).await?;
        let done = match local.sign_in(global.user.as_deref()).await {
            Ok(()) => work(&local).await,
            Err(failure) => Err(failure),
        };
        local.close().await;
        done
    }

    async fn sign_in(&mut self, email: Option<&str>) -> Result<(), Failure> {
        let wanted = email.map(str::to_lowercase);
        let users: Vec<(Uuid, i32)> = sqlx::query_as(
            "select id, token_epoch from app_user where $1::text is null or email = $1 order by created_at limit 2",
        )
        .bind(&wanted)
        .fetch_all(self.app.pool())
        .await?;
        let (user, epoch) = match (users.as_slice(), &wanted) {
            ([one], _) => *one,
            ([], Some(email)) => {
                return Err(Failure::new(format!("there is no user {email}; see `syndarix user list`")));
            }
            ([], None) => {
                return Err(Failure::new("there is no user yet; make one with `syndarix user create`"));
            }
            _ => return Err(Failure::new("there are several users; say in whose name with --as EMAIL")),
        };
        let token = self.app.keys.sign_access(UserId(user), epoch).map_err(Failure::of)?;
        self.token = Some(token);
        Ok(())
    }

    /// Closes the database.
    pub(super) async fn close(self) {
        let Self { session, app, router, .. } = self;
        drop((app, router));
        session.close().await;
    }

    /// `GET /api/v1<path>`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None).await
    }

    /// `POST /api/v1<path>`.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// `DELETE /api/v1<path>`.
    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::DELETE, path, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(Failure::of)?;
        let answer = self.router.clone().oneshot(request).await.map_err(Failure::of)?;
        let status = answer.status();
        let bytes = axum::body::to_bytes(answer.into_body(), MAX_ANSWER).await.map_err(Failure::of)?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let detail = value["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        Err(Failure::new(detail))
    }

    /// Everything of a list, page by page, that fits.
    pub(super) async fn all(&self, path: &str, fits: impl Fn(&Value) -> bool) -> Result<Vec<Value>, Failure> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{mark}limit=200{cursor}")).await?;
            found.extend(items(&page).filter(|item| fits(item)).cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", encoded(next)),
                None => return Ok(found),
            }
        }
    }

    /// The project that somebody means by its id or its name.
    pub(super) async fn project(&self, wanted: &str) -> Result<Value, Failure> {
        if wanted.parse::<Uuid>().is_ok() {
            return self.get(&format!("/projects/{wanted}")).await;
        }
        let found = self.all("/projects", |project| project["name"] == wanted).await?;
        only(found, &PROJECTS, wanted)
    }

    /// The id of what somebody means by its id or its name, in a list. What is revoked is found by its id only.
    pub(super) async fn id_in(&self, list: &str, names: &Names, wanted: &str) -> Result<String, Failure> {
        if let Ok(id) = wanted.parse::<Uuid>() {
            return Ok(id.to_string());
        }
        let fits = |one: &Value| one["name"] == wanted && one["revoked_at"].is_null();
        let found = only(self.all(list, fits).await?, names, wanted)?;
        Ok(text(&found, "id").to_owned())
    }
}

/// What people find by its name, and where they see which names there are.
pub(super) struct Names {
    pub(super) what: &'static str,
    pub(super) see: &'static str,
}

const PROJECTS: Names = Names { what: "project", see: "`syndarix project list`" };

/// The only one that was found: of several, none is guessed.
fn only<T>(found: Vec<T>, Names { what, see }: &Names, wanted: &str) -> Result<T, Failure> {
    let several = found.len() > 1;
    found.into_iter().next().filter(|_| !several).ok_or_else(|| {
        Failure::new(if several {
            format!("several {what}s are called `{wanted}`: use an id")
        } else {
            format!("there is no {what} `{wanted}`; see {see}")
        })
    })
}

/// The id of the project that an operator means by its id or its name, whoever's it is. An id need not be a project's.
pub(super) async fn project_id(db: impl PgExecutor<'_>, wanted: &str) -> Result<Uuid, Failure> {
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    let found: Vec<Uuid> = sqlx::query_scalar("select id from project where name = $1 limit 2")
        .bind(wanted)
        .fetch_all(db)
        .await?;
    only(found, &PROJECTS, wanted)
}

/// A value for a query.
pub(super) fn encoded(value: &str) -> String {
    url::form_urlencoded::byte_serialize(value.as_bytes()).collect()
}

/// The items of a list.
pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// A field that is text.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}
