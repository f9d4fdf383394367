//! Sprints over REST: asked about and decided, changed, completed with what is left carried over.

use crate::desk::Desk;
use axum::http::StatusCode;
use futures::join;
use serde_json::{Value, json};

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

impl Desk {
    /// A sprint that could start if it had a story.
    async fn sprint(&self, name: &str) -> String {
        let body =
            json!({ "name": name, "goal": "Exports", "starts_on": "2100-01-01", "ends_on": "2100-01-14" });
        let (status, sprint) = self.post("/sprints", body).await;
        assert_eq!(status, StatusCode::CREATED, "{sprint}");
        id(&sprint)
    }

    async fn story_in(&self, sprint: &str, title: &str) -> String {
        let (status, story) = self.post("/stories", json!({ "title": title, "sprint_id": sprint })).await;
        assert_eq!(status, StatusCode::CREATED, "{story}");
        id(&story)
    }

    async fn tell(&self, sprint: &str, what: &str, body: Value) -> (StatusCode, Value) {
        self.post(&format!("/sprints/{sprint}/{what}"), body).await
    }

    async fn show(&self, sprint: &str) -> Value {
        self.get(&format!("/sprints/{sprint}")).await.1
    }

    async fn approval(&self, id: &Value) -> Value {
        self.get(&format!("/approvals/{}", id.as_str().unwrap())).await.1
    }

    async fn answer(&self, approval: &Value, outcome: &str) -> (StatusCode, Value) {
        let body = json!({ "outcome": outcome, "digest": approval["digest"], "note": "because" });
        self.post(&format!("/approvals/{}/decision", id(approval)), body).await
    }

    /// The open question after this was asked for.
    async fn asked(&self, sprint: &str, what: &str, body: Value) -> Value {
        let (status, view) = self.tell(sprint, what, body).await;
        assert_eq!(status, StatusCode::OK, "{view}");
        self.approval(&view["approval_id"]).await
    }

