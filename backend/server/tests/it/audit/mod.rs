//! The audit chain: sealed in order, broken by any change, named by position, verified offline.

mod behind;
mod changes;
mod silence;

use crate::{
    events::{happen, person, project},
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use futures::TryStreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Executor};
use std::time::{Duration, Instant};
use syndarix::{
    db::{
        Author,
        audit::{Entry, Severity},
    },
    features::audit::{ChainReport, export, spawn_sealer, verify, verify_export},
    state::App,
};
use syndarix_domain::{actor::Actor, ids::ProjectId};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use uuid::Uuid;

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Seals until it is dropped.
fn sealing(app: &TestApp) -> DropGuard {
    sealing_as(&app.app)
}

fn sealing_as(app: &App) -> DropGuard {
    let cancel = CancellationToken::new();
    spawn_sealer(app, &TaskTracker::new(), cancel.clone());
    cancel.drop_guard()
}

async fn check(app: &TestApp, project: ProjectId) -> ChainReport {
    verify(app.app.pool(), Some(project.0)).await.unwrap().remove(0)
}

/// Waits until so many entries are sealed, and gives what verification says then.
async fn sealed(app: &TestApp, project: ProjectId, entries: u64) -> ChainReport {
    sealed_within(PATIENCE, app, project, entries).await
}

