//! The engine by itself: durable transitions.

use crate::{
    Failure,
    figures::{Figures, as_served, cpu_seconds_of, percentile},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use syndarix::db::{Author, Claim, Store, retry_conflicts};
use syndarix_domain::{
    ids::{CommandId, ProjectId, SprintId, StoryId},
    sprint::{self, Sprint},
    story::{Command, New, Story},
};
use tokio::task::JoinSet;

/// Stories moved at the same time.
const STORIES: usize = 32;
/// Projects that they are spread over: the log's head serialises the commits of one.
pub(crate) const PROJECTS: usize = 8;

/// Most streams moved at the same time.
pub(crate) const MOST: usize = 256;

/// How long each figure is taken, and of whose CPU seconds.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) postmaster: u32,
    pub(crate) span: Duration,
    /// A process that works beside ours and for it.
    pub(crate) beside: Option<u32>,
}

impl Measured {
    pub(crate) fn cpu_seconds(self) -> f64 {
        let ours = [Some(std::process::id()), self.beside].into_iter().flatten();
        cpu_seconds_of(&ours.collect::<Vec<_>>(), Some(self.postmaster))
    }
}

/// Moves of single streams, so many of them at a time.
pub(crate) async fn streams(
    store: &Store,
    streams: usize,
    by: Measured,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let name =
        if streams == 1 { "transitions, one stream" } else { &format!("transitions, {streams} streams") };
    renames(store, streams, name, by, figures, &settings(store, streams).await?).await.map(drop)
}

/// The same with most streams, each command under an idempotency key of its own.
pub(crate) async fn keyed(store: &Store, by: Measured, figures: &mut Figures) -> Result<(), Failure> {
    let tasks = sprints(store, MOST).await?.into_iter().map(|(project, sprint)| {
        let store = store.clone();
        let keyed = {
            let store = store.clone();
            move || {
                let id = CommandId(store.new_id());
                Author::system().claiming(Claim { id, request: [0; 32] })
            }
        };
        move |until| async move { rename(&store, project, sprint, keyed, until).await }
    });
    let settings = settings(store, MOST).await?;
    rate("transitions under keys, 256 streams", tasks, by, figures, &settings).await.map(drop)
}

async fn settings(store: &Store, streams: usize) -> Result<Value, Failure> {
    let own = json!({ "streams": streams, "projects": PROJECTS.min(streams), "audit": "on" });
    as_served(store.pool(), own).await
}

/// So many sprints, each given another name again and again; the rate, and that per CPU second.
pub(crate) async fn renames(
    store: &Store,
    streams: usize,
    name: &str,
    by: Measured,
    figures: &mut Figures,
    settings: &Value,
) -> Result<(f64, f64), Failure> {
    let tasks = sprints(store, streams).await?.into_iter().map(|(project, sprint)| {
        let store = store.clone();
        move |until| async move { rename(&store, project, sprint, Author::system, until).await }
    });
    rate(name, tasks, by, figures, settings).await
}

/// So many sprints of up to eight projects.
async fn sprints(store: &Store, streams: usize) -> Result<Vec<(ProjectId, SprintId)>, Failure> {
    let mut sprints = Vec::new();
    let projects = PROJECTS.min(streams);
    for _ in 0..projects {
        let project = project(store).await?;
        for _ in 0..streams / projects {
            sprints.push((project, own_sprint(store, project).await?));
        }
    }
    Ok(sprints)
}

/// Moves stories into a sprint of their own and out again: the events, state rows and audit entries of both machines are
/// one commit, and count as one transition.
pub(crate) async fn stories(store: &Store, by: Measured, figures: &mut Figures) -> Result<(), Failure> {
    let mut stories = Vec::new();
    for _ in 0..PROJECTS {
        let project = project(store).await?;
        for number in 0..STORIES / PROJECTS {
            stories.push((project, story(store, project, i64::try_from(number)?).await?));
        }
    }
    let tasks = stories.into_iter().map(|(project, id)| {
        let store = store.clone();
        move |until| async move { move_about(&store, project, id, until).await }
    });
    rate("story transitions", tasks, by, figures, &settings(store, STORIES).await?).await?;
    Ok(())
}

