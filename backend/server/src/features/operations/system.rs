//! `GET /system`: what this installation consists of.

use super::queries::{alive, load, visible};
use crate::{
    db::Error,
    http::{ApiError, Caller},
    state::App,
};
use axum::{Json, extract::State};
use serde::Serialize;
use sqlx::PgConnection;
use syndarix_jobs::WorkerRow;
use syndarix_llm::ProviderKind;
use utoipa::ToSchema;

/// Queues that are shown also when they are empty.
const QUEUES: [&str; 6] = ["agent", "cicd", "default", "git", "index", "sync"];

/// What this installation consists of.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct System {
    /// The version of the program.
    version: &'static str,
    /// This start of this instance.
    instance: uuid::Uuid,
    /// Model groups with their deployments, in the order in which they are tried.
    models: Vec<GroupView>,
    /// What commands of agents are shut in with.
    isolation: IsolationView,
    /// How full the queues are with jobs of the caller's projects.
    queues: Vec<QueueView>,
    /// `embedded` or `external`.
    database: &'static str,
    /// Redis carries live events between instances.
    redis: bool,
}

/// A model group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelGroup)]
struct GroupView {
    /// Its name, as agent types use it.
    group: String,
    /// Tried in this order.
    deployments: Vec<DeploymentView>,
}

/// One model at one provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deployment)]
struct DeploymentView {
    /// Its name.
    name: String,
    /// Whose model it is.
    provider: String,
    /// The model.
    model: String,
    /// A scripted stand-in: what it would cost is shown apart from real money.
    simulated: bool,
}

/// What commands of agents are shut in with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Isolation)]
struct IsolationView {
    /// `none`, `landlock`, `namespaces` or `bubblewrap`.
    level: String,
    /// One sentence: what it consists of here, and what it leaves open.
    detail: String,
}

/// How full a queue is with jobs of the caller's projects.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(super) struct QueueView {
    /// Its name.
    queue: String,
    /// Jobs that could run now.
    depth: i64,
    /// How long the oldest of them has waited; null when there is none.
    oldest_age_seconds: Option<f64>,
    /// Jobs under way.
    running: i64,
    /// Jobs whose time has not come.
    scheduled: i64,
    /// Jobs that were given up.
    dead: i64,
    /// Worker processes that are up and poll it.
    workers: i64,
}

/// What this installation consists of.
#[utoipa::path(get, path = "/system", operation_id = "show_system", tag = "operations",
    responses(
        (status = 200, description = "Version, models, isolation, queues", body = System),
        (status = 401, description = "Nobody is signed in"),
    ))]
pub(super) async fn show_system(State(app): State<App>, caller: Caller) -> Result<Json<System>, ApiError> {
    let projects = visible(app.pool(), caller.user()?).await?;
    let mut conn = app.pool().acquire().await.map_err(Error::from)?;
    Ok(Json(System {
        version: env!("CARGO_PKG_VERSION"),
        instance: app.instance,
        models: models(&app),
        isolation: IsolationView {
            level: app.isolation.level.as_str().to_owned(),
            detail: app.isolation.detail.clone(),
        },
        queues: queues(&mut conn, Some(&projects)).await?,
        database: if app.config.database_url.is_some() { "external" } else { "embedded" },
        redis: app.config.redis_url.is_some(),
    }))
}

fn models(app: &App) -> Vec<GroupView> {
    let groups = app.models.groups.iter().map(|group| GroupView {
        group: group.name.clone(),
        deployments: group
            .chain
            .iter()
            .map(|deployment| DeploymentView {
                name: deployment.name.clone(),
                provider: deployment.vendor().to_owned(),
                model: deployment.model.clone(),
                simulated: deployment.provider == ProviderKind::Scripted,
            })
            .collect(),
    });
    groups.collect()
}

/// The queues by name: the usual ones, and any other that has jobs of these projects.
pub(super) async fn queues(
    conn: &mut PgConnection,
    projects: Option<&[uuid::Uuid]>,
) -> Result<Vec<QueueView>, sqlx::Error> {
    let stats = load(conn, projects).await?;
    let live: Vec<WorkerRow> = syndarix_jobs::workers(conn).await?.into_iter().filter(alive).collect();
    let polled = |queue: &str| {
        let polling = live.iter().filter(|worker| worker.polls(queue)).count();
        i64::try_from(polling).unwrap_or(i64::MAX)
    };
    let mut views: Vec<QueueView> = stats
        .into_iter()
        .map(|queue| QueueView {
            workers: polled(&queue.queue),
            oldest_age_seconds: queue.oldest_ready_seconds,
            queue: queue.queue,
            depth: queue.ready,
            running: queue.running,
            scheduled: queue.delayed,
            dead: queue.dead,
        })
        .collect();
    for name in QUEUES {
        if !views.iter().any(|view| view.queue == name) {
            views.push(QueueView {
                queue: name.to_owned(),
                depth: 0,
                oldest_age_seconds: None,
                running: 0,
                scheduled: 0,
                dead: 0,
                workers: polled(name),
            });
        }
    }
    views.sort_by(|a, b| a.queue.cmp(&b.queue));
    Ok(views)
}
