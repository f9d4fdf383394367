//! Several hubs over one database, with and without Redis, with Redis dying under them.

use crate::harness::{
    Instance, PATIENCE, Redis, commit, expect_range, log, next, on_database, project, spawn, until,
};
use rand::Rng;
use serde_json::json;
use sqlx::PgPool;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use syndarix_bus::{Cursor, Health, Hub, Item, Log, Relay};
use syndarix_domain::ids::ProjectId;

async fn hear_each_other(pool: PgPool, relay: Relay) {
    let (here, there) = (Instance::start(&pool, relay.clone()), Instance::start(&pool, relay));
    until(|| here.hub.health() == Health::Hints && there.hub.health() == Health::Hints).await;
    let project = project(&pool).await;
    let mut listener = here.hub.subscribe(&log(&pool), project, None).await.unwrap();
    // Half the idle poll: what comes sooner was hinted at.
    let mut quick = 0;
    for seq in 1..=20 {
        let started = Instant::now();
        there.hub.committed(&commit(&pool, project, 1).await);
        expect_range(&mut listener, seq..=seq).await;
        quick += i32::from(started.elapsed() < Duration::from_millis(500));
    }
    assert!(quick >= 15, "only {quick} of 20 came by hint");
    there.hub.ephemeral(project, "run.delta", &json!({ "text": "hello" }));
    assert!(matches!(next(&mut listener).await, Item::Ephemeral(item) if item.data["text"] == "hello"));
}

#[test]
fn two_instances_hear_each_other_over_postgresql() {
    on_database(|pool| hear_each_other(pool, Relay::Postgres));
}

#[test]
fn two_instances_hear_each_other_over_redis() {
    on_database(|pool| async move {
        let redis = Redis::start().await;
        hear_each_other(pool, Relay::Redis(redis.url())).await;
    });
}

#[test]
fn without_any_hint_the_log_is_polled() {
    on_database(|pool| async move {
        let nobody = Relay::Redis("redis://127.0.0.1:1".into());
        let here = Instance::start(&pool, nobody);
        let project = project(&pool).await;
        let mut listener = here.hub.subscribe(&log(&pool), project, None).await.unwrap();
        let started = Instant::now();
        commit(&pool, project, 3).await;
        expect_range(&mut listener, 1..=3).await;
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
        assert!(matches!(here.hub.health(), Health::Polling { reason } if reason.contains("Redis")));
    });
}

#[test]
fn a_subscription_that_died_silently_is_noticed_and_made_again() {
    on_database(|pool| async move {
        let here = Instance::start(&pool, Relay::Postgres);
        until(|| here.hub.health() == Health::Hints).await;
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'syndarix hints' and datname = current_database()")
            .execute(&pool)
            .await
            .unwrap();
        until(|| here.hub.health() != Health::Hints).await;
        until(|| here.hub.health() == Health::Hints).await;
    });
}

/// Listens and leaves and comes back, until it has seen `last`. Fails on any gap or repeat.
async fn come_and_go(hub: Hub, log: Log, project: ProjectId, last: i64) {
    let mut cursor = Cursor { epoch: 1, seq: 0 };
    let started = Instant::now();
    while cursor.seq < last {
        assert!(started.elapsed() < PATIENCE * 3, "still at {cursor}");
        let mut subscription = hub.subscribe(&log, project, Some(cursor)).await.unwrap();
        let stay = Duration::from_millis(rand::rng().random_range(1..600));
        let until = tokio::time::Instant::now() + stay;
        while let Ok(item) = tokio::time::timeout_at(until, subscription.next()).await {
            match item.unwrap() {
                Item::Event(event) => {
                    assert_eq!(event.event.seq, cursor.seq + 1);
                    cursor.seq += 1;
                }
                other => panic!("expected an event, got {other:?}"),
            }
        }
    }
}

#[test]
fn two_hundred_restless_listeners_miss_nothing_while_redis_dies_and_comes_back() {
    on_database(|pool| async move {
        let mut redis = Redis::start().await;
        let relay = Relay::Redis(redis.url());
        let instances = [Instance::start(&pool, relay.clone()), Instance::start(&pool, relay)];
        let project = project(&pool).await;
        let writing = Arc::new(AtomicBool::new(true));
        let total = 600;
        let listeners: Vec<_> = (0..200_usize)
            .map(|n| spawn(come_and_go(instances[n % 2].hub.clone(), log(&pool), project, total)))
            .collect();
        let writer = spawn({
            let (pool, hubs, writing) =
                (pool.clone(), [instances[0].hub.clone(), instances[1].hub.clone()], Arc::clone(&writing));
            async move {
                for n in 0..300_usize {
                    hubs[n % 2].committed(&commit(&pool, project, 2).await);
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
                writing.store(false, Ordering::Relaxed);
            }
        });
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert!(writing.load(Ordering::Relaxed));
        redis.kill();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(writing.load(Ordering::Relaxed));
        redis.restart().await;
        writer.await.unwrap();
        for listener in listeners {
            listener.await.unwrap();
        }
        until(|| instances.iter().all(|instance| instance.hub.health() == Health::Hints)).await;
    });
}
