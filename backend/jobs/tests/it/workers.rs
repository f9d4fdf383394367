//! Workers: exactly-once effects, take-over, retries, drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use syndarix_jobs::{
    Cancelled, Filter, Job, Lease, Outcome, Redriven, Registry, Rescue, Wake, Worker, WorkerConfig, cancel,
    list, list_dead, purge, redrive, rescue,
};
use tokio_util::sync::CancellationToken;

use crate::harness::{
    Doomed, count, done, enqueue, enqueue_all, id, job, on_database, quick, start, until, until_count,
    until_done,
};

const DRAIN: Duration = Duration::from_secs(2);

/// A handler that writes its effect and its end in one transaction.
fn exactly_once(pool: &PgPool) -> Registry {
    let pool = pool.clone();
    Registry::new().with("pay", move |_: Job, lease: Lease, _| {
        let pool = pool.clone();
        async move {
            let write = async {
                let mut transaction = pool.begin().await?;
                lease.hold(&mut transaction).await?;
                sqlx::query("insert into effect values ($1, $2)")
                    .bind(lease.job)
                    .bind(lease.fence)
                    .execute(&mut *transaction)
                    .await?;
                lease.complete(&mut transaction).await?;
                transaction.commit().await?;
                Ok::<_, syndarix_jobs::LeaseLost>(())
            };
            match write.await {
                Ok(()) => Outcome::Completed,
                Err(error) => Outcome::Retry { after: None, reason: error.to_string() },
            }
        }
    })
}

/// A handler that waits for its cancellation.
fn patient() -> Registry {
    Registry::new().with("wait", |_, _, cancel: CancellationToken| async move {
        cancel.cancelled().await;
        Outcome::Retry { after: None, reason: "cancelled".into() }
    })
}

/// A handler that never listens.
fn deaf() -> Registry {
    Registry::new().with("wait", |_, _, _| async {
        loop {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    })
}

#[test]
fn two_workers_give_every_job_exactly_one_effect() {
    on_database(|pool| async move {
        let registry = exactly_once(&pool);
        let (one, two) = (start(&pool, &registry, quick("a", 8)), start(&pool, &registry, quick("b", 8)));
        enqueue_all(&pool, &vec![job("pay"); 600]).await;
        until_done(&pool, 600).await;
        assert_eq!(count(&pool, "select count(*) from effect").await, 600);
        assert_eq!(count(&pool, "select count(distinct job) from effect").await, 600);
        for worker in [one, two] {
            assert!(worker.shutdown(DRAIN).await.clean);
        }
        assert_eq!(count(&pool, "select count(*) from worker").await, 0);
    });
}

#[test]
fn workers_that_are_killed_again_and_again_lose_nothing_and_repeat_nothing() {
    on_database(|pool| async move {
        enqueue_all(&pool, &vec![job("pay"); 300]).await;
        let config = || quick("doomed", 4);
        for _ in 0..4 {
            let doomed = Doomed::start(&pool, exactly_once, config());
            tokio::time::sleep(Duration::from_millis(250)).await;
            doomed.kill();
        }
        let survivor = start(&pool, &exactly_once(&pool), config());
        until_count(&pool, "select count(*) from job", 0).await;
        assert_eq!(done(&pool).await, 300);
        assert_eq!(count(&pool, "select count(*) from effect").await, 300);
        assert_eq!(count(&pool, "select count(distinct job) from effect").await, 300);
        survivor.shutdown(DRAIN).await;
    });
}

#[test]
fn with_default_times_a_killed_workers_job_starts_again_within_five_seconds() {
    on_database(|pool| async move {
        let defaults =
            |name| WorkerConfig { queues: quick(name, 1).queues, ..WorkerConfig::new(name, id(), vec![]) };
        let doomed = Doomed::start(&pool, |_| deaf(), defaults("doomed"));
        enqueue(&pool, &job("wait")).await;
        until_count(&pool, "select count(*) from job where owner is not null", 1).await;
        let registry = Registry::new().with("wait", |_, _, _| async { Outcome::Done });
        let peer = start(&pool, &registry, defaults("peer"));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let killed = Instant::now();
        doomed.kill();
        until_done(&pool, 1).await;
        // At worst the stale heartbeat (4 s), a look for the dead (0.5 s), a tick (0.4 s) and a claim.
        assert!(killed.elapsed() < Duration::from_secs(5), "took {:?}", killed.elapsed());
        peer.shutdown(DRAIN).await;
    });
}

#[test]
fn a_long_job_keeps_its_lease() {
    on_database(|pool| async move {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let registry = Registry::new().with("long", move |_, _, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(Duration::from_millis(2_500)).await;
                Outcome::Done
            }
        });
        let config = |name| WorkerConfig { lease: Duration::from_millis(900), ..quick(name, 2) };
        let (one, two) = (start(&pool, &registry, config("a")), start(&pool, &registry, config("b")));
        enqueue(&pool, &job("long")).await;
        until_done(&pool, 1).await;
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        one.shutdown(DRAIN).await;
        two.shutdown(DRAIN).await;
    });
}

