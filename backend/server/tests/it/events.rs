//! The event log over HTTP: pages, live streams, resuming, ending.

use crate::support::TestApp;
use axum::{
    body::{Body, BodyDataStream},
    http::{Method, Request, Response, StatusCode, header},
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;
use syndarix::db::{Author, Uow};
use syndarix_domain::ids::{OrganisationId, ProjectId, UserId};
use tower::ServiceExt;

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A user with a token.
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) token: String,
}

pub(crate) async fn person(app: &TestApp, name: &str) -> Person {
    let id = UserId(app.app.store.new_id());
    sqlx::query(
        "insert into app_user (id, email, name, password_hash, created_at) values ($1, $2, $3, '', now())",
    )
    .bind(id.0)
    .bind(format!("{name}@example.com"))
    .bind(name)
    .execute(app.app.pool())
    .await
    .unwrap();
    Person { id, token: app.app.keys.sign_access(id, 0).unwrap() }
}

pub(crate) async fn project(app: &TestApp, viewer: &Person) -> ProjectId {
    let (organisation, project) = (OrganisationId(app.app.store.new_id()), ProjectId(app.app.store.new_id()));
    let mut uow = app.app.store.begin(Author::system());
    sqlx::query("insert into organisation (id, name, created_at) values ($1, 'Acme', now())")
        .bind(organisation.0)
        .execute(uow.conn().await.unwrap())
        .await
        .unwrap();
    sqlx::query(
        "insert into project (id, organisation_id, name, autonomy, policy, repository_state, repository_source, created_at)
         values ($1, $2, 'Shop', 'milestone', '{}', 'ready', '{}', now())",
    )
    .bind(project.0)
    .bind(organisation.0)
    .execute(uow.conn().await.unwrap())
    .await
    .unwrap();
    sqlx::query("insert into project_log (project_id) values ($1)")
        .bind(project.0)
        .execute(uow.conn().await.unwrap())
        .await
        .unwrap();
    sqlx::query(
        "insert into project_member (project_id, user_id, role, created_at) values ($1, $2, 'viewer', now())",
    )
    .bind(project.0)
    .bind(viewer.id.0)
    .execute(uow.conn().await.unwrap())
    .await
    .unwrap();
    uow.commit().await.unwrap();
    project
}

fn announce(uow: &mut Uow, project: ProjectId, n: i64) {
    uow.announce(project, "agent", uuid::Uuid::from_u128(7), "agent.status_changed.v1", json!({ "n": n }));
}

pub(crate) async fn happen(app: &TestApp, project: ProjectId, count: i64) {
    let mut uow = app.app.store.begin(Author::system());
    for n in 0..count {
        announce(&mut uow, project, n);
    }
    uow.commit().await.unwrap();
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq)]
struct Sse {
    event: String,
    id: Option<String>,
    data: Value,
}

/// A client of a stream.
struct Client {
    body: BodyDataStream,
    text: String,
    /// The last id seen, also one without an event.
    last: Option<String>,
}

async fn request(app: &TestApp, path: &str, token: &str, last: Option<&str>) -> Response<Body> {
    let mut request = Request::builder().uri(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    app.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn follow(app: &TestApp, path: &str, token: &str, last: Option<&str>) -> Client {
    let response = request(app, path, token, last).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    Client { body: response.into_body().into_data_stream(), text: String::new(), last: None }
}

impl Client {
    /// The next event; none when the stream has ended.
    async fn try_next(&mut self) -> Option<Sse> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let frame: String = self.text.drain(..end + 2).collect();
                let mut sse = Sse::default();
                let mut named = false;
                for line in frame.lines() {
                    match line.split_once(": ") {
                        Some(("event", name)) => (sse.event, named) = (name.to_owned(), true),
                        Some(("id", id)) => sse.id = Some(id.to_owned()),
                        Some(("data", data)) => sse.data = serde_json::from_str(data).unwrap(),
                        _ => {}
                    }
                }
                self.last = sse.id.clone().or(self.last.take());
                if named {
                    return Some(sse);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("the stream in time");
            self.text.push_str(std::str::from_utf8(&chunk?.unwrap()).unwrap());
        }
    }

    async fn next(&mut self) -> Sse {
        self.try_next().await.expect("the stream goes on")
    }

    async fn expect(&mut self, seqs: std::ops::RangeInclusive<i64>) {
        for seq in seqs {
            let sse = self.next().await;
            assert_eq!(
                (sse.event.as_str(), &sse.data["seq"]),
                ("agent.status_changed", &json!(seq)),
                "{sse:?}"
            );
        }
    }
}

fn stream_of(project: ProjectId) -> String {
    format!("/api/v1/projects/{project}/events/stream")
}

#[tokio::test]
async fn the_log_is_read_in_pages_with_its_head() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    happen(&app, project, 5).await;
    let (status, page) =
        app.get(&format!("/api/v1/projects/{project}/events?after=1&limit=2"), &maria.token).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert_eq!(page["head"], 5);
    let seqs: Vec<_> = page["items"].as_array().unwrap().iter().map(|event| event["seq"].clone()).collect();
    assert_eq!(seqs, [2, 3]);
    let event = &page["items"][0];
    assert_eq!(event["type"], "agent.status_changed");
    assert_eq!(event["actor_type"], "system");
    assert_eq!(event["project_id"], project.to_string());
    assert_eq!(event["data"], json!({ "n": 1 }));
    let (status, problem) =
        app.get(&format!("/api/v1/projects/{project}/events?limit=501"), &maria.token).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid")));
}

