//! Health, metrics, what is configured, dead letters.

use crate::{
    events::{person, project},
    support::TestApp,
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::{Value, json};
use syndarix::features::events::spawn_hub;
use syndarix_domain::ids::ProjectId;
use syndarix_jobs::NewJob;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

async fn text(app: &TestApp, path: &str) -> (StatusCode, String) {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let response = app.router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 1024 * 1024).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Waits until the readiness says so of a part.
async fn until_ready(app: &TestApp, part: &str, ok: bool) -> Value {
    let started = std::time::Instant::now();
    loop {
        let (_, readiness) = app.send(Method::GET, "/readyz", None, None).await;
        if readiness["parts"][part]["ok"] == ok {
            return readiness;
        }
        assert!(started.elapsed().as_secs() < 30, "{part} never became {ok}: {readiness}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_instance_is_ready_while_it_can_serve_and_says_which_part_is_ill() {
    let app = TestApp::start().await;
    assert_eq!(text(&app, "/livez").await, (StatusCode::OK, "ok".to_owned()));
    let (status, readiness) = app.send(Method::GET, "/readyz", None, None).await;
    assert_eq!((status, &readiness["status"]), (StatusCode::OK, &json!("degraded")), "{readiness}");
    assert_eq!(readiness["parts"]["database"]["ok"], true);
    assert_eq!(readiness["parts"]["migrations"]["ok"], true);
    assert_eq!(
        readiness["parts"]["workers"],
        json!({ "ok": false, "required": false, "detail": "0 at work" })
    );

    let cancel = CancellationToken::new();
    spawn_hub(&app.app, &TaskTracker::new(), cancel.clone());
    until_ready(&app, "notify", true).await;
    cancel.cancel();

    sqlx::query("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .execute(app.app.pool())
        .await
        .unwrap();
    until_ready(&app, "migrations", false).await;
    let (status, readiness) = app.send(Method::GET, "/readyz", None, None).await;
    assert_eq!((status, &readiness["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("not_ready")));
    assert_eq!(readiness["parts"]["migrations"]["detail"], "1 to apply");

    app.app.pool().close().await;
    until_ready(&app, "database", false).await;
}

#[tokio::test]
async fn a_stopping_instance_is_live_and_not_ready() {
    let app = TestApp::start().await;
    app.app.stopping.cancel();
    assert_eq!(text(&app, "/livez").await.0, StatusCode::OK);
    let (status, readiness) = app.send(Method::GET, "/readyz", None, None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(readiness["parts"]["process"]["detail"], "stopping");
}

#[tokio::test]
async fn requests_are_measured_by_route_and_never_by_path() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    app.get(&format!("/api/v1/projects/{project}/events"), &maria.token).await;
    app.send(Method::GET, "/api/v1/no/such/place", None, None).await;
    let (status, metrics) = text(&app, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let counted = "syndarix_http_requests_total{method=\"GET\",route=\"/api/v1/projects/{project_id}/events\",status=\"200\"}";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("syndarix_http_request_duration_seconds_bucket{"), "{metrics}");
    assert!(metrics.contains("syndarix_database_connections "), "{metrics}");
    assert!(!metrics.contains(&project.to_string()) && !metrics.contains("no/such/place"));
}

#[tokio::test]
async fn the_system_says_what_it_consists_of() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let (status, system) = app.get("/api/v1/system", &maria.token).await;
    assert_eq!(status, StatusCode::OK, "{system}");
    assert_eq!(system["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&system["database"], &system["redis"]), (&json!("embedded"), &json!(false)));
    assert!(system["isolation"]["level"].is_string() && system["models"].is_array(), "{system}");
    let agent = &system["queues"][0];
    assert_eq!(
        (&agent["queue"], &agent["depth"], &agent["oldest_age_seconds"]),
        (&json!("agent"), &json!(0), &json!(null))
    );
    let (status, _) = app.send(Method::GET, "/api/v1/system", None, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

/// Puts a job of this project into the dead letters.
pub(crate) async fn bury(app: &TestApp, project: Option<ProjectId>, unique_key: Option<&str>) -> i64 {
    sqlx::query_scalar(
        "insert into job_dead (id, queue, project_id, kind, payload, priority, unique_key, attempt, max_attempts, rescues,
                               fence, reason, errors, created_at)
         select coalesce(max(id), 1000) + 1, 'sync', $1, 'test.work', '{}', 2, $2, 3, 3, 0, 5, 'it broke', '[]', now()
           from job_dead returning id",
    )
    .bind(project.map(|project| project.0))
    .bind(unique_key)
    .fetch_one(app.app.pool())
    .await
    .unwrap()
}

pub(crate) async fn make_owner(app: &TestApp, person: &crate::events::Person, project: ProjectId) {
    sqlx::query(
        "insert into membership (organisation_id, user_id, role, created_at)
         select organisation_id, $1, 'owner', now() from project where id = $2",
    )
    .bind(person.id.0)
    .bind(project.0)
    .execute(app.app.pool())
    .await
    .unwrap();
}

fn ids(jobs: &Value) -> Vec<String> {
    jobs["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn jobs_are_listed_by_state_to_the_members_of_their_project_only() {
    let app = TestApp::start().await;
    let (maria, otto) = (person(&app, "maria").await, person(&app, "otto").await);
    let (mine, other) = (project(&app, &maria).await, project(&app, &otto).await);
    let dead = bury(&app, Some(mine), None).await;
    bury(&app, Some(other), None).await;
    bury(&app, None, None).await;
    let mut conn = app.app.pool().acquire().await.unwrap();
    let job = NewJob { project: Some(mine.0), ..NewJob::new("sync", "test.work", json!({ "secret": 1 })) };
    syndarix_jobs::enqueue(&mut conn, &job).await.unwrap();
    let later = NewJob {
        project: Some(mine.0),
        run_at: Some(app.clock.now() + chrono::Duration::days(36_500)),
        ..NewJob::new("sync", "test.later", json!({}))
    };
    syndarix_jobs::enqueue(&mut conn, &later).await.unwrap();

    let (status, all) = app.get("/api/v1/jobs", &maria.token).await;
    assert_eq!((status, ids(&all).len()), (StatusCode::OK, 3), "{all}");
    assert!(!all.to_string().contains("secret"), "payloads are not shown");
    let (_, found) = app.get("/api/v1/jobs?state=dead", &maria.token).await;
    assert_eq!(ids(&found), [dead.to_string()]);
    let letter = &found["items"][0];
    assert_eq!(
        (&letter["state"], &letter["last_error"], &letter["attempts"]),
        (&json!("dead"), &json!("it broke"), &json!(3))
    );
    for (query, kinds) in [
        ("state=ready", vec!["test.work"]),
        ("state=scheduled", vec!["test.later"]),
        ("state=running", vec![]),
        ("queue=git", vec![]),
    ] {
        let (_, found) = app.get(&format!("/api/v1/jobs?{query}"), &maria.token).await;
        let got: Vec<&str> =
            found["items"].as_array().unwrap().iter().map(|job| job["kind"].as_str().unwrap()).collect();
        assert_eq!(got, kinds, "{query}");
    }
    let (_, none) = app.get(&format!("/api/v1/jobs?project_id={other}"), &maria.token).await;
    assert_eq!(ids(&none).len(), 0);

    let mut seen = Vec::new();
    let mut path = "/api/v1/jobs?limit=1".to_owned();
    loop {
        let (_, page) = app.get(&path, &maria.token).await;
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/jobs?limit=1&cursor={cursor}");
    }
    assert_eq!(seen, ids(&all));
}

#[tokio::test]
async fn only_an_owner_of_the_organisation_settles_a_dead_letter_and_it_is_on_record() {
    let app = TestApp::start().await;
    let (maria, otto) = (person(&app, "maria").await, person(&app, "otto").await);
    let project = project(&app, &maria).await;
    let (first, second) = (bury(&app, Some(project), None).await, bury(&app, Some(project), None).await);
    let nobodys = bury(&app, None, None).await;
    for (who, job) in [(&maria, first), (&otto, first)] {
        let (status, _) = app.post(&format!("/api/v1/jobs/{job}/redrive"), &who.token, json!({})).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    make_owner(&app, &maria, project).await;
    for missing in [nobodys.to_string(), "999999".into(), "x".into()] {
        let body = json!({ "reason": "nobody needs it" });
        let (status, _) = app.post(&format!("/api/v1/jobs/{missing}/purge"), &maria.token, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{missing}");
    }
    let (status, _) = app.post(&format!("/api/v1/jobs/{first}/redrive"), &maria.token, json!({})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = app.post(&format!("/api/v1/jobs/{first}/redrive"), &maria.token, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it is alive again");
    let body = json!({ "reason": "nobody needs it" });
    let (status, _) = app.post(&format!("/api/v1/jobs/{second}/purge"), &maria.token, body).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, ready) = app.get("/api/v1/jobs?state=ready", &maria.token).await;
    assert_eq!(ids(&ready), [first.to_string()]);
    let (_, dead) = app.get("/api/v1/jobs?state=dead", &maria.token).await;
    assert_eq!(ids(&dead).len(), 0);
    let (_, audit) = app.get(&format!("/api/v1/projects/{project}/audit?type=job"), &maria.token).await;
    let types: Vec<&str> =
        audit["items"].as_array().unwrap().iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["job.purged", "job.redriven"]);
    let key = bury(&app, Some(project), Some("same")).await;
    let mut conn = app.app.pool().acquire().await.unwrap();
    let job = NewJob {
        project: Some(project.0),
        unique_key: Some("same".into()),
        ..NewJob::new("sync", "test.work", json!({}))
    };
    syndarix_jobs::enqueue(&mut conn, &job).await.unwrap();
    let (status, problem) = app.post(&format!("/api/v1/jobs/{key}/redrive"), &maria.token, json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("job_duplicate")));
}

#[tokio::test]
async fn a_tenant_sees_how_busy_the_others_are_nowhere() {
    let app = TestApp::start().await;
    let (maria, otto) = (person(&app, "maria").await, person(&app, "otto").await);
    let (mine, _) = (project(&app, &maria).await, project(&app, &otto).await);
    let mut conn = app.app.pool().acquire().await.unwrap();
    let job = NewJob { project: Some(mine.0), ..NewJob::new("sync", "test.work", json!({})) };
    syndarix_jobs::enqueue(&mut conn, &job).await.unwrap();
    syndarix_jobs::enqueue(&mut conn, &NewJob::new("sync", "test.platform", json!({}))).await.unwrap();
    for path in ["/api/v1/jobs", "/api/v1/system"] {
        for (who, depth) in [(&maria, 1), (&otto, 0)] {
            let (_, answer) = app.get(path, &who.token).await;
            let queues = answer["queues"].as_array().unwrap();
            let sync = queues.iter().find(|queue| queue["queue"] == "sync").unwrap();
            assert_eq!(sync["depth"], depth, "{path}: {sync}");
        }
    }
}

/// A worker that was heard of this many seconds ago.
async fn enter_worker(app: &TestApp, name: &str, queues: &[&str], silent: f64) {
    sqlx::query(
        "insert into worker (incarnation, name, lock_key, queues, last_seen)
         values (gen_random_uuid(), $1, 1, $2, now() - make_interval(secs => $3))",
    )
    .bind(name)
    .bind(queues)
    .bind(silent)
    .execute(app.app.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn a_queue_counts_the_workers_that_are_up_and_poll_it() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    enter_worker(&app, "up", &["agent", "git"], 0.0).await;
    enter_worker(&app, "gone", &["sync"], 600.0).await;
    let (_, jobs) = app.get("/api/v1/jobs", &maria.token).await;
    let polled = |queue: &str| {
        let queues = jobs["queues"].as_array().unwrap();
        queues.iter().find(|row| row["queue"] == queue).unwrap()["workers"].clone()
    };
    assert_eq!((polled("agent"), polled("sync"), polled("default")), (json!(1), json!(0), json!(0)));
    let gone = jobs["workers"].as_array().unwrap().iter().find(|worker| worker["name"] == "gone").unwrap();
    assert_eq!((&gone["alive"], &gone["queues"]), (&json!(false), &json!(["sync"])));
}

#[tokio::test]
async fn a_scrape_shows_queues_that_nobody_polls_late_timers_and_who_leads() {
    let app = TestApp::start().await;
    enter_worker(&app, "up", &["agent"], 0.0).await;
    let mut conn = app.app.pool().acquire().await.unwrap();
    syndarix_jobs::enqueue(&mut conn, &NewJob::new("scrape", "test.work", json!({}))).await.unwrap();
    sqlx::raw_sql(
        "insert into timer (stream, name, fire_at, queue, kind, payload, max_attempts)
         values (gen_random_uuid(), 'late', now() - interval '1 hour', 'scrape', 'test.late', '{}', 1)",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    let minute = std::time::Duration::from_secs(60);
    syndarix_jobs::lead(&mut conn, "test.duty", app.app.instance, minute).await.unwrap().unwrap();
    drop(conn);
    let (_, metrics) = text(&app, "/metrics").await;
    for line in [
        "syndarix_jobs_ready{queue=\"scrape\"} 1",
        "syndarix_jobs_unpolled{queue=\"scrape\"} 1",
        "syndarix_leader{duty=\"test.duty\"} 1",
        "syndarix_leader_vacant{duty=\"test.duty\"} 0",
        "syndarix_leader_epoch{duty=\"test.duty\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // Other tests of this process set the same gauges at their own scrapes.
    for name in ["syndarix_jobs_workers{state=\"alive\"}", "syndarix_jobs_timer_overdue_seconds "] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
}

#[tokio::test]
async fn a_dead_letter_shows_its_failed_attempts_and_whether_the_reader_may_settle_it() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    bury(&app, Some(project), None).await;
    sqlx::query("update job_dead set errors = $1")
        .bind(json!([{ "attempt": 3, "at": "2026-11-28T10:00:00Z", "error": "it broke" }]))
        .execute(app.app.pool())
        .await
        .unwrap();
    let (_, dead) = app.get("/api/v1/jobs?state=dead", &maria.token).await;
    assert_eq!(dead["items"][0]["errors"][0]["error"], "it broke");
    assert_eq!(dead["items"][0]["may_settle"], false, "a member of the project only");
    make_owner(&app, &maria, project).await;
    let (_, dead) = app.get("/api/v1/jobs?state=dead", &maria.token).await;
    assert_eq!(dead["items"][0]["may_settle"], true);
}