#[test]
fn failures_end_in_the_dead_letters_with_their_chain_and_can_be_driven_again() {
    on_database(|pool| async move {
        let healed = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let switch = Arc::clone(&healed);
        let registry = Registry::new().with("flaky", move |job: Job, _, _| {
            let healed = switch.load(Ordering::SeqCst);
            async move {
                assert!(healed || job.attempt != 2, "attempt two blew up");
                let reason = format!("attempt {} failed", job.attempt);
                if healed { Outcome::Done } else { Outcome::Retry { after: None, reason } }
            }
        });
        let worker = start(&pool, &registry, quick("a", 2));
        let flaky = enqueue(&pool, &job("flaky").with_attempts(3)).await;
        until_count(&pool, "select count(*) from job_dead", 1).await;
        let mut conn = pool.acquire().await.unwrap();
        let dead = list_dead(&mut conn, &Filter::default()).await.unwrap().remove(0);
        let chain: Vec<_> = dead.errors.iter().map(|error| error.error.as_str()).collect();
        assert_eq!(
            chain,
            ["attempt 1 failed", "the handler panicked: attempt two blew up", "attempt 3 failed"]
        );
        assert_eq!((dead.id, dead.attempt, dead.reason.as_str()), (flaky, 3, "attempt 3 failed"));
        healed.store(true, Ordering::SeqCst);
        assert_eq!(redrive(&mut conn, flaky).await.unwrap(), Redriven::Queued);
        until_done(&pool, 1).await;
        assert_eq!(redrive(&mut conn, flaky).await.unwrap(), Redriven::NotFound);
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_hopeless_job_is_buried_at_once_and_can_be_purged() {
    on_database(|pool| async move {
        let registry =
            Registry::new().with("bad", |_, _, _| async { Outcome::Fail { reason: "no\0way".into() } });
        let worker = start(&pool, &registry, quick("a", 2));
        let bad = enqueue(&pool, &job("bad").unique("one")).await;
        until_count(&pool, "select count(*) from job_dead where attempt = 1", 1).await;
        worker.shutdown(DRAIN).await;
        enqueue(&pool, &job("bad").unique("one")).await;
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(redrive(&mut conn, bad).await.unwrap(), Redriven::Duplicate);
        assert!(purge(&mut conn, bad, Some("a duplicate")).await.unwrap());
        assert!(!purge(&mut conn, bad, Some("a duplicate")).await.unwrap());
    });
}

#[test]
fn a_job_of_an_unknown_kind_waits_visibly_and_keeps_its_attempts() {
    on_database(|pool| async move {
        let worker = start(&pool, &Registry::new(), quick("a", 2));
        enqueue(&pool, &job("from-the-future").with_attempts(1)).await;
        until_count(&pool, "select count(*) from job where last_error is not null", 1).await;
        let row = list(&mut pool.acquire().await.unwrap(), &Filter::default()).await.unwrap().remove(0);
        assert_eq!(row.last_error.as_deref(), Some("no worker knows the job kind from-the-future yet"));
        assert_eq!((row.attempt, row.state), (0, syndarix_jobs::JobState::Delayed));
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_snooze_uses_up_no_attempt() {
    on_database(|pool| async move {
        let rounds = Arc::new(AtomicU32::new(0));
        let registry = Registry::new().with("poll", move |job: Job, _, _| {
            let round = rounds.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_eq!(job.attempt, 1);
                let wait = Duration::from_millis(1);
                if round < 5 { Outcome::Snooze { wait, reason: "not yet".into() } } else { Outcome::Done }
            }
        });
        let worker = start(&pool, &registry, quick("a", 2));
        enqueue(&pool, &job("poll").with_attempts(1)).await;
        until_done(&pool, 1).await;
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_running_job_hears_of_its_cancellation_and_is_not_tried_again() {
    on_database(|pool| async move {
        let worker = start(&pool, &patient(), quick("a", 2));
        let running = enqueue(&pool, &job("wait")).await;
        until_count(&pool, "select count(*) from job where owner is not null", 1).await;
        let asked = cancel(&mut pool.acquire().await.unwrap(), running).await.unwrap();
        assert_eq!(asked, Cancelled::Requested);
        until_count(&pool, "select count(*) from job_done where outcome = 'cancelled'", 1).await;
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_cancelled_job_that_fails_is_no_dead_letter_and_its_error_is_noted() {
    on_database(|pool| async move {
        let registry = Registry::new().with("wait", |_, _, cancel: CancellationToken| async move {
            cancel.cancelled().await;
            Outcome::Fail { reason: "half\0way".into() }
        });
        let worker = start(&pool, &registry, quick("a", 2));
        let running = enqueue(&pool, &job("wait")).await;
        until_count(&pool, "select count(*) from job where owner is not null", 1).await;
        cancel(&mut pool.acquire().await.unwrap(), running).await.unwrap();
        until_count(&pool, "select count(*) from job", 0).await;
        let noted = "select count(*) from job_done where outcome = 'cancelled' and note like 'half%way'";
        assert_eq!(count(&pool, noted).await, 1);
        assert_eq!(count(&pool, "select count(*) from job_dead").await, 0);
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_deaf_handler_is_aborted_after_its_cancellation() {
    on_database(|pool| async move {
        let worker = start(&pool, &deaf(), quick("a", 2));
        let running = enqueue(&pool, &job("wait")).await;
        until_count(&pool, "select count(*) from job where owner is not null", 1).await;
        cancel(&mut pool.acquire().await.unwrap(), running).await.unwrap();
        until_count(&pool, "select count(*) from job_done where outcome = 'cancelled'", 1).await;
        assert_eq!(worker.running(), 0);
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_drain_waits_for_what_ends_and_starts_nothing_new() {
    on_database(|pool| async move {
        let registry = Registry::new().with("slow", |_, _, _| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Outcome::Done
        });
        let worker = start(&pool, &registry, quick("a", 3));
        enqueue_all(&pool, &vec![job("slow"); 10]).await;
        until(|| worker.running() == 3).await;
        let drained = worker.shutdown(Duration::from_secs(10)).await;
        assert_eq!((drained.finished, drained.handed_back, drained.clean), (3, 0, true));
        assert_eq!(
            (done(&pool).await, count(&pool, "select count(*) from job where owner is null").await),
            (3, 7)
        );
    });
}

async fn drained_is_ready_at_once(pool: PgPool, registry: Registry) {
    let worker = start(&pool, &registry, quick("a", 3));
    enqueue_all(&pool, &vec![job("wait").with_attempts(1); 3]).await;
    until_count(&pool, "select count(*) from job where owner is not null", 3).await;
    let started = Instant::now();
    let drained = worker.shutdown(Duration::from_millis(200)).await;
    assert!(started.elapsed() < Duration::from_secs(4), "took {:?}", started.elapsed());
    assert_eq!((drained.finished, drained.handed_back, drained.clean), (0, 3, true));
    assert_eq!(count(&pool, "select count(*) from job where owner is null and due and attempt = 0").await, 3);
}

#[test]
fn a_drain_hands_back_what_listens_to_its_cancellation() {
    on_database(|pool| drained_is_ready_at_once(pool, patient()));
}

#[test]
fn a_drain_does_not_hang_on_handlers_that_ignore_cancellation() {
    on_database(|pool| drained_is_ready_at_once(pool, deaf()));
}

#[test]
fn a_drain_does_not_hang_on_a_handler_that_blocks_its_thread() {
    on_database(|pool| async move {
        let registry = Registry::new().with("block", |_, _, _| async {
            std::thread::sleep(Duration::from_secs(8));
            Outcome::Done
        });
        let worker = start(&pool, &registry, quick("a", 1));
        enqueue(&pool, &job("block")).await;
        until_count(&pool, "select count(*) from job where owner is not null", 1).await;
        let started = Instant::now();
        let drained = worker.shutdown(Duration::from_millis(100)).await;
        assert!(started.elapsed() < Duration::from_secs(4), "took {:?}", started.elapsed());
        assert_eq!((drained.handed_back, drained.clean), (1, true));
    });
}

#[test]
fn a_worker_outlives_the_loss_of_all_its_connections() {
    on_database(|pool| async move {
        let registry = exactly_once(&pool);
        let worker = start(&pool, &registry, quick("a", 4));
        for _ in 0..5 {
            enqueue_all(&pool, &vec![job("pay").with_attempts(50); 20]).await;
            sqlx::query(
                "select pg_terminate_backend(pid) from pg_stat_activity
                  where datname = current_database() and pid <> pg_backend_pid()",
            )
            .execute(&pool)
            .await
            .unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        until_count(&pool, "select count(*) from job", 0).await;
        assert_eq!(count(&pool, "select count(distinct job) from effect").await, 100);
        assert_eq!(count(&pool, "select count(*) from effect").await, 100);
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_worker_that_cannot_beat_cancels_its_own_jobs() {
    on_database(|pool| async move {
        let cancelled = Arc::new(AtomicU32::new(0));
        let heard = Arc::clone(&cancelled);
        let registry = Registry::new().with("wait", move |_, _, cancel: CancellationToken| {
            let heard = Arc::clone(&heard);
            async move {
                cancel.cancelled().await;
                heard.fetch_add(1, Ordering::SeqCst);
                Outcome::Retry { after: None, reason: "cancelled".into() }
            }
        });
        let worker = start(&pool, &registry, quick("a", 1));
        enqueue(&pool, &job("wait")).await;
        until_count(&pool, "select count(*) from job where owner is not null", 1).await;
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("lock table worker in access exclusive mode").execute(&mut *transaction).await.unwrap();
        let started = Instant::now();
        while cancelled.load(Ordering::SeqCst) == 0 {
            assert!(started.elapsed() < Duration::from_millis(2_800), "the lease is nearly over");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!worker.is_healthy());
        transaction.rollback().await.unwrap();
        until(|| worker.is_healthy()).await;
        // Claimed, handed back, claimed: what the outage broke off has used up no attempt.
        until_count(
            &pool,
            "select count(*) from job where owner is not null and attempt = 1 and fence = 3",
            1,
        )
        .await;
        worker.shutdown(Duration::from_millis(50)).await;
    });
}

/// Says whether its handler runs; aborting the handler drops it.
struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[test]
fn a_worker_whose_lock_was_cut_off_stops_its_jobs_before_a_peer_may_take_them() {
    on_database(|pool| async move {
        let runs = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&runs);
        let registry = Registry::new().with("wait", move |_, _, _| {
            seen.store(true, Ordering::SeqCst);
            let alive = Alive(Arc::clone(&seen));
            async move {
                std::future::pending::<()>().await;
                drop(alive);
                Outcome::Done
            }
        });
        let config = WorkerConfig { lease: Duration::from_secs(60), ..quick("a", 1) };
        let limits =
            Rescue { stale_after: config.stale_after, max_rescues: 9, backoff: config.rescue_backoff };
        let worker = start(&pool, &registry, config);
        enqueue(&pool, &job("wait")).await;
        until(|| runs.load(Ordering::SeqCst)).await;
        // It can neither beat nor take its lock anew; peers can read that it has fallen silent.
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("lock table worker in share mode").execute(&mut *transaction).await.unwrap();
        sqlx::query("select pg_terminate_backend(l.pid) from pg_locks l join worker w on w.lock_key = (l.classid::bigint << 32) + l.objid::bigint where l.locktype = 'advisory'")
            .execute(&pool)
            .await
            .unwrap();
        let started = Instant::now();
        while count(&pool, "select count(*) from job where owner is not null").await == 1 {
            rescue(&mut pool.acquire().await.unwrap(), limits, None).await.unwrap();
            assert!(started.elapsed() < Duration::from_secs(20), "waited in vain");
        }
        assert!(!runs.load(Ordering::SeqCst), "it runs here, and a peer may run it, too");
        transaction.rollback().await.unwrap();
        worker.shutdown(Duration::from_millis(50)).await;
    });
}

#[test]
fn an_attempt_that_comes_to_its_end_sets_the_rescues_back() {
    on_database(|pool| async move {
        enqueue(&pool, &job("late")).await;
        sqlx::query("update job set rescues = 7, attempt = 7").execute(&pool).await.unwrap();
        let registry = Registry::new().with("late", |_, _, _| async {
            Outcome::Retry { after: Some(Duration::from_secs(600)), reason: "no".into() }
        });
        let worker = start(&pool, &registry, quick("a", 1));
        until_count(&pool, "select count(*) from job where rescues = 0 and attempt = 1 and not due", 1).await;
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_poke_starts_a_job_without_waiting_for_the_poll() {
    on_database(|pool| async move {
        let registry = Registry::new().with("x", |_, _, _| async { Outcome::Done });
        let config = WorkerConfig { poll: Duration::from_secs(60), ..quick("a", 2) };
        let wake = Wake::new();
        let worker = Worker::new(pool.clone(), registry, config, wake.clone()).start();
        until_count(&pool, "select count(*) from worker", 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        enqueue(&pool, &job("x")).await;
        let poked = Instant::now();
        wake.poke("default");
        until_done(&pool, 1).await;
        assert!(poked.elapsed() < Duration::from_secs(2));
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn two_workers_never_run_two_jobs_of_one_key_at_once() {
    on_database(|pool| async move {
        let inside: Arc<[AtomicU32; 3]> = Arc::default();
        let registry = Registry::new().with("merge", {
            let inside = Arc::clone(&inside);
            move |job: Job, _, _| {
                let inside = Arc::clone(&inside);
                async move {
                    let key: usize = job.concurrency_key.unwrap().parse().unwrap();
                    let beside = inside[key].fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    inside[key].fetch_sub(1, Ordering::SeqCst);
                    if beside == 0 { Outcome::Done } else { Outcome::Fail { reason: "not alone".into() } }
                }
            }
        });
        let (one, two) = (start(&pool, &registry, quick("a", 8)), start(&pool, &registry, quick("b", 8)));
        let jobs: Vec<_> = (0..120).map(|n| job("merge").one_at_a_time((n % 3).to_string())).collect();
        enqueue_all(&pool, &jobs).await;
        until_count(&pool, "select count(*) from job", 0).await;
        assert_eq!(done(&pool).await, 120);
        one.shutdown(DRAIN).await;
        two.shutdown(DRAIN).await;
    });
}

#[test]
fn a_handler_that_only_claims_to_have_completed_does_not_lose_the_job() {
    on_database(|pool| async move {
        let registry = Registry::new().with("liar", |job: Job, _, _| async move {
            if job.rescues == 0 { Outcome::Completed } else { Outcome::Done }
        });
        let worker =
            start(&pool, &registry, WorkerConfig { lease: Duration::from_millis(600), ..quick("a", 1) });
        enqueue(&pool, &job("liar")).await;
        until_done(&pool, 1).await;
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn the_history_is_pruned_by_the_day() {
    on_database(|pool| async move {
        sqlx::query(
            "insert into job_done (id, queue, kind, attempt, outcome, ended_at)
             select n, 'default', 'x', 1, 'done', now() - make_interval(days => n) from generate_series(1, 20) n",
        )
        .execute(&pool)
        .await
        .unwrap();
        let worker = start(&pool, &Registry::new(), quick("a", 1));
        // A day is dropped when all of it is older than a week.
        until_count(&pool, "select count(*) from job_done", 7).await;
        worker.shutdown(DRAIN).await;
    });
}
