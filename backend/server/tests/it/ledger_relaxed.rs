//! The books where durability is relaxed: calls are granted from memory, their rows follow, and budgets hold as ever.

use crate::{
    budgets::project,
    fire,
    ledger::{SOMEBODY, counted, hard, organisation, played, reservation, set, settlement, watch},
    support::TestApp,
};
use chrono::Duration as Span;
use futures::{FutureExt, future::join_all};
use std::{sync::Arc, time::Duration};
use syndarix::{
    config::Durability,
    db::Author,
    features::{
        costs::{self, Limits, Owner, Target},
        llm::{Ledger, Place, Reservation, beat, lock_books},
    },
};
use syndarix_domain::{
    budget::{Period, Scope},
    ids::{GatewayKeyId, ProjectId},
};
use tokio::task::JoinSet;
use uuid::Uuid;

const AT_ONCE: Duration = Duration::ZERO;
const PATIENCE: Duration = Duration::from_secs(60);

fn relaxed(app: &TestApp) -> Ledger {
    Ledger::new(app.app.store.clone(), Uuid::now_v7(), Durability::Relaxed)
}

fn keyed(project: ProjectId) -> Place {
    Place { key: Some(GatewayKeyId(Uuid::now_v7())), ..Place::of_project(project) }
}

/// Asks for calls, two at a time, until one is granted at once: nobody has asked the database for it.
async fn drawn(app: &TestApp, ledger: &Ledger, place: Place, max_output: u32) -> Reservation {
    fire::until("a call is granted from memory", async || {
        let both = [0; 2].map(|_| reservation(&app.app, place, max_output));
        let [first, second] = &both;
        if let Some(granted) = ledger.reserve(first, AT_ONCE).now_or_never() {
            assert_eq!(granted.unwrap(), Ok(max_output));
            return Some(first.clone());
        }
        let granted = futures::join!(ledger.reserve(first, AT_ONCE), ledger.reserve(second, AT_ONCE));
        for (reservation, granted) in [(first, granted.0), (second, granted.1)] {
            if granted.unwrap().is_ok() {
                ledger.settle(settlement(&app.app, reservation, 0)).await.unwrap();
            }
        }
        None
    })
    .await
}

/// Money and tokens of the leases that are there.
async fn leased(app: &TestApp) -> (i64, i64) {
    sqlx::query_as(
        "select coalesce(sum(reserved_micro_usd), 0)::bigint, coalesce(sum(reserved_tokens), 0)::bigint
           from usage where attempt = 0 and state = 'reserved'",
    )
    .fetch_one(app.app.pool())
    .await
    .unwrap()
}

/// State, cost and whether it is an estimate.
async fn row(app: &TestApp, id: Uuid) -> Option<(String, i64, bool)> {
    sqlx::query_as("select state, cost_micro_usd, estimated from usage where id = $1")
        .bind(id)
        .fetch_optional(app.app.pool())
        .await
        .unwrap()
}

