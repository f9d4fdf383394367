//! The books while they cannot be written, or are held by somebody: nothing is lost, nobody else waits.

use crate::{
    budgets::project,
    ledger::{counted, hard, reservation, settlement},
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use futures::FutureExt;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use syndarix::{
    db::Author,
    features::{
        costs::{self, Owner, Target},
        llm::{Place, lock_books},
    },
};
use syndarix_domain::{
    budget::{Period, Scope},
    ids::GatewayKeyId,
};
use tokio::task::JoinSet;
use uuid::Uuid;

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
async fn an_instance_whose_calls_a_full_disk_refuses_again_and_again_is_not_ready() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, Some(10_000)).await);
    let readiness = || app.send(Method::GET, "/readyz", None, None);
    let (status, before) = readiness().await;
    assert_eq!((status, &before["parts"]["writes"]["ok"]), (StatusCode::OK, &json!(true)), "{before}");
    for statement in FULL.split_inclusive("end $$;") {
        sqlx::raw_sql(statement).execute(app.app.pool()).await.unwrap();
    }

    let noticed = async {
        loop {
            app.app.ledger.reserve(&reservation(&app.app, place, 700), Duration::ZERO).await.unwrap_err();
            if let (StatusCode::SERVICE_UNAVAILABLE, readiness) = readiness().await {
                return readiness;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let readiness = tokio::time::timeout(PATIENCE, noticed).await.expect("it is noticed");

    let writes = json!({ "ok": false, "required": true, "detail": "refused: its disk is full" });
    assert_eq!((&readiness["status"], &readiness["parts"]["writes"]), (&json!("not_ready"), &writes));
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

/// Until a transaction of this database waits for another's lock.
pub(crate) async fn somebody_waits(app: &TestApp) {
    let waiting = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
    let waits = async {
        while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(app.app.pool()).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("the books are asked for");
}

#[tokio::test]
async fn a_reservation_that_waits_for_the_books_sees_the_limit_that_was_set_meanwhile() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, Some(10_000)).await);
    let mut holder = app.app.store.begin(Author::system());
    costs::set_limits(&mut holder, Target::of_project(place.project), hard(100)).await.unwrap();
    let late = reservation(&app.app, place, 700);

    let (answer, ()) = tokio::join!(app.app.ledger.reserve(&late, Duration::ZERO), async {
        somebody_waits(&app).await;
        holder.commit().await.unwrap();
    });

    assert!(answer.unwrap().is_err(), "the budget from before it waited would have paid for it");
    assert_eq!(counted(&app.app, Target::of_project(place.project)).await, (0, 0, 0, 0));
}

#[tokio::test]
async fn a_settlement_that_waits_for_the_books_counts_in_a_budget_that_was_set_meanwhile() {
    let app = TestApp::start().await;
    let (project, key) = (project(&app, Some(10_000)).await, Uuid::now_v7());
    let place = Place { key: Some(GatewayKeyId(key)), ..Place::of_project(project) };
    let open = reservation(&app.app, place, 700);
    app.app.ledger.reserve(&open, Duration::ZERO).await.unwrap().unwrap();
    let target = Target { on: Owner::Project(project, Scope::Key, key), period: Period::Total };
    let mut holder = app.app.store.begin(Author::system());
    costs::set_limits(&mut holder, target, hard(10_000)).await.unwrap();

    let (settled, ()) = tokio::join!(app.app.ledger.settle(settlement(&app.app, &open, 300)), async {
        somebody_waits(&app).await;
        holder.commit().await.unwrap();
    });

    assert!(settled.unwrap());
    assert_eq!(counted(&app.app, target).await, (300, 0, 307, 0));
}

/// Which table is written by which statement: the server has one moment for all that a statement does.
const NOTED: &str = "
create table noted (what text not null, at timestamptz not null);
create function note() returns trigger language plpgsql as $$
begin
    insert into noted values (tg_table_name, statement_timestamp());
    return null;
end $$;
create trigger note after insert or update on usage for each row execute function note();
create trigger note after insert or update on budget_window for each row execute function note();
create trigger note after insert on event for each row execute function note()";

#[tokio::test]
async fn a_call_is_reserved_by_one_statement_that_writes_and_settled_by_two_the_last_with_its_event() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, Some(10_000)).await);
    sqlx::raw_sql(NOTED).execute(app.app.pool()).await.unwrap();
    let call = reservation(&app.app, place, 700);

    app.app.ledger.reserve(&call, Duration::ZERO).await.unwrap().unwrap();
    assert!(app.app.ledger.settle(settlement(&app.app, &call, 300)).await.unwrap());

    let by_statement = "select array_agg(what order by what) from noted group by at order by at";
    let noted: Vec<Vec<String>> = sqlx::query_scalar(by_statement).fetch_all(app.app.pool()).await.unwrap();
    assert_eq!(noted, [vec!["budget_window", "usage"], vec!["usage"], vec!["budget_window", "event"]]);
}
