//! One hub, one listener: order, resume, reset, lag.

use crate::harness::{Instance, at, commit, expect_range, log, next, next_seq, on_database, project};
use rand::seq::SliceRandom;
use serde_json::json;
use std::time::Duration;
use syndarix_bus::{Cursor, Hub, Item, Relay};

#[test]
fn a_new_listener_hears_only_what_comes_after() {
    on_database(|pool| async move {
        let (hub, project) = (Hub::default(), project(&pool).await);
        commit(&pool, project, 5).await;
        let mut listener = hub.subscribe(&log(&pool), project, None).await.unwrap();
        assert_eq!(listener.cursor(), at(5));
        hub.committed(&commit(&pool, project, 2).await);
        expect_range(&mut listener, 6..=7).await;
    });
}

#[test]
fn a_listener_resumes_from_its_cursor_and_goes_on_live() {
    on_database(|pool| async move {
        let (hub, project) = (Hub::default(), project(&pool).await);
        commit(&pool, project, 700).await;
        let mut listener = hub.subscribe(&log(&pool), project, Some(at(3))).await.unwrap();
        expect_range(&mut listener, 4..=300).await;
        hub.committed(&commit(&pool, project, 3).await);
        expect_range(&mut listener, 301..=703).await;
        hub.committed(&commit(&pool, project, 1).await);
        expect_range(&mut listener, 704..=704).await;
    });
}

#[test]
fn events_told_of_in_any_order_are_heard_in_theirs() {
    on_database(|pool| async move {
        let (hub, project) = (Hub::default(), project(&pool).await);
        let mut listener = hub.subscribe(&log(&pool), project, None).await.unwrap();
        let mut events = commit(&pool, project, 200).await;
        events.shuffle(&mut rand::rng());
        for event in &events {
            hub.committed(std::slice::from_ref(event));
            hub.committed(std::slice::from_ref(event));
        }
        expect_range(&mut listener, 1..=200).await;
    });
}

#[test]
fn a_hint_that_was_lost_is_made_up_for_from_the_log() {
    on_database(|pool| async move {
        let instance = Instance::start(&pool, Relay::Postgres);
        let project = project(&pool).await;
        let mut listener = instance.hub.subscribe(&log(&pool), project, None).await.unwrap();
        commit(&pool, project, 3).await;
        instance.hub.committed(&commit(&pool, project, 1).await);
        expect_range(&mut listener, 1..=4).await;
        // Nobody tells of this one at all.
        commit(&pool, project, 1).await;
        expect_range(&mut listener, 5..=5).await;
    });
}

#[test]
fn a_listener_that_lags_behind_the_ring_is_sent_back_to_the_log() {
    on_database(|pool| async move {
        let (hub, project) = (Hub::default(), project(&pool).await);
        let mut listener = hub.subscribe(&log(&pool), project, None).await.unwrap();
        for _ in 0..30 {
            hub.committed(&commit(&pool, project, 100).await);
        }
        expect_range(&mut listener, 1..=3_000).await;
        hub.committed(&commit(&pool, project, 1).await);
        assert_eq!(next_seq(&mut listener).await, 3_001);
    });
}

#[test]
fn a_cursor_of_another_life_or_beyond_the_end_is_reset_once() {
    on_database(|pool| async move {
        let (hub, project) = (Hub::default(), project(&pool).await);
        commit(&pool, project, 4).await;
        for cursor in [Cursor { epoch: 2, seq: 1 }, Cursor { epoch: 0, seq: 4 }, at(1_000)] {
            let mut listener = hub.subscribe(&log(&pool), project, Some(cursor)).await.unwrap();
            assert!(matches!(next(&mut listener).await, Item::Reset(end) if end.epoch == 1), "{cursor}");
            let head = listener.cursor().seq;
            hub.committed(&commit(&pool, project, 1).await);
            assert_eq!(next_seq(&mut listener).await, head + 1);
        }
    });
}

#[test]
fn a_restored_log_resets_those_who_listen() {
    on_database(|pool| async move {
        let instance = Instance::start(&pool, Relay::Postgres);
        let project = project(&pool).await;
        commit(&pool, project, 9).await;
        let mut listener = instance.hub.subscribe(&log(&pool), project, None).await.unwrap();
        sqlx::raw_sql("delete from event where seq > 4; update project_log set head = 4, epoch = 2")
            .execute(&pool)
            .await
            .unwrap();
        let Item::Reset(end) = next(&mut listener).await else { panic!("expected a reset") };
        assert_eq!(end, Cursor { epoch: 2, seq: 4 });
        instance.hub.committed(&commit(&pool, project, 1).await);
        assert_eq!(next_seq(&mut listener).await, 5);
        assert_eq!(listener.cursor().to_string(), "2:5");
    });
}

#[test]
fn whispers_reach_live_listeners_and_never_come_after_what_followed_them() {
    on_database(|pool| async move {
        let (hub, project) = (Hub::default(), project(&pool).await);
        let mut listener = hub.subscribe(&log(&pool), project, None).await.unwrap();
        hub.ephemeral(project, "run.delta", &json!({ "text": "a" }));
        assert!(matches!(next(&mut listener).await, Item::Ephemeral(item) if item.data["text"] == "a"));

        let waiting = hub.listen(project);
        hub.ephemeral(project, "run.delta", &json!({ "text": "old" }));
        hub.committed(&commit(&pool, project, 1).await);
        let end = log(&pool).head(project).await.unwrap();
        let mut late = waiting.start(&log(&pool), end, Some(at(0)));
        hub.ephemeral(project, "run.delta", &json!({ "text": "new" }));
        assert_eq!(next_seq(&mut late).await, 1);
        assert!(matches!(next(&mut late).await, Item::Ephemeral(item) if item.data["text"] == "new"));
    });
}

#[test]
fn waiting_may_be_given_up_at_any_moment() {
    on_database(|pool| async move {
        let (hub, project) = (Hub::default(), project(&pool).await);
        let mut listener = hub.subscribe(&log(&pool), project, Some(at(0))).await.unwrap();
        let mut seen = 0;
        for round in 0..300_u64 {
            if round % 3 == 0 {
                hub.committed(&commit(&pool, project, 2).await);
            }
            let waited = tokio::time::timeout(Duration::from_micros(round % 7 * 150), listener.next());
            if let Ok(Ok(Item::Event(event))) = waited.await {
                seen += 1;
                assert_eq!(event.event.seq, seen);
            }
        }
        expect_range(&mut listener, seen + 1..=200).await;
    });
}
