//! The ordinary life of a server.

use crate::{Place, connect, count, processes, run, wait_gone};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, Executor};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use syndarix_postgres::{Source, Stopped, find_binaries};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_server_starts_fresh_stops_cleanly_and_starts_again_with_its_data() {
    let place = Place::new();
    let began = Instant::now();
    let server = place.start().await;
    let fresh = began.elapsed();
    run(
        server.url(),
        "create extension if not exists vector; create table t (v vector(3)); insert into t values ('[1,2,3]')",
    )
    .await;
    assert!(server.answers().await);
    let pids = processes(server.pid(), server.url()).await;
    assert_eq!(server.stop().await.unwrap(), Stopped::Clean);
    wait_gone(&pids, Duration::ZERO).await;

    let began = Instant::now();
    let server = place.start().await;
    assert!(began.elapsed() < fresh, "a warm start takes less than a fresh one");
    assert_eq!(count(server.url()).await, 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_server_is_reached_through_a_private_socket_and_not_over_tcp() {
    let place = Place::new();
    let server = place.start().await;
    let mut connection = connect(server.url()).await;
    let addresses: String =
        sqlx::query_scalar("show listen_addresses").fetch_one(&mut connection).await.unwrap();
    assert_eq!(addresses, "");
    let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&mut connection).await.unwrap();
    assert_eq!(fsync, "on");
    let run_dir = std::fs::read_dir(place.run_base()).unwrap().next().unwrap().unwrap();
    assert_eq!(run_dir.metadata().unwrap().mode() & 0o777, 0o700);
    server.stop().await.unwrap();
    assert!(!run_dir.path().exists(), "a clean stop leaves no run directory");
}

#[tokio::test]
async fn stopping_with_busy_clients_takes_little_time_and_leaves_no_process() {
    let place = Place::new();
    let server = place.start().await;
    let mut clients = JoinSet::new();
    for _ in 0..5 {
        let mut client = connect(server.url()).await;
        clients.spawn(async move { client.execute("select pg_sleep(600)").await.is_err() });
    }
    let mut in_transaction = connect(server.url()).await;
    in_transaction.execute("begin; create table u (i int)").await.unwrap();
    let pids = processes(server.pid(), server.url()).await;
    let began = Instant::now();
    assert_eq!(server.stop().await.unwrap(), Stopped::Clean);
    assert!(began.elapsed() < Duration::from_secs(20));
    wait_gone(&pids, Duration::ZERO).await;
    assert_eq!(clients.join_all().await, [true; 5], "every session was ended");
}

#[tokio::test]
async fn a_dropped_handle_ends_the_server_and_the_next_start_waits_for_that() {
    let place = Place::new();
    let server = place.start().await;
    run(server.url(), "create table t as select generate_series(1, 10)").await;
    let pid = server.pid();
    drop(server);
    let server = place.start().await;
    assert_ne!(server.pid(), pid);
    assert_eq!(count(server.url()).await, 10);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_binaries_found_are_the_ones_in_use_and_bring_pg_dump() {
    let place = Place::new();
    let found = find_binaries(&place.options()).unwrap();
    assert_ne!(found.source, Source::Explicit);
    let server = place.start().await;
    assert_eq!(server.binaries(), &found);
    let dump = std::process::Command::new(found.bin_dir.join("pg_dump"))
        .args(["--schema-only", "--dbname", server.url()])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_requested_stop_is_no_death() {
    let place = Place::new();
    let server = place.start().await;
    let died = server.died();
    server.stop().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), died).await.is_err());
}

#[tokio::test]
async fn the_application_owns_its_database_but_is_no_superuser() {
    let place = Place::new();
    let server = place.start().await;
    run(server.url(), "create schema s; create table s.t (i int); create extension pg_trgm").await;
    let mut connection = connect(server.url()).await;
    let error = connection.execute("copy s.t to program 'true'").await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
    server.stop().await.unwrap();
}

/// The way in for whoever knows the socket and nothing else.
async fn knock(place: &Place, user: &str, password: Option<&str>) -> Result<(), sqlx::Error> {
    let run_dir = std::fs::read_dir(place.run_base()).unwrap().next().unwrap().unwrap().path();
    let mut options = PgConnectOptions::new_without_pgpass()
        .socket(run_dir)
        .username(user)
        .database("postgres")
        .ssl_mode(PgSslMode::Disable);
    if let Some(password) = password {
        options = options.password(password);
    }
    sqlx::PgConnection::connect_with(&options).await.map(drop)
}

#[tokio::test]
async fn who_knows_the_socket_but_no_password_does_not_get_in() {
    let place = Place::new();
    let server = place.start().await;
    for user in ["postgres", "syndarix"] {
        for password in [None, Some(""), Some("postgres")] {
            let error = knock(&place, user, password).await.unwrap_err();
            assert!(!matches!(error, sqlx::Error::Io(_)), "{user} {password:?}: {error}");
        }
    }
    let file = place.data_dir().join("passwords");
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(file).unwrap();
    knock(&place, "postgres", secret.lines().next()).await.unwrap();
    let log = std::fs::read_to_string(place.data_dir().join("postgres.log")).unwrap();
    assert!(secret.lines().all(|password| !log.contains(password)), "a password is in the log");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn data_of_a_version_without_passwords_gets_them_at_the_next_start_even_after_a_kill() {
    let place = Place::new();
    let server = place.start().await;
    run(server.url(), "create table t as select generate_series(1, 7)").await;
    let pids = processes(server.pid(), server.url()).await;
    crate::kill(server.pid());
    wait_gone(&pids, Duration::from_secs(30)).await;
    drop(server);
    // As it was: no file, and a superuser without a password, whom anybody on the socket could be.
    std::fs::remove_file(place.data_dir().join("passwords")).unwrap();
    std::fs::write(place.data_dir().join("pgdata/pg_hba.conf"), "local all all trust\n").unwrap();

    let server = place.start().await;

    assert_eq!(count(server.url()).await, 7);
    assert!(knock(&place, "postgres", None).await.is_err());
    server.stop().await.unwrap();
}

/// Root may find data that it restored itself, or that was made when another stand-in user existed.
#[tokio::test]
async fn root_gives_restored_data_to_the_servers_user_and_keeps_the_user_of_older_data() {
    let place = Place::new();
    let server = place.start().await;
    run(server.url(), "create table t as select generate_series(1, 4)").await;
    server.stop().await.unwrap();
    let me = rustix::process::geteuid().as_raw();
    for owner in if me == 0 { vec![0, 65_534] } else { vec![me] } {
        chown_all(&place.data_dir().join("pgdata"), owner);
        let server = place.start().await;
        assert_eq!(count(server.url()).await, 4);
        let runs_as = std::fs::metadata(place.data_dir().join("pgdata/postmaster.pid")).unwrap().uid();
        assert!(if owner == 0 { runs_as != 0 } else { runs_as == owner }, "{owner} {runs_as}");
        server.stop().await.unwrap();
    }
}

fn chown_all(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), None).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in path.read_dir().unwrap() {
            chown_all(&entry.unwrap().path(), uid);
        }
    }
}