async fn sealed_within(patience: Duration, app: &TestApp, project: ProjectId, entries: u64) -> ChainReport {
    let started = Instant::now();
    loop {
        let report = check(app, project).await;
        if report.entries >= entries || report.first_bad.is_some() {
            return report;
        }
        assert!(started.elapsed() < patience, "{report:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes so many entries that are no events.
async fn written(app: &TestApp, project: ProjectId, count: usize) {
    let mut uow = app.app.store.begin(Author::system());
    (0..count).for_each(|_| uow.audit(entry(app, project, "written")));
    uow.commit().await.unwrap();
}

/// Does something to the audit that only a superuser can.
async fn tamper(app: &TestApp, sql: &str) {
    let mut conn = app.app.pool().acquire().await.unwrap();
    let sql = format!("begin; set local session_replication_role = replica; {sql}; commit");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await.unwrap();
}

#[tokio::test]
async fn an_event_is_never_changed_and_an_erased_one_says_so() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    happen(&app, project, 3).await;
    let _sealer = sealing(&app);
    sealed(&app, project, 3).await;
    let blocks: i64 =
        sqlx::query_scalar("select count(*) from audit_block").fetch_one(app.app.pool()).await.unwrap();
    assert_eq!(blocks, 1, "what is read together is one block");
    for refused in [
        "update event set data = '{}' where seq = 2",
        "update event set seq = 9 where seq = 2",
        "delete from event where seq = 3",
        "truncate event",
        "update audit_block set hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1)",
        "update audit_block set salts = set_byte(salts, 40, get_byte(salts, 40) # 1)",
        "update audit_block set salts = overlay(salts placing '\\x0000' from 33)",
        "update audit_block set position = position + 1",
        "delete from audit_block",
        "truncate audit_block",
    ] {
        let error = app.app.pool().execute(refused).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{refused}: {error}");
    }

    app.app.pool().execute("update event set data = 'null' where seq = 2").await.unwrap();
    let half =
        check(&app, project).await.first_bad.expect("data without its salt is one thing, this is another");
    let salts =
        "update audit_block set salts = overlay(salts placing decode(repeat('00', 32), 'hex') from 33)";
    app.app.pool().execute(salts).await.unwrap();

    assert_eq!(half.position, 2);
    let report = check(&app, project).await;
    assert_eq!((report.entries, report.erased, report.first_bad), (3, 1, None));
    let (_, page) = app.get(&format!("/api/v1/projects/{project}/audit"), &maria.token).await;
    assert_eq!((&page["items"][1]["erased"], &page["items"][1]["data"]), (&json!(true), &json!(null)));
    assert_eq!(page["items"][0]["erased"], json!(false));
}

#[tokio::test]
async fn entries_and_events_are_listed_page_by_page_each_of_them_once() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    for _ in 0..4 {
        written(&app, project, 2).await;
        happen(&app, project, 3).await;
        app.clock.set(app.clock.now() + chrono::Duration::seconds(1));
    }
    let mut seen = Vec::new();
    let mut path = format!("/api/v1/projects/{project}/audit?limit=3");
    loop {
        let (status, page) = app.get(&path, &maria.token).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/projects/{project}/audit?limit=3&cursor={cursor}");
    }
    assert_eq!(seen.len(), 20);
    let mut sorted = seen.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!(seen, sorted, "newest first, and none twice");
    for wrong in ["x", "5", "5.", "1.2.3"] {
        let (status, _) =
            app.get(&format!("/api/v1/projects/{project}/audit?cursor={wrong}"), &maria.token).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

fn entry(app: &TestApp, project: ProjectId, action: &str) -> Entry {
    Entry {
        id: app.app.store.new_id(),
        project: Some(project),
        event_type: "test.done".into(),
        category: "test".into(),
        severity: Severity::Info,
        actor: Actor::System,
        action: action.into(),
        data: json!({}),
        at: app.clock.now(),
    }
}

#[tokio::test]
async fn a_slow_earlier_transaction_is_not_passed_over() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    let _sealer = sealing(&app);
    let mut slow = app.app.store.begin(Author::system());
    sqlx::query("select pg_current_xact_id()").execute(slow.conn().await.unwrap()).await.unwrap();
    slow.audit(entry(&app, project, "slow"));
    written(&app, project, 3).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let report = check(&app, project).await;
    assert_eq!((report.entries, report.unsealed), (0, 3), "nothing is sealed past a transaction under way");
    slow.commit().await.unwrap();
    let report = sealed(&app, project, 4).await;
    assert_eq!((report.entries, report.unsealed, report.first_bad), (4, 0, None));
    let first: String = sqlx::query_scalar(
        "select action from audit_entry e join audit_seal s on s.entry_id = e.id where s.chain = $1 and position = 1",
    )
    .bind(project.0)
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert_eq!(first, "slow");
}

#[tokio::test]
async fn writers_do_not_wait_for_the_sealer_and_two_sealers_make_one_chain() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    let _sealers = [sealing(&app), sealing(&app)];
    // What a sealer in the middle of its transaction holds.
    let mut at_work = app.app.pool().begin().await.unwrap();
    sqlx::query("select from audit_cursor for update").execute(&mut *at_work).await.unwrap();
    let started = Instant::now();
    let writers = (0..6).map(|_| async {
        for _ in 0..20 {
            let mut uow = app.app.store.begin(Author::system());
            (0..20).for_each(|_| uow.audit(entry(&app, project, "busy")));
            uow.commit().await.unwrap();
        }
    });
    // The two sealers wait for the cursor with a connection each; the pool has more.
    tokio::time::timeout(PATIENCE, futures::future::join_all(writers)).await.expect("writers go on");
    tracing::info!(elapsed = ?started.elapsed(), "2,400 entries");
    assert_eq!(check(&app, project).await.entries, 0);
    at_work.rollback().await.unwrap();
    let report = sealed(&app, project, 2_400).await;
    assert_eq!((report.entries, report.unsealed, report.first_bad), (2_400, 0, None));
}

#[tokio::test]
async fn another_instance_takes_over_when_the_lease_runs_out() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    sqlx::query("insert into leader_lease values ('audit.sealer', $1, 7, now() + interval '2 seconds')")
        .bind(Uuid::from_u128(7))
        .execute(app.app.pool())
        .await
        .unwrap();
    happen(&app, project, 2).await;
    let _sealer = sealing(&app);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(check(&app, project).await.entries, 0, "the other one holds the lease");
    assert_eq!(sealed(&app, project, 2).await.entries, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_requests_use_up_does_not_cost_the_sealer_its_duty() {
    let app = TestApp::start().await;
    let pool = app.app.pool();
    let mut watching = pool.acquire().await.unwrap().detach();
    let _sealer = sealing(&app);
    let held =
        "select epoch, expires_at from leader_lease where duty = 'audit.sealer' and expires_at > now()";
    let started = Instant::now();
    let (epoch, first) = loop {
        let held: Option<(i64, chrono::DateTime<chrono::Utc>)> =
            sqlx::query_as(held).fetch_optional(&mut watching).await.unwrap();
        if let Some(held) = held {
            break held;
        }
        assert!(started.elapsed() < PATIENCE, "nobody took the duty");
        tokio::task::yield_now().await;
    };

    let most = usize::try_from(pool.options().get_max_connections()).unwrap();
    let used_up = futures::future::join_all((0..most).map(|_| pool.acquire())).await;
    assert!(used_up.iter().all(Result::is_ok));

    // As one lease lasts two seconds, it was renewed more than once meanwhile.
    let renewed = "select epoch from leader_lease
         where duty = 'audit.sealer' and expires_at > $1 + interval '4 seconds' and expires_at > now()";
    let started = Instant::now();
    let epoch_then: i64 = loop {
        let renewed: Option<i64> =
            sqlx::query_scalar(renewed).bind(first).fetch_optional(&mut watching).await.unwrap();
        if let Some(epoch) = renewed {
            break epoch;
        }
        assert!(started.elapsed() < PATIENCE, "the duty is not renewed");
        tokio::task::yield_now().await;
    };
    assert_eq!(epoch_then, epoch, "by whoever had it all the time");
}

#[tokio::test]
async fn sealing_goes_on_after_a_restore_into_another_server() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    written(&app, project, 3).await;
    let sealer = sealing(&app);
    sealed(&app, project, 3).await;
    drop(sealer);
    tokio::time::sleep(Duration::from_millis(200)).await;
    written(&app, project, 2).await;
    // As a dump of a server with many more transactions behind it leaves them here.
    tamper(
        &app,
        "update audit_entry set xid = (xid::text::bigint + 1000000000)::text::xid8;
         update audit_seal set entry_xid = (entry_xid::text::bigint + 1000000000)::text::xid8;
         update audit_cursor set xid = (xid::text::bigint + 1000000000)::text::xid8",
    )
    .await;
    let _sealer = sealing(&app);
    assert_eq!(sealed(&app, project, 5).await.first_bad, None);
    written(&app, project, 2).await;
    happen(&app, project, 2).await;
    let report = sealed(&app, project, 9).await;
    assert_eq!((report.entries, report.unsealed, report.first_bad), (9, 0, None));
}

async fn exported(app: &TestApp, project: Option<ProjectId>) -> Vec<u8> {
    let chain = project.map(|project| project.0);
    let chunks: Vec<_> = export(app.app.pool().clone(), chain).try_collect().await.unwrap();
    chunks.concat()
}

#[tokio::test]
async fn an_export_is_verified_without_the_database_and_every_changed_byte_shows() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    happen(&app, project, 4).await;
    let mut uow = app.app.store.begin(Author::system());
    uow.audit(Entry { project: None, ..entry(&app, project, "of the instance: \u{1f512} \"quoted\"\n") });
    uow.commit().await.unwrap();
    let _sealer = sealing(&app);
    sealed(&app, project, 4).await;
    // Entries wait for every transaction of the server, events for none.
    sealed(&app, ProjectId(Uuid::nil()), 1).await;
    let all = exported(&app, None).await;
    let reports = verify_export(all.as_slice()).unwrap();
    assert_eq!(reports, verify(app.app.pool(), None).await.unwrap());
    assert_eq!(reports.iter().map(|report| report.entries).collect::<Vec<_>>(), [1, 4]);
    assert!(reports.iter().all(ChainReport::is_ok));

    let one = exported(&app, Some(project)).await;
    let found = |file: &[u8]| match verify_export(file) {
        Ok(reports) => reports.iter().find_map(|report| report.first_bad.clone()).is_some(),
        Err(_) => true,
    };
    assert!(!found(&one));
    let unsealed = one.windows(10).rposition(|window| window == b"\"unsealed\"").unwrap();
    let closing = one.windows(16).rposition(|window| window == b"{\"kind\":\"close\"").unwrap_or(one.len());
    for at in (0..one.len()).step_by(7) {
        let mut changed = one.clone();
        changed[at] ^= 1;
        // How many wait for the sealer, and white space at the end, say nothing of the chain.
        assert!(
            found(&changed) || (unsealed..closing).contains(&at) || at + 1 == one.len(),
            "byte {at}: {}",
            String::from_utf8_lossy(&changed[at.saturating_sub(30)..=at])
        );
    }
    for file in [&one, &all] {
        let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
        for cut in 0..lines.len() {
            assert!(found(&lines[..cut].concat()), "cut after line {cut}");
            let mut without = lines.clone();
            without.remove(cut);
            assert!(found(&without.concat()), "without line {}", cut + 1);
        }
    }
}

