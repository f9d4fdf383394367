//! A database that is away, or does not answer: workers wait, and come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use syndarix_jobs::{Outcome, Registry, WorkerConfig};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::harness::{
    count, enqueue, enqueue_all, job, on_database, quick, start, until, until_count, until_done,
};

/// What the wire to the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Open,
    /// Every connection is closed, every new one too.
    Cut,
    /// Connections stay, and nothing gets through.
    Frozen,
}

/// A pool that reaches the database of another one through a wire that can be cut.
async fn through_a_wire(pool: &PgPool) -> (PgPool, Arc<watch::Sender<Wire>>) {
    let server = pool.connect_options().as_ref().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let wire = Arc::new(watch::Sender::new(Wire::Open));
    let (tracker, control, target) = (TaskTracker::new(), Arc::clone(&wire), server.clone());
    let connections = tracker.clone();
    tracker.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(carry(client, target.clone(), control.subscribe()));
        }
    });
    let through = PgPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_secs(3));
    (through.connect_lazy_with(server.host("127.0.0.1").port(port)), wire)
}

async fn carry(client: TcpStream, server: PgConnectOptions, mut wire: watch::Receiver<Wire>) {
    if *wire.borrow() == Wire::Cut {
        return;
    }
    let (host, port) = (server.get_host(), server.get_port());
    if host.starts_with('/') {
        let path = format!("{host}/.s.PGSQL.{port}");
        pump(client, UnixStream::connect(path).await.unwrap(), &mut wire).await;
    } else {
        pump(client, TcpStream::connect((host, port)).await.unwrap(), &mut wire).await;
    }
}

async fn pump<S>(mut client: TcpStream, mut server: S, wire: &mut watch::Receiver<Wire>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let state = *wire.borrow_and_update();
        match state {
            Wire::Cut => return,
            Wire::Frozen if wire.changed().await.is_err() => return,
            Wire::Frozen => {}
            Wire::Open => tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => return,
                changed = wire.changed() => if changed.is_err() { return },
            },
        }
    }
}

fn done_at_once() -> Registry {
    Registry::new().with("x", |_, _, _| async { Outcome::Done })
}

fn deaf() -> Registry {
    Registry::new().with("x", |_, _, _| std::future::pending::<Outcome>())
}

#[test]
fn a_worker_waits_for_a_database_that_is_away_and_goes_on() {
    on_database(|pool| async move {
        let (through, wire) = through_a_wire(&pool).await;
        wire.send_replace(Wire::Cut);
        let worker = start(&through, &done_at_once(), quick("a", 4));
        enqueue_all(&pool, &vec![job("x"); 20]).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!worker.is_healthy());
        wire.send_replace(Wire::Open);
        until_done(&pool, 20).await;
        wire.send_replace(Wire::Cut);
        tokio::time::sleep(Duration::from_millis(700)).await;
        enqueue_all(&pool, &vec![job("x"); 20]).await;
        wire.send_replace(Wire::Open);
        until_done(&pool, 40).await;
        worker.shutdown(Duration::from_secs(1)).await;
    });
}

#[test]
fn an_end_that_could_not_be_written_is_written_when_the_database_is_back() {
    on_database(|pool| async move {
        let (through, wire) = through_a_wire(&pool).await;
        let cut = Arc::clone(&wire);
        let registry = Registry::new().with("x", move |_, _, _| {
            cut.send_replace(Wire::Cut);
            async { Outcome::Done }
        });
        let config = WorkerConfig {
            lease: Duration::from_secs(60),
            stale_after: Duration::from_secs(60),
            ..quick("a", 1)
        };
        let worker = start(&through, &registry, config);
        enqueue(&pool, &job("x")).await;
        until_count(&pool, "select count(*) from job where owner is not null", 1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        wire.send_replace(Wire::Open);
        until_done(&pool, 1).await;
        assert_eq!(count(&pool, "select count(*) from job_done where attempt = 1").await, 1);
        worker.shutdown(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_frozen_wire_costs_the_worker_its_jobs_and_a_peer_takes_them() {
    on_database(|pool| async move {
        let (through, wire) = through_a_wire(&pool).await;
        let cut_off = start(&through, &deaf(), quick("cut off", 1));
        enqueue(&pool, &job("x")).await;
        until_count(&pool, "select count(*) from job where owner is not null", 1).await;
        wire.send_replace(Wire::Frozen);
        let peer = start(&pool, &done_at_once(), quick("peer", 1));
        until_done(&pool, 1).await;
        until(|| !cut_off.is_healthy()).await;
        wire.send_replace(Wire::Open);
        until(|| cut_off.running() == 0 && cut_off.is_healthy()).await;
        cut_off.shutdown(Duration::from_millis(100)).await;
        peer.shutdown(Duration::from_millis(100)).await;
    });
}

#[test]
fn a_drain_comes_back_when_the_database_does_not() {
    on_database(|pool| async move {
        let (through, wire) = through_a_wire(&pool).await;
        let worker = start(&through, &deaf(), quick("a", 1));
        enqueue(&pool, &job("x")).await;
        until(|| worker.running() == 1).await;
        wire.send_replace(Wire::Frozen);
        let started = Instant::now();
        let drained = worker.shutdown(Duration::from_millis(200)).await;
        assert_eq!((drained.finished, drained.left, drained.clean), (0, 1, false));
        assert!(started.elapsed() < Duration::from_millis(8_500), "took {:?}", started.elapsed());
    });
}

#[test]
fn a_drain_without_the_database_leaves_no_job_where_none_ran() {
    on_database(|pool| async move {
        let (through, wire) = through_a_wire(&pool).await;
        let worker = start(&through, &deaf(), quick("a", 1));
        until(|| worker.is_healthy()).await;
        wire.send_replace(Wire::Cut);
        let drained = worker.shutdown(Duration::from_millis(200)).await;
        assert_eq!((drained.finished, drained.left, drained.clean), (0, 0, false));
    });
}