/// Runs the tasks side by side until the time is over: their rate, median and 99th percentile. Gives the rate, and that
/// per CPU second.
async fn rate<F, Fut>(
    name: &str,
    tasks: impl IntoIterator<Item = F>,
    by: Measured,
    figures: &mut Figures,
    settings: &Value,
) -> Result<(f64, f64), Failure>
where
    F: FnOnce(Instant) -> Fut,
    Fut: Future<Output = Result<Vec<Duration>, Failure>> + Send + 'static,
{
    let (cpu, begun) = (by.cpu_seconds(), Instant::now());
    let mut running = JoinSet::new();
    for task in tasks {
        running.spawn(task(begun + by.span));
    }
    let mut samples: Vec<Duration> = Vec::new();
    while let Some(moved) = running.join_next().await {
        samples.extend(moved??);
    }
    let took = (begun.elapsed().as_secs_f64(), by.cpu_seconds() - cpu);
    report(name, samples, took, figures, settings)
}

/// Adds what so many samples in so many seconds of wall and CPU come to: their rate, median and 99th percentile. Gives the
/// rate, and that per CPU second.
pub(crate) fn report(
    name: &str,
    mut samples: Vec<Duration>,
    (wall, cpu): (f64, f64),
    figures: &mut Figures,
    settings: &Value,
) -> Result<(f64, f64), Failure> {
    samples.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = samples.len() as f64;
    figures.add(name, (count / wall, "per second"), Some(count / cpu), settings)?;
    figures.add(&format!("{name}, median"), (percentile(&samples, 0.5), "ms"), None, settings)?;
    figures.add(&format!("{name}, p99"), (percentile(&samples, 0.99), "ms"), None, settings)?;
    Ok((count / wall, count / cpu))
}

async fn rename(
    store: &Store,
    project: ProjectId,
    id: SprintId,
    author: impl Fn() -> Author,
    until: Instant,
) -> Result<Vec<Duration>, Failure> {
    let mut samples = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        let (name, goal) = (format!("Sprint {}", samples.len()), "To be measured".to_owned());
        let edit = sprint::Command::Edit { name, goal, starts_on: None, ends_on: None };
        let author = author();
        retry_conflicts(|| async {
            let mut uow = store.begin(author);
            uow.execute::<Sprint>(project, id, &edit).await?;
            uow.commit().await
        })
        .await?;
        samples.push(begun.elapsed());
    }
    Ok(samples)
}

async fn move_about(
    store: &Store,
    project: ProjectId,
    id: StoryId,
    until: Instant,
) -> Result<Vec<Duration>, Failure> {
    let mut samples = Vec::new();
    let own = own_sprint(store, project).await?;
    let mut sprint = None;
    while Instant::now() < until {
        let begun = Instant::now();
        sprint = if sprint.is_none() { Some(own) } else { None };
        retry_conflicts(|| async {
            let mut uow = store.begin(Author::system());
            uow.execute::<Story>(project, id, &Command::MoveToSprint { sprint }).await?;
            uow.commit().await
        })
        .await?;
        samples.push(begun.elapsed());
    }
    Ok(samples)
}

pub(crate) async fn project(store: &Store) -> Result<ProjectId, Failure> {
    let (organisation, project) = (store.new_id(), store.new_id());
    sqlx::query("insert into organisation (id, name, created_at) values ($1, 'bench', now())")
        .bind(organisation)
        .execute(store.pool())
        .await?;
    sqlx::query(
        "insert into project (id, organisation_id, name, autonomy, policy, repository_state, repository_source, created_at)
         values ($1, $2, $3, 'milestone', '{\"rows\":[],\"threshold\":85}', 'ready', '{}', now())",
    )
    .bind(project)
    .bind(organisation)
    .bind(project.to_string())
    .execute(store.pool())
    .await?;
    sqlx::query("insert into project_log (project_id) values ($1)")
        .bind(project)
        .execute(store.pool())
        .await?;
    Ok(ProjectId(project))
}

async fn story(store: &Store, project: ProjectId, number: i64) -> Result<StoryId, Failure> {
    let id = StoryId(store.new_id());
    let mut uow = store.begin(Author::system());
    let new = New {
        id,
        project,
        number,
        title: "A story to be moved".into(),
        description: String::new(),
        points: None,
        sprint: None,
    };
    uow.create::<Story>(project, id, &Command::Create(new)).await?;
    uow.commit().await?;
    Ok(id)
}

async fn own_sprint(store: &Store, project: ProjectId) -> Result<SprintId, Failure> {
    let id = SprintId(store.new_id());
    let mut uow = store.begin(Author::system());
    let (name, goal) = ("A sprint".to_owned(), String::new());
    let new = sprint::New { id, project, name, goal, starts_on: None, ends_on: None };
    uow.create::<Sprint>(project, id, &sprint::Command::Create(new)).await?;
    uow.commit().await?;
    Ok(id)
}
