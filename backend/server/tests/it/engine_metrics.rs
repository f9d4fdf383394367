//! What the engine tells Prometheus is what OPERATING.md says it tells.

use crate::{
    events::{person, project},
    support::TestApp,
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use syndarix::db::{Author, Error};
use syndarix_domain::{
    ids::{ProjectId, SprintId},
    sprint::{self, Sprint},
};
use syndarix_jobs::{
    Claim, Cursor, Job, Lease, NewJob, Outcome, QueueConfig, Registry, Worker, WorkerConfig,
};
use uuid::Uuid;

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// A queue of this test alone: other tests of the process count into the same metrics.
const QUEUE: &str = "metered";

/// Handlers that end in every way there is.
fn handlers(app: &TestApp) -> Registry {
    let (store, pool) = (app.app.store.clone(), app.app.pool().clone());
    Registry::new()
        .with("test.done", |_: Job, _: Lease, _| async { Outcome::Done })
        .with("test.broken", |_: Job, _: Lease, _| async { Outcome::Fail { reason: "on purpose".into() } })
        .with("test.again", |job: Job, _: Lease, _| async move {
            if job.attempt == 1 { again() } else { Outcome::Done }
        })
        .with("test.unit", move |_: Job, lease: Lease, _| {
            let store = store.clone();
            async move {
                let mut uow = store.begin(Author::system().within(lease));
                uow.complete_job();
                uow.commit().await.unwrap();
                Outcome::Completed
            }
        })
        // Its first transaction comes to nothing.
        .with("test.torn", move |job: Job, lease: Lease, _| {
            let pool = pool.clone();
            async move {
                let mut tx = pool.begin().await.unwrap();
                let finished = lease.complete(&mut tx).await.unwrap();
                if job.attempt == 1 {
                    tx.rollback().await.unwrap();
                    return again();
                }
                tx.commit().await.unwrap();
                finished.committed();
                Outcome::Completed
            }
        })
}

fn again() -> Outcome {
    Outcome::Retry { after: Some(Duration::ZERO), reason: "on purpose".into() }
}

async fn enqueue(app: &TestApp, kinds: &[&str]) {
    let mut conn = app.app.pool().acquire().await.unwrap();
    for kind in kinds {
        syndarix_jobs::enqueue(&mut conn, &NewJob::new(QUEUE, *kind, json!({}))).await.unwrap();
    }
}

/// A worker that died with a job in its hands.
async fn lose_a_job(app: &TestApp) -> Lease {
    enqueue(app, &["test.done"]).await;
    let wanted = Claim { queue: QUEUE, owner: Uuid::now_v7(), limit: 1, lease: Duration::ZERO };
    let mut conn = app.app.pool().acquire().await.unwrap();
    let claimed = syndarix_jobs::claim(&mut conn, wanted, &mut Cursor::default()).await.unwrap();
    claimed.jobs[0].1
}

/// Runs all jobs and timers of the queue, and waits until their ends are written and counted.
async fn work(app: &TestApp) {
    let mut config = WorkerConfig::new(QUEUE, Uuid::now_v7(), vec![QueueConfig::new(QUEUE, 4)]);
    config.poll = Duration::from_millis(40);
    config.tick = Duration::from_millis(40);
    let worker = Worker::new(app.app.pool().clone(), handlers(app), config, app.app.wake.clone()).start();
    let left =
        "select (select count(*) from job where queue = $1) + (select count(*) from timer where queue = $1)";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>(left).bind(QUEUE).fetch_one(app.app.pool()).await.unwrap() > 0 {
        assert!(begun.elapsed() < PATIENCE, "the jobs did not come to rest");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(worker.shutdown(Duration::from_secs(5)).await.clean);
}

/// Two units that decided on the same state: the second one is a conflict.
async fn collide(app: &TestApp, project: ProjectId) {
    let store = &app.app.store;
    let id = SprintId(store.new_id());
    let mut uow = store.begin(Author::system());
    let new = sprint::New {
        id,
        project,
        name: "A sprint".into(),
        goal: String::new(),
        starts_on: None,
        ends_on: None,
    };
    uow.create::<Sprint>(project, id, &sprint::Command::Create(new)).await.unwrap();
    uow.commit().await.unwrap();
    let mut units = Vec::new();
    for name in ["One", "Another"] {
        let mut uow = store.begin(Author::system());
        let edit =
            sprint::Command::Edit { name: name.into(), goal: String::new(), starts_on: None, ends_on: None };
        uow.execute::<Sprint>(project, id, &edit).await.unwrap();
        units.push(uow);
    }
    let late = units.pop().unwrap();
    units.pop().unwrap().commit().await.unwrap();
    assert!(matches!(late.commit().await, Err(Error::Conflict)));
}

/// An instance whose database is away is scraped.
async fn scrape_without_a_database() {
    let app = TestApp::start().await;
    app.app.pool().close().await;
    app.text("/metrics", "").await;
}

/// The metrics of the engine that OPERATING.md names, each with its labels.
fn documented() -> Vec<(String, Vec<String>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPERATING.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, section) = document.split_once("### Metrics of the engine\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells
        .flat_map(|(names, _)| names.split("`, `"))
        .map(|metric| {
            let (name, labels) = metric.split_once('{').unwrap_or((metric, ""));
            let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
            assert!(name.starts_with("syndarix_"), "{metric} is not written out");
            (name.to_owned(), labels.map(str::to_owned).collect())
        })
        .collect()
}

/// What the lines of a metric with these labels come to; of a histogram, how often something was measured.
fn value(scrape: &str, name: &str, labels: &[String]) -> Option<f64> {
    let lines = scrape.lines().filter(|line| {
        let of = line.split(['{', ' ']).next().unwrap_or_default();
        (of == name || of.strip_suffix("_count") == Some(name))
            && labels.iter().all(|label| line.contains(&format!("{label}=\"")))
    });
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).reduce(|a, b| a + b)
}

/// The metrics of jobs, leaders and commits in a scrape, by their names.
fn shown(scrape: &str) -> BTreeSet<&str> {
    let names = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let parts = ["jobs_", "leader", "transition", "commit_", "metrics_"];
    names
        .filter(|name| {
            name.strip_prefix("syndarix_").is_some_and(|rest| parts.iter().any(|part| rest.starts_with(part)))
        })
        .collect()
}

#[tokio::test]
async fn after_its_causes_a_scrape_has_every_metric_of_the_engine_that_the_document_names() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    scrape_without_a_database().await;
    collide(&app, project).await;
    let lost = lose_a_job(&app).await;
    enqueue(&app, &["test.broken", "test.again", "test.torn", "test.done"]).await;
    enqueue(&app, &["test.unit"; 8]).await;
    sqlx::query(
        "insert into timer (stream, name, fire_at, queue, kind, payload, max_attempts)
         values (gen_random_uuid(), 'late', now() - interval '1 second', $1, 'test.done', '{}', 1)",
    )
    .bind(QUEUE)
    .execute(app.app.pool())
    .await
    .unwrap();
    work(&app).await;
    let mut conn = app.app.pool().acquire().await.unwrap();
    assert!(lost.hold(&mut conn).await.is_err(), "another has done it");
    let minute = Duration::from_secs(60);
    syndarix_jobs::lead(&mut conn, "test.metered", app.app.instance, minute).await.unwrap().unwrap();
    drop(conn);

    let (_, scrape) = app.text("/metrics", "").await;
    let documented = documented();
    assert!(documented.len() > 20, "{documented:?}");
    for (name, labels) in &documented {
        let value = value(&scrape, name, labels);
        let at_least = if name.ends_with("_total") || name.ends_with("_batch_size") { 1.0 } else { 0.0 };
        assert!(value.is_some_and(|value| value >= at_least), "{name}{labels:?}: {value:?} in {scrape}");
    }
    let known: BTreeSet<&str> = documented.iter().map(|(name, _)| name.as_str()).collect();
    let secret: Vec<_> = shown(&scrape).difference(&known).copied().collect();
    assert_eq!(secret, [""; 0], "OPERATING.md does not say what these are");

    // The one that was lost, one of each that came to its end, eight units, and the timer's; none twice.
    for line in [
        "syndarix_jobs_finished_total{queue=\"metered\"} 13\n",
        "syndarix_jobs_retries_total{queue=\"metered\"} 2\n",
        "syndarix_jobs_dead_total{queue=\"metered\"} 1\n",
        "syndarix_jobs_rescued_total{queue=\"metered\"} 1\n",
        "syndarix_jobs_dead{queue=\"metered\"} 1\n",
    ] {
        assert!(scrape.contains(line), "{line}: {scrape}");
    }
}
