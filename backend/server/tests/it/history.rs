//! Stories over REST: history, time travel, refusals, idempotency; and the rebuild of state rows from events.

use crate::{desk::Desk, scene::Scene, support::TestApp};
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use std::time::{Duration, Instant};
use syndarix::db::{Author, Error, Store};
use syndarix_bus::Hub;
use syndarix_domain::ids::ProjectId;
use syndarix_jobs::Wake;
use uuid::Uuid;

#[tokio::test]
async fn a_story_is_seen_as_it_was_at_every_version_of_its_history() {
    let desk = Desk::open().await;
    let story = desk.story("Sort the list").await;
    desk.post(&format!("/stories/{story}/start"), json!({})).await;
    desk.post(&format!("/stories/{story}/block"), json!({ "reason": "the list is not ours" })).await;

    let (_, history) = desk.get(&format!("/stories/{story}/history")).await;
    let seen: Vec<(i64, &str, &str)> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (
                item["version"].as_i64().unwrap(),
                item["type"].as_str().unwrap(),
                item["phase"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [(1, "story.created", "analysis"), (2, "story.started", "analysis"), (3, "story.blocked", "blocked")]
    );
    for (version, _, phase) in &seen {
        let (status, then) = desk.get(&format!("/stories/{story}?version={version}")).await;
        assert_eq!(
            (status, then["phase"].as_str(), then["version"].as_i64()),
            (StatusCode::OK, Some(*phase), Some(*version))
        );
    }
    let (status, _) = desk.get(&format!("/stories/{story}?version=4")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a version that never was");
}

#[tokio::test]
async fn a_story_of_an_earlier_version_knows_nothing_of_what_came_later() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let at = async |version: i64| {
        let path = scene.path(&format!("/stories/{}?version={version}", scene.story));
        test.get(&path, &scene.token).await.1
    };
    let (_, now) = test.get(&scene.path(&format!("/stories/{}", scene.story)), &scene.token).await;
    let version = now["version"].as_i64().unwrap();
    assert_eq!((&now["owner"]["kind"], &now["cost_micro_usd"]), (&json!("agent"), &json!(0)));
    test.clock.set(test.clock.now() + chrono::Duration::minutes(1));
    scene.spend(700, false).await;
    assert_eq!(at(version).await, now);
    scene.reach_review().await;

    let then = scene.path(&format!("/stories/{}?version={version}", scene.story));
    let (_, then) = test.get(&then, &scene.token).await;

    assert_eq!(then, now);
}

#[tokio::test]
async fn an_illegal_move_is_refused_with_the_guard_and_the_phases_from_which_it_is_legal() {
    let desk = Desk::open().await;
    let story = desk.story("Sort the list").await;
    let (status, problem) = desk.post(&format!("/stories/{story}/unblock"), json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["code"], "illegal_transition");
    assert_eq!(problem["guard"], "phase");
    assert_eq!(problem["legal_from"], json!(["blocked"]));
}

#[tokio::test]
async fn the_same_key_writes_one_story_and_another_body_under_it_is_refused() {
    let desk = Desk::open().await;
    let body = json!({ "title": "Once only" });
    let (first, story) = desk.post_with_key("/stories", "key-1", body.clone()).await;
    let (second, again) = desk.post_with_key("/stories", "key-1", body).await;
    assert_eq!((first, second), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(story, again, "the first answer is given again");
    let (_, stories) = desk.get("/stories").await;
    assert_eq!(stories["items"].as_array().unwrap().len(), 1);

    let (status, problem) = desk.post_with_key("/stories", "key-1", json!({ "title": "Another" })).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("idempotency_key_reused"))
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_is_a_problem_and_nothing_is_written() {
    let desk = Desk::open().await;
    let (status, problem) =
        desk.post("/stories", json!({ "title": "x", "description": "x".repeat(2_000_000) })).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::PAYLOAD_TOO_LARGE, Some("too_large")));
    let (status, problem) = desk.post("/stories", json!({ "title": 7 })).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some("invalid")));
    let (status, problem) = desk.post("/stories", json!({ "title": "  " })).await;
    assert_eq!((status, problem["guard"].as_str()), (StatusCode::CONFLICT, Some("title")));
    let (_, stories) = desk.get("/stories").await;
    assert_eq!(stories["items"], json!([]));
}

#[tokio::test]
async fn a_state_row_that_was_changed_by_hand_is_found_and_made_anew_from_its_events() {
    let desk = Desk::open().await;
    let story = desk.story("Sort the list").await;
    let rows = &desk.app.app.store;
    assert!(rows.rebuild(false).await.unwrap().different.is_empty());

    sqlx::query("update story set state = jsonb_set(state, '{title}', '\"Forged\"') where id = $1::uuid")
        .bind(&story)
        .execute(desk.app.app.pool())
        .await
        .unwrap();
    let found = rows.rebuild(true).await.unwrap();
    assert_eq!((found.different, found.left), (vec![format!("story/{story}: another state")], vec![]));
    assert!(rows.rebuild(false).await.unwrap().different.is_empty());
    let (_, view) = desk.get(&format!("/stories/{story}")).await;
    assert_eq!(view["title"], "Sort the list");
}