    /// The sprint's own events of a kind, as (sprint, data).
    async fn told(&self, kind: &str) -> Vec<(String, Value)> {
        sqlx::query_as("select stream_id::text, data from event where type = $1 order by seq")
            .bind(kind)
            .fetch_all(self.app.app.pool())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn an_approved_start_starts_the_sprint_and_an_approved_completion_completes_it() {
    let desk = Desk::open().await;
    let (sprint, next) = (desk.sprint("Alpha").await, desk.sprint("Beta").await);
    desk.story_in(&sprint, "Export").await;
    let question = desk.asked(&sprint, "start", json!({})).await;
    assert_eq!(question["arguments"]["stories"][0]["title"], "Export", "{question}");
    assert_eq!(desk.show(&sprint).await["state"], "planning");
    assert_eq!(desk.answer(&question, "approved").await.0, StatusCode::OK);
    assert_eq!(desk.show(&sprint).await["state"], "active");

    desk.tell(&sprint, "request-review", json!({})).await;
    let question = desk.asked(&sprint, "complete", json!({ "carry_over_to": next })).await;
    assert_eq!(desk.show(&sprint).await["state"], "review");
    assert_eq!(desk.answer(&question, "approved").await.0, StatusCode::OK);

    let done = desk.show(&sprint).await;
    assert_eq!((&done["state"], &done["approval_id"]), (&json!("done"), &Value::Null));
}

#[tokio::test]
async fn a_rejected_start_leaves_the_sprint_in_planning_and_it_can_be_asked_again() {
    let desk = Desk::open().await;
    let sprint = desk.sprint("Alpha").await;
    desk.story_in(&sprint, "Export").await;
    let question = desk.asked(&sprint, "start", json!({})).await;
    assert_eq!(desk.answer(&question, "rejected").await.0, StatusCode::OK);
    let view = desk.show(&sprint).await;
    assert_eq!((&view["state"], &view["approval_id"]), (&json!("planning"), &Value::Null));

    let again = desk.asked(&sprint, "start", json!({})).await;

    assert_ne!(again["id"], question["id"]);
}

#[tokio::test]
async fn a_question_is_about_the_stories_that_it_shows_and_is_superseded_when_they_change() {
    let desk = Desk::open().await;
    let sprint = desk.sprint("Alpha").await;
    let first = desk.story_in(&sprint, "Export").await;
    let question = desk.asked(&sprint, "start", json!({})).await;

    desk.story_in(&sprint, "Import").await;

    let moot = desk.approval(&question["id"]).await;
    assert_eq!((&moot["state"], &moot["superseded_by"]), (&json!("superseded"), &Value::Null));
    let (status, problem) = desk.answer(&question, "approved").await;
    assert_eq!((status, &problem["outcome"]), (StatusCode::CONFLICT, &json!("superseded")));
    assert_eq!(desk.show(&sprint).await["approval_id"], Value::Null, "no dead end");
    let mails: i64 = sqlx::query_scalar(
        "select count(*) from job join app_user u on u.id = (payload ->> 'only')::uuid
         where kind = 'people.notify' and payload ->> 'sentence' like '%ask again%' and u.name = 'maria'",
    )
    .fetch_one(desk.app.app.pool())
    .await
    .unwrap();
    assert_eq!(mails, 1, "whoever asked is told");

    let second = desk.asked(&sprint, "start", json!({})).await;
    assert_eq!(second["arguments"]["stories"].as_array().unwrap().len(), 2);
    assert_eq!(desk.approval(&question["id"]).await["superseded_by"], second["id"]);
    desk.post(&format!("/stories/{first}/cancel"), json!({ "reason": "not wanted" })).await;
    assert_eq!(desk.approval(&second["id"]).await["state"], "superseded");
}

#[tokio::test]
async fn what_the_sprint_refuses_is_no_decision_and_says_why() {
    let desk = Desk::open().await;
    let sprint = desk.sprint("Alpha").await;
    desk.story_in(&sprint, "Export").await;
    let question = desk.asked(&sprint, "start", json!({})).await;
    // As a history from before questions were superseded may have it.
    sqlx::query("update story set state = jsonb_set(state, '{sprint}', 'null')")
        .execute(desk.app.app.pool())
        .await
        .unwrap();

    let (status, problem) = desk.answer(&question, "approved").await;

    assert_eq!((status, &problem["guard"]), (StatusCode::CONFLICT, &json!("stories")), "{problem}");
    assert_eq!(desk.approval(&question["id"]).await["state"], "pending");
    assert_eq!(desk.answer(&question, "rejected").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_sprint_that_lacks_what_it_needs_gets_it_and_starts() {
    let desk = Desk::open().await;
    desk.autonomy("autonomous").await;
    let (_, made) = desk.post("/sprints", json!({ "name": "Alpha" })).await;
    let sprint = id(&made);
    desk.story_in(&sprint, "Export").await;
    let path = format!("/sprints/{sprint}");
    assert_eq!(desk.tell(&sprint, "start", json!({})).await.1["guard"], "dates");
    let (status, problem) =
        desk.patch(&path, json!({ "starts_on": "2100-01-14", "ends_on": "2100-01-01" })).await;
    assert_eq!((status, &problem["guard"]), (StatusCode::CONFLICT, &json!("dates")));

    let dates = json!({ "goal": "Exports", "starts_on": "2100-01-01", "ends_on": "2100-01-14" });
    let (status, changed) = desk.patch(&path, dates).await;
    assert_eq!((status, &changed["name"]), (StatusCode::OK, &json!("Alpha")), "{changed}");
    assert_eq!(desk.tell(&sprint, "start", json!({})).await.1["state"], "active");

    let (status, problem) = desk.patch(&path, json!({ "goal": "Imports" })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("illegal_transition")));
}

#[tokio::test]
async fn a_changed_sprint_supersedes_the_question_about_it() {
    let desk = Desk::open().await;
    let sprint = desk.sprint("Alpha").await;
    desk.story_in(&sprint, "Export").await;
    let question = desk.asked(&sprint, "start", json!({})).await;
    desk.patch(&format!("/sprints/{sprint}"), json!({ "goal": "Imports" })).await;
    assert_eq!(desk.approval(&question["id"]).await["state"], "superseded");
    assert_eq!(desk.show(&sprint).await["approval_id"], Value::Null);
}

#[tokio::test]
async fn a_sprint_that_is_over_takes_no_story() {
    let desk = Desk::open().await;
    desk.autonomy("autonomous").await;
    let (over, open) = (desk.sprint("Alpha").await, desk.sprint("Beta").await);
    desk.tell(&over, "cancel", json!({ "reason": "not wanted" })).await;
    let story = desk.story_in(&open, "Export").await;

    let written = desk.post("/stories", json!({ "title": "Import", "sprint_id": over })).await;
    let moved = desk.post(&format!("/stories/{story}/move"), json!({ "sprint_id": over })).await;
    desk.tell(&open, "start", json!({})).await;
    desk.tell(&open, "request-review", json!({})).await;
    let carried = desk.tell(&open, "complete", json!({ "carry_over_to": over })).await;

    for (status, problem) in [written, moved, carried] {
        assert_eq!((status, &problem["guard"]), (StatusCode::CONFLICT, &json!("sprint")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("Alpha is cancelled"), "{problem}");
    }
    assert_eq!(desk.show(&open).await["state"], "review");
    assert_eq!(desk.show(&open).await["stories"], 1);
}

#[tokio::test]
async fn what_is_carried_over_is_said_in_both_sprints() {
    let desk = Desk::open().await;
    desk.autonomy("autonomous").await;
    let (from, to) = (desk.sprint("Alpha").await, desk.sprint("Beta").await);
    let story = desk.story_in(&from, "Export").await;
    desk.tell(&from, "start", json!({})).await;
    desk.tell(&from, "request-review", json!({})).await;

    let (status, done) = desk.tell(&from, "complete", json!({ "carry_over_to": to })).await;

    assert_eq!((status, &done["state"]), (StatusCode::OK, &json!("done")), "{done}");
    let removed = desk.told("sprint.story_removed.v1").await;
    assert_eq!(
        (&removed[0].0, &removed[0].1["story"], &removed[0].1["to"]),
        (&from, &json!(story), &json!(to))
    );
    let added = desk.told("sprint.story_added.v1").await;
    let (sprint, data) = added.last().unwrap();
    assert_eq!((sprint, &data["story"], &data["from"]), (&to, &json!(story), &json!(from)));
    assert_eq!(
        (&desk.show(&from).await["stories"], &desk.show(&to).await["stories"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn a_story_that_comes_while_its_sprint_is_completed_is_refused_or_holds_it_open() {
    let desk = Desk::open().await;
    desk.autonomy("autonomous").await;
    let next = desk.sprint("Next").await;
    for round in 0..6 {
        let sprint = desk.sprint(&format!("Round {round}")).await;
        desk.story_in(&sprint, "Export").await;
        desk.tell(&sprint, "start", json!({})).await;
        desk.tell(&sprint, "request-review", json!({})).await;
        let late = json!({ "title": "Late", "sprint_id": sprint });
        let (written, _) = join!(
            desk.post("/stories", late),
            desk.tell(&sprint, "complete", json!({ "carry_over_to": next }))
        );
        let view = desk.show(&sprint).await;
        if view["state"] == "done" {
            assert_eq!(view["stories"], 0, "a done sprint with an open story: {view}");
        } else {
            assert_eq!(written.0, StatusCode::CREATED, "{}", written.1);
        }
    }
}

#[tokio::test]
async fn a_page_of_stories_is_the_newest_of_those_asked_for_and_the_next_one_goes_on() {
    let desk = Desk::open().await;
    let sprint = desk.sprint("First").await;
    for title in ["one", "two", "three"] {
        desk.story_in(&sprint, title).await;
        desk.story(&format!("{title}, elsewhere")).await;
    }
    let page = async |query: String| {
        let (status, page) = desk.get(&format!("/stories?sprint_id={sprint}&limit=2{query}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let titles = page["items"].as_array().unwrap().iter().map(|story| story["title"].clone());
        (titles.collect::<Vec<Value>>(), page["next_cursor"].as_str().map(str::to_owned))
    };

    let (first, cursor) = page(String::new()).await;
    let (second, end) = page(format!("&cursor={}", cursor.unwrap())).await;

    assert_eq!((first, second), (vec![json!("three"), json!("two")], vec![json!("one")]));
    assert_eq!(end, None);
    assert_eq!(page("&phase=done".into()).await.0, Vec::<Value>::new());
}