/// What all rows have cost and hold, in micro-USD.
async fn booked(app: &TestApp) -> (i64, i64) {
    sqlx::query_as(
        "select coalesce(sum(cost_micro_usd), 0)::bigint,
                coalesce(sum(reserved_micro_usd) filter (where state = 'reserved'), 0)::bigint from usage",
    )
    .fetch_one(app.app.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_busy_key_is_granted_from_memory_and_the_rows_follow() {
    let app = TestApp::start().await;
    let (ledger, project) = (relaxed(&app), project(&app, Some(1_000_000)).await);
    let place = keyed(project);
    let first = drawn(&app, &ledger, place, 700).await;

    let early = ledger.settle(settlement(&app.app, &first, 300)).now_or_never();

    assert!(early.unwrap().unwrap(), "nobody waits for the disk");
    fire::until("its row is there", async || {
        (row(&app, first.id).await? == ("settled".into(), 300, false)).then_some(())
    })
    .await;
    let long = drawn(&app, &ledger, place, 700).await;
    fire::until("a call that lasts has a row of its own", async || {
        (row(&app, long.id).await? == ("reserved".into(), 0, false)).then_some(())
    })
    .await;
    ledger.settle(settlement(&app.app, &long, 200)).await.unwrap();
    ledger.close().await;
    assert_eq!(row(&app, long.id).await, Some(("settled".into(), 200, false)));
    assert_eq!(leased(&app).await, (0, 0));
    let counts = counted(&app.app, Target::of_project(project)).await;
    assert_eq!((counts.0, counts.1, counts.3), (500, 0, 0));
    let leases: i64 = sqlx::query_scalar("select count(*) from usage where attempt = 0")
        .fetch_one(app.app.pool())
        .await
        .unwrap();
    assert_eq!(leases, 0, "what was given back was no call");
    let others: i64 = sqlx::query_scalar("select count(*) from usage where user_id is distinct from $1")
        .bind(SOMEBODY.0)
        .fetch_one(app.app.pool())
        .await
        .unwrap();
    assert_eq!(others, 0, "every row says who asked, whichever way it was written");
}

#[tokio::test]
async fn the_end_of_a_call_that_went_away_before_its_row_was_there_goes_with_the_row() {
    let app = TestApp::start().await;
    let (ledger, project) = (relaxed(&app), project(&app, Some(1_000_000)).await);
    let dropped = drawn(&app, &ledger, keyed(project), 700).await;
    ledger.owe(settlement(&app.app, &dropped, 700));
    ledger.close().await;
    assert_eq!(row(&app, dropped.id).await, Some(("settled".into(), 700, false)));
    let counts = counted(&app.app, Target::of_project(project)).await;
    assert_eq!((counts.0, counts.1, counts.3), (700, 0, 0));
}

#[tokio::test]
async fn what_is_only_kept_ready_is_given_back_when_nobody_calls() {
    let app = TestApp::start().await;
    let (ledger, project) = (relaxed(&app), project(&app, Some(1_000_000)).await);
    let call = drawn(&app, &ledger, keyed(project), 700).await;
    ledger.settle(settlement(&app.app, &call, 100)).await.unwrap();
    fire::until("nothing is reserved", async || {
        let counts = counted(&app.app, Target::of_project(project)).await;
        (counts.1 == 0 && counts.3 == 0 && counts.0 == 100).then_some(())
    })
    .await;
    assert_eq!(leased(&app).await, (0, 0));
}

#[tokio::test]
async fn a_lease_counts_in_its_own_day_and_pays_for_no_call_of_the_next() {
    let app = TestApp::start().await;
    let (ledger, project) = (relaxed(&app), project(&app, None).await);
    let (place, target) = (
        keyed(project),
        Target { on: Owner::Project(project, Scope::Project, project.0), period: Period::Day },
    );
    set(&app.app, target, hard(1_000_000)).await;
    let yesterday = drawn(&app, &ledger, place, 600).await;
    app.clock.set(app.app.clock().now() + Span::days(1));
    let today = reservation(&app.app, place, 600);
    assert!(ledger.reserve(&today, AT_ONCE).now_or_never().is_none(), "nothing is set aside in this day yet");
    let today = drawn(&app, &ledger, place, 600).await;
    ledger.settle(settlement(&app.app, &yesterday, 400)).await.unwrap();
    ledger.settle(settlement(&app.app, &today, 50)).await.unwrap();
    ledger.close().await;
    let windows: Vec<(i64, i64)> = sqlx::query_as(
        "select spent_micro_usd, reserved_micro_usd from budget_window w join budget b on b.id = w.budget_id
          where b.period = 'day' order by starts_at",
    )
    .fetch_all(app.app.pool())
    .await
    .unwrap();
    assert_eq!(windows, [(400, 0), (50, 0)]);
}

#[tokio::test]
async fn a_budget_that_is_set_counts_a_lease_once_and_one_that_is_lowered_shrinks_it() {
    let app = TestApp::start().await;
    let (ledger, project) = (relaxed(&app), project(&app, None).await);
    let place = keyed(project);
    let call = drawn(&app, &ledger, place, 600).await;
    let target = Target::of_key(project, place.key.unwrap().0);
    set(&app.app, target, hard(1_000_000)).await;
    let (spent, reserved, ..) = counted(&app.app, target).await;
    assert!(spent == 0 && reserved >= 600, "{spent} {reserved}");
    set(&app.app, target, hard(600)).await;
    fire::until("only the call is left", async || {
        // The key is as busy as ever.
        let more = reservation(&app.app, place, 600);
        let refused = ledger.reserve(&more, AT_ONCE).await.unwrap();
        if refused.is_ok() {
            ledger.settle(settlement(&app.app, &more, 0)).await.unwrap();
        }
        (leased(&app).await == (0, 0)).then_some(())
    })
    .await;
    ledger.settle(settlement(&app.app, &call, 600)).await.unwrap();
    ledger.close().await;
    let counts = counted(&app.app, target).await;
    assert_eq!((counts.0, counts.1), (600, 0));
    assert_eq!(booked(&app).await, (600, 0));
}

#[tokio::test]
async fn a_small_budget_is_served_by_two_processes_to_the_last_call_that_fits() {
    let app = Arc::new(TestApp::start().await);
    let ledgers = [0; 2].map(|_| Arc::new(relaxed(&app)));
    let project = project(&app, Some(20_000)).await;
    let place = keyed(project);
    let mut callers = JoinSet::new();
    for n in 0..8 {
        let (app, ledger) = (Arc::clone(&app), Arc::clone(&ledgers[n % 2]));
        callers.spawn(async move {
            loop {
                let call = reservation(&app.app, place, 600);
                match ledger.reserve(&call, PATIENCE).await.unwrap() {
                    Ok(_) => ledger.settle(settlement(&app.app, &call, 100)).await.unwrap(),
                    Err(refusal) => break refusal,
                };
            }
        });
    }
    let refusals = callers.join_all().await;
    assert!(refusals.iter().all(|refusal| !refusal.only_reserved), "{refusals:?}");
    for ledger in &ledgers {
        ledger.close().await;
    }
    let (spent, reserved, ..) = counted(&app.app, Target::of_project(project)).await;
    assert_eq!((spent, reserved), (19_500, 0), "one more might cost 512");
}

#[tokio::test]
async fn all_who_miss_at_once_are_granted_from_the_lease_that_is_begun_for_them() {
    let app = TestApp::start().await;
    let (ledger, project) = (relaxed(&app), project(&app, Some(10_000_000)).await);
    fire::until("only the first of a new key waits for the disk", async || {
        let place = keyed(project);
        let calls = [0; 16].map(|_| reservation(&app.app, place, 600));
        let granted = join_all(calls.iter().map(|call| ledger.reserve(call, AT_ONCE))).await;
        assert!(granted.into_iter().all(|granted| granted.unwrap() == Ok(600)));
        let ends = calls.iter().map(|call| ledger.settle(settlement(&app.app, call, 10)).now_or_never());
        (ends.flatten().count() == calls.len() - 1).then_some(())
    })
    .await;
    ledger.close().await;
    let (spent, reserved, ..) = counted(&app.app, Target::of_project(project)).await;
    assert!(spent > 0 && spent % 160 == 0 && reserved == 0, "{spent} {reserved}");
}

#[tokio::test]
async fn what_many_keys_keep_ready_passes_no_limit_leaves_some_to_others_and_goes_back() {
    let app = TestApp::start().await;
    let (ledgers, project) = ([0; 2].map(|_| relaxed(&app)), project(&app, Some(60_000)).await);
    watch(&app).await;
    for n in 0..8 {
        let ledger = &ledgers[n % 2];
        let call = drawn(&app, ledger, keyed(project), 600).await;
        ledger.settle(settlement(&app.app, &call, 0)).await.unwrap();
    }
    assert!(leased(&app).await.0 <= 60_000 - 600);
    let beside = reservation(&app.app, Place::of_project(project), 600);
    assert!(app.app.ledger.reserve(&beside, AT_ONCE).await.unwrap().is_ok(), "there is money left");
    app.app.ledger.settle(settlement(&app.app, &beside, 0)).await.unwrap();
    fire::until("nothing is reserved", async || {
        let counts = counted(&app.app, Target::of_project(project)).await;
        (leased(&app).await == (0, 0) && counts.1 == 0 && counts.3 == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_one_process_keeps_ready_refuses_nobody_at_another() {
    let app = TestApp::start().await;
    let (ledger, project) = (relaxed(&app), project(&app, Some(40_000)).await);
    let place = keyed(project);
    let call = drawn(&app, &ledger, place, 600).await;
    ledger.settle(settlement(&app.app, &call, 0)).await.unwrap();
    let all = Reservation {
        max_input: 0,
        rates: syndarix_llm::Rates { input: 0, output: 78_000_000, ..syndarix_llm::Rates::FREE },
        ..reservation(&app.app, Place::of_project(project), 512)
    };
    let granted = app.app.ledger.reserve(&all, PATIENCE).await.unwrap();
    assert_eq!(granted, Ok(512), "all that there is");
}

#[tokio::test]
async fn a_process_that_was_silent_for_too_long_finds_its_lease_booked_and_begins_anew() {
    let app = TestApp::start().await;
    let (ledger, project) = (relaxed(&app), project(&app, Some(1_000_000)).await);
    let place = keyed(project);
    let lost = drawn(&app, &ledger, place, 700).await;
    fire::until("its row is there", async || row(&app, lost.id).await).await;
    beat(app.app.pool(), app.app.instance).await.unwrap();
    costs::schedule(&app.app).await.unwrap();
    app.ring(Uuid::nil(), "costs.reconcile").await;
    assert_eq!(row(&app, lost.id).await, Some(("interrupted".into(), 700, true)));
    let (lease, estimated): (i64, bool) = sqlx::query_as(
        "select cost_micro_usd, estimated from usage where attempt = 0 and state = 'interrupted'",
    )
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert!(lease > 0 && estimated);
    let next = fire::until("a call has a row again", async || {
        let next = drawn(&app, &ledger, place, 700).await;
        ledger.settle(settlement(&app.app, &next, 30)).await.unwrap();
        tokio::time::timeout(Duration::from_millis(500), async {
            while row(&app, next.id).await.is_none() {}
        })
        .await
        .ok()
        .map(|()| next)
    })
    .await;
    assert_eq!(row(&app, next.id).await.map(|row| row.1), Some(30));
    ledger.close().await;
    let counts = counted(&app.app, Target::of_project(project)).await;
    assert_eq!((counts.0, counts.1), booked(&app).await);
    assert_eq!(counts.1, 0);
}

#[tokio::test]
async fn while_the_books_are_away_nothing_is_granted_and_no_answer_is_final_and_nothing_is_lost() {
    let app = TestApp::start().await;
    let (ledger, project) = (relaxed(&app), project(&app, None).await);
    let place = keyed(project);
    let (first, second) = (drawn(&app, &ledger, place, 700).await, drawn(&app, &ledger, place, 700).await);
    let mut holder = app.app.store.begin(Author::system());
    lock_books(holder.conn().await.unwrap(), project).await.unwrap();
    // What comes in the first tenth of a second is taken.
    let _given_out = ledger.settle(settlement(&app.app, &first, 300)).now_or_never();
    fire::until("nothing is granted from memory", async || {
        let more = reservation(&app.app, place, 10);
        let granted = ledger.reserve(&more, AT_ONCE).now_or_never();
        if granted.is_some() {
            ledger.settle(settlement(&app.app, &more, 0)).now_or_never();
        }
        granted.is_none().then_some(())
    })
    .await;
    let last = ledger.settle(settlement(&app.app, &second, 200));
    let mut last = std::pin::pin!(last);
    assert!(last.as_mut().now_or_never().is_none(), "it waits");
    drop(holder);
    tokio::time::timeout(PATIENCE, last).await.unwrap().unwrap();
    tokio::time::timeout(PATIENCE, ledger.close()).await.unwrap();
    let counts = counted(&app.app, Target::of_project(project)).await;
    assert_eq!((counts.0, counts.1), (500, 0));
}

const CALLS: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_calls_on_two_relaxed_processes_pass_no_limit_and_each_is_in_the_books() {
    let app = Arc::new(TestApp::start().await);
    let ledgers = Arc::new([relaxed(&app), relaxed(&app)]);
    let project = project(&app, Some(400_000)).await;
    let places = [0; 3].map(|_| keyed(project));
    let month =
        Target { on: Owner::Organisation(organisation(&app.app, project).await), period: Period::Month };
    set(&app.app, month, hard(300_000)).await;
    let key = Target::of_key(project, places[0].key.unwrap().0);
    set(&app.app, key, Limits { hard_tokens: Some(90_000), ..Limits::default() }).await;
    watch(&app).await;
    let mut calls = JoinSet::new();
    for n in 0..CALLS {
        let (app, ledgers, place) = (Arc::clone(&app), Arc::clone(&ledgers), places[n % 3]);
        calls.spawn(async move {
            // They come over two seconds, so that leases are begun, used up and given back meanwhile.
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..2_000))).await;
            let call = reservation(&app.app, place, rand::random_range(1..600));
            let takes = [0, rand::random_range(0..200)][n / 3 % 2];
            played((&app.app, &ledgers[n % 2]), &call, Duration::from_millis(takes)).await
        });
    }
    let ended = calls.join_all().await;
    let (asked, held) = ended.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    for ledger in ledgers.iter() {
        ledger.close().await;
    }
    assert!(asked > 0 && held > 0, "{asked} {held}");
    assert_eq!(booked(&app).await, (asked, held), "no row is lost, none counts twice");
    let counts = counted(&app.app, month).await;
    assert_eq!((counts.0, counts.1), (asked, held));
}
