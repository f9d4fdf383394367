//! What people do to jobs: cancel live ones, settle dead letters, with a reason and once only.

use crate::{
    cli::{Place, refused},
    events::{person, project},
    operations::{bury, make_owner},
    scene::Scene,
    signals::{answering, set_budget},
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::time::{Duration, Instant};
use syndarix::features;
use syndarix_domain::{
    ids::ProjectId,
    run::{Phase, Wait},
};
use syndarix_jobs::{Cancelled, Enqueued, NewJob, QueueConfig, Worker, WorkerConfig, WorkerHandle};
use uuid::Uuid;

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A job of this project that waits for a worker.
async fn waiting(app: &TestApp, project: ProjectId) -> i64 {
    let mut conn = app.app.pool().acquire().await.unwrap();
    let job = NewJob::new("sync", "test.work", json!({})).for_project(project.0);
    match syndarix_jobs::enqueue(&mut conn, &job).await.unwrap() {
        Enqueued::Queued(id) => id,
        Enqueued::Duplicate => panic!("it has no unique key"),
    }
}

/// A worker holds the job from now on.
async fn hold(app: &TestApp, job: i64) {
    sqlx::query(
        "update job set owner = gen_random_uuid(), lease_until = now() + interval '1 hour' where id = $1",
    )
    .bind(job)
    .execute(app.app.pool())
    .await
    .unwrap();
}

fn cancel(job: impl std::fmt::Display) -> String {
    format!("/api/v1/jobs/{job}/cancel")
}

/// What is on record about jobs of the project, newest first: type and reason.
async fn on_record(app: &TestApp, project: ProjectId, token: &str) -> Vec<(Value, Value)> {
    let (_, audit) = app.get(&format!("/api/v1/projects/{project}/audit?type=job"), token).await;
    let entries = audit["items"].as_array().unwrap().iter();
    entries.map(|entry| (entry["type"].clone(), entry["data"]["reason"].clone())).collect()
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_at_once_and_a_running_one_is_told_to_stop() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    let (first, second) = (waiting(&app, project).await, waiting(&app, project).await);
    hold(&app, second).await;
    let why = json!({ "reason": "the branch is wrong" });
    let (status, _) = app.post(&cancel(first), &maria.token, why.clone()).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a member of the project only");
    make_owner(&app, &maria, project).await;
    for unsaid in [json!({}), json!({ "reason": " " })] {
        let (status, _) = app.post(&cancel(first), &maria.token, unsaid).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }

    let (status, done) = app.post(&cancel(first), &maria.token, why.clone()).await;
    assert_eq!((status, &done["outcome"]), (StatusCode::OK, &json!("cancelled")), "{done}");
    let (status, done) = app.post(&cancel(second), &maria.token, why).await;
    assert_eq!((status, &done["outcome"]), (StatusCode::OK, &json!("requested")), "{done}");

    let (_, jobs) = app.get("/api/v1/jobs?queue=sync", &maria.token).await;
    let left: Vec<&Value> = jobs["items"].as_array().unwrap().iter().collect();
    assert_eq!(left.len(), 1, "{jobs}");
    assert_eq!(
        (&left[0]["id"], &left[0]["cancel_requested"], &left[0]["may_cancel"]),
        (&json!(second.to_string()), &json!(true), &json!(false))
    );
    let entry = (json!("job.cancelled"), json!("the branch is wrong"));
    assert_eq!(on_record(&app, project, &maria.token).await, [entry.clone(), entry]);
}

/// A worker that would wait for an hour before it aborts what does not stop.
fn patient_worker(test: &TestApp) -> WorkerHandle {
    let queues = ["agent", "default", "git"].map(|name| QueueConfig::new(name, 8)).to_vec();
    let config = WorkerConfig {
        heartbeat: Duration::from_millis(100),
        poll: Duration::from_millis(40),
        cancel_grace: Duration::from_secs(3_600),
        ..WorkerConfig::new("patient", Uuid::now_v7(), queues)
    };
    Worker::new(test.app.pool().clone(), features::jobs(&test.app), config, test.app.wake.clone()).start()
}

async fn until_count(conn: &mut PgConnection, sql: &'static str, wanted: i64) {
    let started = Instant::now();
    loop {
        let seen: i64 = sqlx::query_scalar(sql).fetch_one(&mut *conn).await.unwrap();
        if seen == wanted {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "waited for {wanted}, saw {seen}: {sql}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_stops_when_it_hears_of_its_cancellation_and_is_not_waited_for() {
    let test = TestApp::start().await;
    // Whatever the handlers read first, they wait for it.
    let mut holder = test.app.pool().begin().await.unwrap();
    sqlx::raw_sql(
        "set local idle_in_transaction_session_timeout = 0;
         lock table project, story, run, agent, usage in access exclusive mode",
    )
    .execute(&mut *holder)
    .await
    .unwrap();
    let (project, id) = (Uuid::now_v7(), Uuid::now_v7());
    let jobs = [
        ("default", "costs.reconcile", json!({})),
        ("default", "runs.reconcile", json!({})),
        ("default", "stories.reconcile", json!({})),
        ("git", "repository.import", json!({})),
        ("agent", "stage.work", json!({ "story": id, "stage": "analysis" })),
        ("agent", "run.wake", json!({ "run": id })),
    ];
    let jobs = jobs.map(|(queue, kind, payload)| NewJob::new(queue, kind, payload).for_project(project));
    let mut conn = test.app.pool().acquire().await.unwrap();
    let queued = syndarix_jobs::enqueue_many(&mut conn, &jobs).await.unwrap();
    let worker = patient_worker(&test);
    until_count(&mut conn, "select count(*) from job where owner is not null", 6).await;

    for job in queued {
        let Enqueued::Queued(job) = job else { panic!("it has no unique key") };
        assert_eq!(syndarix_jobs::cancel(&mut conn, job).await.unwrap(), Cancelled::Requested);
    }

    until_count(&mut conn, "select count(*) from job_done where outcome = 'cancelled'", 6).await;
    holder.rollback().await.unwrap();
    worker.shutdown(Duration::from_secs(5)).await;
}

async fn has_beaten(conn: &mut PgConnection, since: DateTime<Utc>) -> bool {
    sqlx::query_scalar("select exists (select from worker where last_seen > $1)")
        .bind(since)
        .fetch_one(conn)
        .await
        .unwrap()
}

/// Until the worker has beaten twice from now on: of what the first one said it has heard by then.
async fn until_heard(conn: &mut PgConnection) {
    for _ in 0..2 {
        let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&mut *conn).await.unwrap();
        let started = Instant::now();
        while !has_beaten(conn, now).await {
            assert!(started.elapsed() < PATIENCE, "it does not beat");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_money_is_woken_although_the_job_that_does_so_is_cancelled_on_the_way() {
    let test = TestApp::with_models(answering().await).await;
    let scene = Scene::analysis(&test).await;
    set_budget(&scene, 1).await;
    scene.due().await;
    test.run_jobs().await;
    let phase = scene.run_state().await.phase;
    assert!(matches!(phase, Phase::Waiting { wait: Wait::Budget { .. }, .. }), "{phase:?}");
    set_budget(&scene, 50_000_000).await;
    // What the job reads first.
    let mut holder = test.app.pool().begin().await.unwrap();
    sqlx::raw_sql(
        "set local idle_in_transaction_session_timeout = 0; lock table project in access exclusive mode",
    )
    .execute(&mut *holder)
    .await
    .unwrap();
    let mut conn = test.app.pool().acquire().await.unwrap();
    let worker = patient_worker(&test);
    let held = "select count(*) from job where kind = 'costs.wake' and owner is not null";
    until_count(&mut conn, held, 1).await;

    let job: i64 = sqlx::query_scalar("select id from job where kind = 'costs.wake'")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert_eq!(syndarix_jobs::cancel(&mut conn, job).await.unwrap(), Cancelled::Requested);
    until_heard(&mut conn).await;
    holder.rollback().await.unwrap();

    until_count(&mut conn, "select count(*) from job where kind = 'costs.wake'", 0).await;
    worker.shutdown(Duration::from_secs(5)).await;
    test.run_jobs().await;
    let phase = scene.run_state().await.phase;
    assert!(matches!(phase, Phase::Waiting { wait: Wait::RateLimit { .. }, .. }), "it went on: {phase:?}");
}

#[tokio::test]
async fn who_cancels_what_is_over_given_up_or_not_theirs_hears_which_it_is() {
    let app = TestApp::start().await;
    let (maria, otto) = (person(&app, "maria").await, person(&app, "otto").await);
    let (mine, other) = (project(&app, &maria).await, project(&app, &otto).await);
    make_owner(&app, &maria, mine).await;
    let why = json!({ "reason": "nobody needs it" });
    let over = waiting(&app, mine).await;
    app.post(&cancel(over), &maria.token, why.clone()).await;
    let dead = bury(&app, Some(mine), None).await;
    let foreign = waiting(&app, other).await;
    for (job, status, code) in [
        (over.to_string(), StatusCode::CONFLICT, "job_ended"),
        (dead.to_string(), StatusCode::CONFLICT, "job_dead"),
        (foreign.to_string(), StatusCode::NOT_FOUND, "not_found"),
        ("999999".into(), StatusCode::NOT_FOUND, "not_found"),
        ("x".into(), StatusCode::NOT_FOUND, "not_found"),
    ] {
        let (answered, problem) = app.post(&cancel(&job), &maria.token, why.clone()).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{job}: {problem}");
    }
}

#[tokio::test]
async fn a_run_ends_with_the_job_that_would_go_on_with_it() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.due().await;
    let job = advancing(&test).await;
    let why = json!({ "reason": "it reads the wrong repository" });
    let (status, done) = test.post(&cancel(job), &scene.token, why).await;
    assert_eq!(
        (status, &done["outcome"], &done["run_id"]),
        (StatusCode::OK, &json!("cancelled"), &json!(scene.run))
    );
    let (_, run) = test.get(&scene.path(&format!("/runs/{}", scene.run)), &scene.token).await;
    assert_eq!(
        (&run["state"], &run["reason"]),
        (&json!("cancelled"), &json!("it reads the wrong repository"))
    );
    let left: i64 = sqlx::query_scalar("select count(*) from job where kind = 'run.advance'")
        .fetch_one(test.app.pool())
        .await
        .unwrap();
    assert_eq!(left, 0);
}

/// The job that goes on with the only run.
async fn advancing(test: &TestApp) -> i64 {
    sqlx::query_scalar("select id from job where kind = 'run.advance'")
        .fetch_one(test.app.pool())
        .await
        .unwrap()
}

/// Waits until somebody waits for a lock.
async fn until_somebody_waits(test: &TestApp) {
    let waiting = "select exists (select from pg_stat_activity
                                   where wait_event_type = 'Lock' and datname = current_database())";
    let started = Instant::now();
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(test.app.pool()).await.unwrap() {
        assert!(started.elapsed() < PATIENCE, "nobody waits");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_job_that_comes_to_its_end_meanwhile_takes_no_run_with_it() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.due().await;
    let job = advancing(&test).await;
    let mut worker = test.app.pool().begin().await.unwrap();
    sqlx::query("delete from job where id = $1").bind(job).execute(&mut *worker).await.unwrap();
    let path = cancel(job);
    let asked = test.post(&path, &scene.token, json!({ "reason": "it reads the wrong repository" }));
    let ends = async {
        until_somebody_waits(&test).await;
        worker.commit().await.unwrap();
    };

    let ((status, problem), ()) = futures::join!(asked, ends);

    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("job_ended")), "{problem}");
    let (_, run) = test.get(&scene.path(&format!("/runs/{}", scene.run)), &scene.token).await;
    assert_ne!(run["state"], json!("cancelled"));
}

#[tokio::test]
async fn a_dead_letter_is_run_again_without_a_word_of_why() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    make_owner(&app, &maria, project).await;
    let letter = bury(&app, Some(project), None).await;
    let path = format!("/api/v1/jobs/{letter}/redrive");

    let (status, problem) = app.send(Method::POST, &path, Some(&maria.token), None).await;

    assert_eq!(status, StatusCode::NO_CONTENT, "{problem}");
    assert_eq!(on_record(&app, project, &maria.token).await, [(json!("job.redriven"), Value::Null)]);
}

#[tokio::test]
async fn a_job_is_settled_once_under_its_key_and_the_reason_is_on_record() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    make_owner(&app, &maria, project).await;
    let (again, gone) = (bury(&app, Some(project), None).await, bury(&app, Some(project), None).await);
    let live = waiting(&app, project).await;
    let purge = format!("/api/v1/jobs/{gone}/purge");
    let (status, _) = app.post(&purge, &maria.token, json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "a purge needs a reason");
    for (path, reason, answer) in [
        (format!("/api/v1/jobs/{again}/redrive"), "it is mended", StatusCode::NO_CONTENT),
        (purge, "nobody needs it", StatusCode::NO_CONTENT),
        (cancel(live), "it was a mistake", StatusCode::OK),
    ] {
        let body = json!({ "reason": reason });
        let first = app.post_once(&path, &maria.token, "key-1", body.clone()).await;
        assert_eq!(first.0, answer, "{path}: {}", first.1);

        let repeated = app.post_once(&path, &maria.token, "key-1", body).await;

        assert_eq!(repeated, first, "{path}");
        let (status, _) = app.post_once(&path, &maria.token, "key-1", json!({ "reason": "other" })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: the key was for another request");
    }
    assert_eq!(
        on_record(&app, project, &maria.token).await,
        [
            (json!("job.cancelled"), json!("it was a mistake")),
            (json!("job.purged"), json!("nobody needs it")),
            (json!("job.redriven"), json!("it is mended")),
        ]
    );
    let note: Option<String> = sqlx::query_scalar("select note from job_done where id = $1")
        .bind(gone)
        .fetch_one(app.app.pool())
        .await
        .unwrap();
    assert_eq!(note.as_deref(), Some("nobody needs it"));
}

#[tokio::test]
async fn an_operator_cancels_jobs_and_hears_of_those_that_are_over_given_up_or_unknown() {
    let place = Place::new().await;
    assert!(place.run(&["migrate"]).status.success());
    let pool = place.pool().await;
    let jobs = "insert into job (id, queue, kind, payload, max_attempts, owner, lease_until)
                values (100001, 'git', 'test.work', '{}', 3, null, null),
                       (100002, 'git', 'test.work', '{}', 3, gen_random_uuid(), now() + interval '1 hour');
                insert into job_dead (id, queue, kind, payload, priority, max_attempts, attempt, rescues, fence, reason, errors, created_at)
                values (100003, 'git', 'test.work', '{}', 2, 3, 3, 0, 1, 'broken', '[]', now())";
    sqlx::raw_sql(jobs).execute(&pool).await.unwrap();
    assert_eq!(place.run(&["jobs", "cancel", "100001"]).status.code(), Some(2), "no reason is given");
    let cancel = |job: &'static str| ["jobs", "cancel", job, "--reason", "wrong branch"];

    assert_eq!(place.json(&cancel("100001"))["outcome"], "cancelled");
    assert_eq!(place.json(&cancel("100002"))["outcome"], "requested");

    for (job, sentence) in [
        ("100001", "100001 is over: cancelled"),
        ("100003", "was given up"),
        ("100009", "there is no such job 100009"),
    ] {
        let said = refused(&place.run(&cancel(job)));
        assert!(said.contains(sentence), "{said}");
    }
    let asked: Vec<i64> =
        sqlx::query_scalar("select id from job where cancel_requested").fetch_all(&pool).await.unwrap();
    assert_eq!(asked, [100_002]);
    pool.close().await;
    place.end().await;
}
