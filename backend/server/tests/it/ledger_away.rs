//! The books while they cannot be written, or are held by somebody: nothing is lost, nobody else waits.

use crate::{
    budgets::project,
    ledger::{counted, reservation, settlement},
    support::TestApp,
};
use futures::FutureExt;
use std::{sync::Arc, time::Duration};
use syndarix::{
    db::Author,
    features::{
        costs::Target,
        llm::{Place, lock_books},
    },
};
use tokio::task::JoinSet;

/// More calls than go into two groups.
const CROWD: usize = 600;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_asks_without_end_and_whose_books_are_held_keeps_no_other_waiting() {
    let app = Arc::new(TestApp::start().await);
    let (held, other) = (project(&app, None).await, project(&app, None).await);
    let mut holder = app.app.store.begin(Author::system());
    lock_books(holder.conn().await.unwrap(), held).await.unwrap();
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let app = Arc::clone(&app);
        crowd.spawn(async move {
            let reservation = reservation(&app.app, Place::of_project(held), 10);
            app.app.ledger.reserve(&reservation, Duration::ZERO).await.unwrap().is_ok()
        });
    }

    let elsewhere = reservation(&app.app, Place::of_project(other), 10);
    let answer = app.app.ledger.reserve(&elsewhere, Duration::ZERO);
    let granted = tokio::time::timeout(PATIENCE, answer).await.expect("nobody waits for another project");

    assert_eq!(granted.unwrap(), Ok(10));
    assert!(crowd.join_next().now_or_never().is_none(), "the crowd waits all the while");
    drop(holder);
    assert!(crowd.join_all().await.into_iter().all(|granted| granted), "and is served when it can be");
}

/// As PostgreSQL answers when it cannot write another row.
const FULL: &str = "
create function full_disk() returns trigger language plpgsql as $$
begin
    raise exception 'could not extend file: No space left on device' using errcode = '53100';
end $$;
create trigger full_disk before insert or update on usage for each row execute function full_disk()";

#[tokio::test]
async fn what_a_full_disk_keeps_from_being_settled_is_owed_and_written_when_there_is_room() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, Some(10_000)).await);
    let open = reservation(&app.app, place, 700);
    app.app.ledger.reserve(&open, Duration::ZERO).await.unwrap().unwrap();
    for statement in FULL.split_inclusive("end $$;") {
        sqlx::raw_sql(statement).execute(app.app.pool()).await.unwrap();
    }

    let refused = app.app.ledger.reserve(&reservation(&app.app, place, 700), Duration::ZERO).await;
    assert!(refused.is_err(), "nothing is asked of a model");
    app.app.ledger.settle(settlement(&app.app, &open, 300)).await.unwrap_err();

    sqlx::raw_sql("drop trigger full_disk on usage").execute(app.app.pool()).await.unwrap();
    tokio::time::timeout(PATIENCE, app.app.ledger.close()).await.expect("nothing is owed for ever");
    assert_eq!(counted(&app.app, Target::of_project(place.project)).await, (300, 0, 307, 0));
    assert!(!app.app.ledger.settle(settlement(&app.app, &open, 300)).await.unwrap(), "once");
}

#[tokio::test]
async fn a_reservation_that_nobody_waits_for_any_more_is_taken_back_whether_or_not_it_was_written() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, Some(10_000)).await);
    let mut holder = app.app.store.begin(Author::system());
    lock_books(holder.conn().await.unwrap(), place.project).await.unwrap();
    // The first two are being written, and the third waits for its turn.
    for _ in 0..3 {
        let reservation = reservation(&app.app, place, 700);
        let asked = app.app.ledger.reserve(&reservation, Duration::ZERO);
        assert!(tokio::time::timeout(Duration::from_millis(50), asked).await.is_err());
    }

    drop(holder);
    tokio::time::timeout(PATIENCE, app.app.ledger.close()).await.expect("nothing is owed for ever");

    assert_eq!(counted(&app.app, Target::of_project(place.project)).await, (0, 0, 0, 0));
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select state, cost_micro_usd from usage").fetch_all(app.app.pool()).await.unwrap();
    assert!(rows.len() < 3 && rows.iter().all(|row| *row == ("failed".into(), 0)), "{rows:?}");
}