#[tokio::test]
async fn the_audit_is_listed_filtered_verified_and_exported_over_http() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    happen(&app, project, 3).await;
    let path = format!("/api/v1/projects/{project}/audit");
    let (status, page) = app.get(&path, &maria.token).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert_eq!(page["items"][0]["position"], json!(null));
    assert_eq!(
        page["chain"],
        json!({ "position": 0, "hash": "0".repeat(64), "verified_at": null, "verified_ok": null, "sealed": false })
    );

    let _sealer = sealing(&app);
    sealed(&app, project, 3).await;
    let mut uow = app.app.store.begin(Author::of(Actor::User(maria.id)));
    uow.audit(Entry {
        actor: Actor::User(maria.id),
        data: json!({ "colour": "violet" }),
        ..entry(&app, project, "painted the shed")
    });
    uow.commit().await.unwrap();
    let report = sealed(&app, project, 4).await;
    let (_, page) = app.get(&format!("{path}?limit=2"), &maria.token).await;
    let newest = &page["items"][0];
    assert_eq!(newest["position"], 4);
    assert_eq!(newest["actor"], json!({ "type": "user", "id": maria.id.to_string(), "name": "maria" }));
    assert_eq!(
        (&newest["action"], &newest["data"]["colour"]),
        (&json!("painted the shed"), &json!("violet"))
    );
    assert_eq!(newest["hash"], report.head);
    assert_eq!(newest["previous_hash"], page["items"][1]["hash"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, rest) = app.get(&format!("{path}?limit=2&cursor={cursor}"), &maria.token).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (2, &json!(null)));
    for (query, count) in [
        ("type=agent.status_changed", 3),
        ("type=agent", 3),
        ("type=agen", 0),
        ("actor=MARI", 1),
        ("actor=system", 3),
        ("q=SHED", 1),
        ("q=violet", 1),
        ("q=%25", 0),
        ("q=", 4),
    ] {
        let (_, page) = app.get(&format!("{path}?{query}"), &maria.token).await;
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{query}");
    }

    let (_, verdict) = app.post(&format!("{path}/verify"), &maria.token, json!({})).await;
    assert_eq!(
        (&verdict["ok"], &verdict["entries"], &verdict["first_bad"]),
        (&json!(true), &json!(4), &json!(null))
    );
    let (_, page) = app.get(&path, &maria.token).await;
    assert_eq!((&page["chain"]["sealed"], &page["chain"]["verified_ok"]), (&json!(true), &json!(true)));
    tamper(
        &app,
        &format!(
            "update audit_entry set action = 'slept' where chain = '{project}' and action like 'painted%'"
        ),
    )
    .await;
    let (_, verdict) = app.post(&format!("{path}/verify"), &maria.token, json!({})).await;
    assert_eq!((&verdict["ok"], &verdict["first_bad"]["position"]), (&json!(false), &json!(4)), "{verdict}");

    let (status, _) = app.send(Method::GET, &format!("{path}/export"), Some(&maria.token), None).await;
    assert_eq!(status, StatusCode::OK);
    let (_, page) = app.get(&format!("{path}?type=audit.exported"), &maria.token).await;
    assert_eq!(page["items"][0]["actor"]["name"], "maria");
}

