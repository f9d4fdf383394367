//! Everything that may be killed is killed; what was committed must be there afterwards, and nothing else.

use crate::{Place, connect, count, is_alive, kill, options, processes, run, signal, wait_gone};
use rustix::process::Signal;
use sqlx::Executor;
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use syndarix_postgres::{Probe, Stopped, start};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_killed_server_is_noticed_and_starts_again_with_all_that_was_committed() {
    let place = Place::new();
    let mut server = place.start().await;
    run(server.url(), "create table t (i int)").await;
    for round in 1..=3 {
        run(server.url(), "insert into t select generate_series(1, 1000)").await;
        let mut busy = connect(server.url()).await;
        // A backend in a long computation does not notice at once that its server has gone.
        let mut sessions = JoinSet::new();
        sessions.spawn(async move {
            busy.execute("select count(*) from generate_series(1, 20000000)").await.is_err()
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let died = server.died();
        kill(server.pid());
        let died = tokio::time::timeout(Duration::from_secs(5), died).await.unwrap();
        assert!(died.status.contains("signal: 9"), "{}", died.status);
        assert!(!server.answers().await);
        drop(server);
        server = place.start().await;
        assert_eq!(count(server.url()).await, round * 1000);
        sessions.join_all().await;
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_is_noticed_and_ended_and_starts_again() {
    let place = Place::new();
    let server = place.start().await;
    run(server.url(), "create table t as select generate_series(1, 9)").await;
    let probe = Probe { every: Duration::from_millis(50), failures: 2 };
    let quick = tokio::time::timeout(Duration::from_secs(1), server.hung(probe)).await;
    assert!(quick.is_err(), "one that answers for a second does not hang");
    signal(server.pid(), Signal::STOP);
    tokio::time::timeout(Duration::from_secs(60), server.hung(probe)).await.unwrap();
    assert_eq!(server.end_now().await.unwrap(), Stopped::Immediate);
    let server = place.start().await;
    assert_eq!(count(server.url()).await, 9);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_server_of_a_killed_parent_ends_by_itself() {
    let place = Place::new();
    let mut holder = Holder::start(&place);
    let pids = processes(holder.server, &holder.url).await;
    holder.kill();
    wait_gone(&pids, Duration::from_secs(20)).await;
}

#[tokio::test]
async fn after_a_killed_parent_committed_rows_are_there_and_uncommitted_ones_are_gone() {
    let place = Place::new();
    let mut holder = Holder::start(&place);
    run(&holder.url, "create table t (i int); insert into t select generate_series(1, 500)").await;
    let mut open = connect(&holder.url).await;
    open.execute("begin; insert into t select generate_series(1, 100000)").await.unwrap();
    holder.kill();
    let server = place.start().await;
    assert_eq!(count(server.url()).await, 500);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_orphan_whose_guard_was_killed_too_is_ended_by_the_next_start() {
    let place = Place::new();
    let mut holder = Holder::start(&place);
    run(&holder.url, "create table t as select generate_series(1, 7)").await;
    let pids = processes(holder.server, &holder.url).await;
    kill(holder.guard());
    holder.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(is_alive(holder.server), "without its guard the server lives on");
    let server = place.start().await;
    assert_eq!(count(server.url()).await, 7);
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_parent_that_ends_in_order_stops_its_server() {
    let place = Place::new();
    let mut holder = Holder::start(&place);
    drop(holder.process.stdin.take());
    assert!(holder.process.wait().unwrap().success());
    assert!(!is_alive(holder.server));
}

/// The parent that the other tests kill: starts a server, says which, and holds it until its standard input ends.
#[tokio::test]
#[ignore = "runs in a process of its own, started by the other tests"]
async fn holder() {
    let Some(place) = std::env::var_os(HELD_PLACE) else { return };
    let server = start(options(Path::new(&place))).await.unwrap();
    println!("\nheld {} {}", server.pid(), server.url());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    server.stop().await.unwrap();
}

const HELD_PLACE: &str = "SYNDARIX_TEST_HELD_PLACE";

/// This test binary once more, running only [`holder`].
struct Holder {
    process: Child,
    server: u32,
    url: String,
    /// Kept open: it still wants to say that its test passed.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    fn start(place: &Place) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "kills::holder", "--nocapture"])
            .env(HELD_PLACE, place.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let held = output.find_map(|line| line.unwrap().strip_prefix("held ").map(str::to_owned));
        let held = held.expect("the holder says what it started");
        let (pid, url) = held.split_once(' ').unwrap();
        Self { server: pid.parse().unwrap(), url: url.to_owned(), process, _output: output }
    }

    fn kill(&mut self) {
        kill(self.process.id());
        self.process.wait().unwrap();
    }

    /// The guard's last argument is the server's number.
    fn guard(&self) -> u32 {
        let list = Command::new("ps").args(["-axww", "-o", "pid=,command="]).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let wanted = format!("syndarix-postgres-guard {}", self.server);
        let line = list.lines().find(|line| line.trim_end().ends_with(&wanted)).expect("the guard runs");
        line.trim_start().split_once(' ').unwrap().0.parse().unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