#[tokio::test]
async fn a_stranger_is_told_that_there_is_no_such_project() {
    let app = TestApp::start().await;
    let (maria, mallory) = (person(&app, "maria").await, person(&app, "mallory").await);
    let project = project(&app, &maria).await;
    for path in [stream_of(project), format!("/api/v1/projects/{project}/events")] {
        assert_eq!(request(&app, &path, &mallory.token, None).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(request(&app, &path, "nonsense", None).await.status(), StatusCode::UNAUTHORIZED);
    }
    let (status, _) = app.send(Method::GET, "/api/v1/events/stream", None, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_stream_begins_now_and_resumes_where_it_was_left() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    happen(&app, project, 3).await;
    let mut client = follow(&app, &stream_of(project), &maria.token, None).await;
    happen(&app, project, 2).await;
    let sse = client.next().await;
    assert_eq!(sse.id.as_deref(), Some("1:4"));
    assert_eq!(sse.data["type"], "agent.status_changed");
    drop(client);
    happen(&app, project, 300).await;
    let mut client = follow(&app, &stream_of(project), &maria.token, sse.id.as_deref()).await;
    client.expect(5..=305).await;
    happen(&app, project, 1).await;
    client.expect(306..=306).await;
    let by_query = format!("{}?last_event_id=1:300", stream_of(project));
    follow(&app, &by_query, &maria.token, None).await.expect(301..=306).await;
}

#[tokio::test]
async fn a_client_that_saw_no_event_yet_still_resumes_from_where_it_began() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    happen(&app, project, 3).await;
    for path in [stream_of(project), "/api/v1/events/stream".to_owned()] {
        let mut client = follow(&app, &path, &maria.token, None).await;
        app.app.hub.ephemeral(project, "run.delta", &json!({ "run_id": "r", "text": "hello" }));
        let sse = client.next().await;
        assert_eq!((sse.event.as_str(), &sse.id), ("run.delta", &None));
        assert_eq!(sse.data["data"]["text"], "hello");
        assert_eq!(sse.data["project_id"], project.to_string());
        let last = client.last.take().expect("an id before the first event");
        drop(client);
        happen(&app, project, 1).await;
        let sse = follow(&app, &path, &maria.token, Some(&last)).await.next().await;
        assert_eq!(sse.event, "agent.status_changed", "{sse:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_resumed_is_reset_once() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    happen(&app, project, 3).await;
    let mut head = 3;
    for (path, last) in [
        (stream_of(project), "2:1"),
        (stream_of(project), "1:99"),
        (stream_of(project), "what is this"),
        ("/api/v1/events/stream".to_owned(), "1:1"),
        ("/api/v1/events/stream".to_owned(), "AQ"),
    ] {
        let mut client = follow(&app, &path, &maria.token, Some(last)).await;
        let reset = client.next().await;
        assert_eq!(reset.event, "reset", "{path} {last}");
        let resumed = reset.id.expect("a reset says where it goes on");
        head += 1;
        happen(&app, project, 1).await;
        client.expect(head..=head).await;
        follow(&app, &path, &maria.token, Some(&resumed)).await.expect(head..=head).await;
    }
}

#[tokio::test]
async fn one_stream_carries_all_projects_of_a_person_and_resumes_each() {
    let app = TestApp::start().await;
    let (maria, other) = (person(&app, "maria").await, person(&app, "other").await);
    let (first, second) = (project(&app, &maria).await, project(&app, &maria).await);
    let hidden = project(&app, &other).await;
    let mut client = follow(&app, "/api/v1/events/stream", &maria.token, None).await;
    happen(&app, first, 2).await;
    happen(&app, hidden, 2).await;
    happen(&app, second, 1).await;
    let mut seen: Vec<(String, i64)> = Vec::new();
    for _ in 0..2 {
        let sse = client.next().await;
        seen.push((sse.data["project_id"].as_str().unwrap().to_owned(), sse.data["seq"].as_i64().unwrap()));
    }
    let last = client.last.take();
    drop(client);
    happen(&app, second, 2).await;
    let mut client = follow(&app, "/api/v1/events/stream", &maria.token, last.as_deref()).await;
    for _ in 0..3 {
        let sse = client.next().await;
        seen.push((sse.data["project_id"].as_str().unwrap().to_owned(), sse.data["seq"].as_i64().unwrap()));
    }
    for (project, seqs) in [(first, vec![1, 2]), (second, vec![1, 2, 3])] {
        let got: Vec<i64> =
            seen.iter().filter(|(p, _)| *p == project.to_string()).map(|(_, seq)| *seq).collect();
        assert_eq!(got, seqs, "{seen:?}");
    }
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn a_new_membership_resets_the_stream_and_a_lost_one_ends_it() {
    let app = TestApp::start().await;
    let (maria, other) = (person(&app, "maria").await, person(&app, "other").await);
    let (mine, theirs) = (project(&app, &maria).await, project(&app, &other).await);
    let mut all = follow(&app, "/api/v1/events/stream", &maria.token, None).await;
    let mut one = follow(&app, &stream_of(mine), &maria.token, None).await;
    sqlx::query("update project_member set user_id = $1 where project_id = $2")
        .bind(maria.id.0)
        .bind(theirs.0)
        .execute(app.app.pool())
        .await
        .unwrap();
    assert_eq!(all.next().await.event, "reset");
    happen(&app, theirs, 1).await;
    assert_eq!(all.next().await.data["project_id"], theirs.to_string());
    sqlx::query("delete from project_member where project_id = $1")
        .bind(mine.0)
        .execute(app.app.pool())
        .await
        .unwrap();
    assert_eq!(one.try_next().await, None);
    assert_eq!(all.next().await.event, "reset");
}

#[tokio::test]
async fn a_stream_ends_when_its_token_ends_or_the_process_stops() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    let mut client = follow(&app, &stream_of(project), &maria.token, None).await;
    app.clock.set(app.clock.now() + chrono::Duration::minutes(16));
    assert_eq!(client.try_next().await, None);
    let token = app.app.keys.sign_access(maria.id, 0).unwrap();
    let mut client = follow(&app, &stream_of(project), &token, None).await;
    app.app.stopping.cancel();
    assert_eq!(client.try_next().await, None);
    let refused = request(&app, &stream_of(project), &token, None).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_silent_stream_is_kept_open_by_comments() {
    let app = TestApp::start_with(|config| config.keep_alive = Duration::from_millis(30)).await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    let path = format!("/api/v1/projects/{project}/events/stream");
    let mut body = request(&app, &path, &maria.token, None).await.into_body().into_data_stream();

    let mut seen = String::new();
    while seen.matches("\n: still here\n\n").count() < 3 {
        let chunk = tokio::time::timeout(PATIENCE, body.next()).await.unwrap().unwrap().unwrap();
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
    }

    assert!(!seen.contains("data:"), "nothing happened: {seen}");
}

#[tokio::test]
async fn who_follows_a_project_hears_that_a_budget_of_its_organisation_was_set_or_taken_away() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let project = app.project(&maria).await;
    let (_, organisations) = app.get("/api/v1/organisations", &maria).await;
    let organisation = &organisations["items"][0]["id"];
    let path = format!("/api/v1/organisations/{}/budgets/month", organisation.as_str().unwrap());
    let mut client = follow(&app, "/api/v1/events/stream", &maria, None).await;
    for (method, body) in [(Method::PUT, Some(json!({ "hard_limit_micro_usd": 5 }))), (Method::DELETE, None)]
    {
        let (status, answer) = app.send(method, &path, Some(&maria), body).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
        let told = client.next().await;
        assert_eq!((told.event.as_str(), &told.id), ("organisation.budget_changed", &None));
        assert_eq!(told.data["project_id"], project);
        assert_eq!(told.data["data"], json!({ "organisation_id": organisation, "period": "month" }));
    }
}