#[tokio::test]
async fn whatever_is_wrong_with_a_state_row_is_told_and_repaired() {
    let desk = Desk::open().await;
    let mut stories = Vec::new();
    for title in ["version", "phase", "project", "missing", "kept"] {
        stories.push(desk.story(title).await);
    }
    let (pool, rows) = (desk.app.app.pool(), &desk.app.app.store);
    let read = || async {
        let sql = "select id::text, project_id::text, version, phase, state from story order by id";
        sqlx::query_as::<_, (String, String, i64, String, Value)>(sql).fetch_all(pool).await.unwrap()
    };
    let before = read().await;
    let other = desk.app.project(&desk.token).await;
    for (sql, id) in [
        ("update story set version = version + 1 where id = $1::uuid", &stories[0]),
        ("update story set phase = 'done' where id = $1::uuid", &stories[1]),
        (
            "update story set project_id = (select id from project order by id desc limit 1) where id = $1::uuid",
            &stories[2],
        ),
        ("delete from story where id = $1::uuid", &stories[3]),
        (
            "insert into story select $1::uuid, project_id, 1, phase, state, now() from story limit 1",
            &Uuid::max().to_string(),
        ),
    ] {
        assert_eq!(
            sqlx::query(sql).bind(id).execute(pool).await.unwrap().rows_affected(),
            1,
            "{sql}, {other}"
        );
    }
    let expected = [
        format!("story/{}: another version", stories[0]),
        format!("story/{}: another phase", stories[1]),
        format!("story/{}: another project", stories[2]),
        format!("story/{}: events without a row", stories[3]),
        format!("story/{}: a row without events", Uuid::max()),
    ];
    let told = rows.rebuild(false).await.unwrap().different;
    let repaired = rows.rebuild(true).await.unwrap();
    assert_eq!((told.as_slice(), repaired.different.as_slice()), (&expected[..], &expected[..]));
    assert_eq!((repaired.left.is_empty(), read().await), (true, before));
}

#[tokio::test]
async fn a_stream_that_is_made_while_all_are_compared_is_no_difference() {
    let desk = std::sync::Arc::new(Desk::open().await);
    let writer = std::sync::Arc::clone(&desk);
    let writing = tokio::task::spawn(async move {
        for round in 0..60 {
            writer.story(&format!("Story {round}")).await;
        }
    });
    while !writing.is_finished() {
        let found = desk.app.app.store.rebuild(false).await.unwrap();
        assert!(found.different.is_empty(), "{found:?}");
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn the_history_of_a_stream_is_read_by_the_index_of_streams() {
    let desk = Desk::open().await;
    let story: Uuid = desk.story("Sort the list").await.parse().unwrap();
    let pool = desk.app.app.pool();
    let used = || async {
        let sql = "select idx_scan from pg_stat_user_indexes where indexrelname = 'event_stream_version_key'";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.unwrap()
    };
    let before = used().await;
    // In a table of a few rows the planner would rather read all of them.
    let options = pool.connect_options().as_ref().clone().options([("enable_seqscan", "off")]);
    let own = PgPoolOptions::new().connect_lazy_with(options);
    let reader = Store::new(own.clone(), desk.app.clock.clone(), Hub::default(), Wake::new());
    let history = reader.history(ProjectId(desk.project.parse().unwrap()), story, None).await.unwrap();
    assert_eq!(history.len(), 1);
    // Counters are written down at the end of a session.
    own.close().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while used().await == before {
        assert!(Instant::now() < deadline, "it was not used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_unit_that_moves_two_projects_is_refused() {
    let desk = Desk::open().await;
    let other: ProjectId = ProjectId(desk.app.project(&desk.token).await.parse().unwrap());
    let mut uow = desk.app.app.store.begin(Author::system());
    uow.announce(
        ProjectId(desk.project.parse().unwrap()),
        "agent",
        Uuid::max(),
        "agent.changed.v1",
        json!({}),
    );
    uow.announce(other, "agent", Uuid::max(), "agent.changed.v1", json!({}));
    assert!(matches!(uow.commit().await, Err(Error::TwoProjects)));
}

#[tokio::test]
async fn events_of_a_project_are_numbered_without_a_gap_however_many_write_at_once() {
    let desk = std::sync::Arc::new(Desk::open().await);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let desk = std::sync::Arc::clone(&desk);
        writers.spawn(async move {
            for round in 0..5 {
                desk.story(&format!("Story {round} of writer {writer}")).await;
            }
        });
    }
    writers.join_all().await;
    let project: ProjectId = desk.project.parse().unwrap();
    let (head, count, numbers): (i64, i64, i64) = sqlx::query_as(
        "select (select head from project_log where project_id = $1), count(*), count(distinct seq)
         from event where project_id = $1",
    )
    .bind(project.0)
    .fetch_one(desk.app.app.pool())
    .await
    .unwrap();
    assert_eq!((head, count), (numbers, numbers));
    let titles: i64 =
        sqlx::query_scalar("select count(distinct state ->> 'number') from story where project_id = $1")
            .bind(project.0)
            .fetch_one(desk.app.app.pool())
            .await
            .unwrap();
    assert_eq!(titles, 40, "every story has a number of its own");
}