#[tokio::test]
async fn a_chain_with_a_damaged_end_stops_alone_and_goes_on_when_it_is_mended() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let damaged = project(&app, &maria).await;
    let sound = project(&app, &maria).await;
    happen(&app, damaged, 2).await;
    let _sealer = sealing(&app);
    sealed(&app, damaged, 2).await;
    let flip = format!(
        "update audit_block set hashes = set_byte(hashes, 32 * events - 32, get_byte(hashes, 32 * events - 32) # 1)
          where chain = '{damaged}' and position = 2"
    );
    tamper(&app, &flip).await;

    happen(&app, damaged, 1).await;
    happen(&app, sound, 1).await;

    assert_eq!(sealed(&app, sound, 1).await.first_bad, None);
    let report = check(&app, damaged).await;
    assert_eq!((report.first_bad.unwrap().position, report.unsealed), (2, 1));
    happen(&app, damaged, 1).await;
    happen(&app, sound, 1).await;
    sealed(&app, sound, 2).await;
    tamper(&app, &flip).await;
    let mended = sealed(&app, damaged, 4).await;
    assert_eq!((mended.entries, mended.unsealed, mended.first_bad), (4, 0, None));
}

#[tokio::test]
async fn of_a_payload_that_is_too_large_its_hash_is_kept() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    let data = json!({ "text": "x".repeat(100_000) });
    let mut uow = app.app.store.begin(Author::system());
    uow.audit(Entry { data: data.clone(), ..entry(&app, project, "wrote a book") });
    uow.commit().await.unwrap();

    let kept: Vec<u8> =
        sqlx::query_scalar("select payload from audit_entry").fetch_one(app.app.pool()).await.unwrap();

    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    let digest = hex::encode(Sha256::digest(data.to_string()));
    assert_eq!(kept, json!({ "omitted_bytes": data.to_string().len(), "sha256": digest }));
}
