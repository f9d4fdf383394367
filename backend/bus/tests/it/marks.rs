//! Marks between processes over a real Redis, also while it dies.

use crate::harness::{Redis, until};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use syndarix_bus::{Mark, Marks, marks};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// One process: what it puts, and what it believes of the others.
struct Process {
    marks: Marks,
    heard: Arc<Mutex<HashMap<String, Option<Duration>>>>,
    _task: JoinSet<()>,
}

impl Process {
    fn start(redis: &Redis) -> Self {
        let (marks, carrier) = marks("test");
        let heard = Arc::new(Mutex::new(HashMap::new()));
        let ear = Arc::clone(&heard);
        let mut task = JoinSet::new();
        let hear = move |mark: Mark| {
            ear.lock().unwrap().insert(mark.name, mark.left);
        };
        task.spawn(carrier.run(redis.url(), hear, CancellationToken::new()));
        Self { marks, heard, _task: task }
    }

    fn put(&self, name: &str, seconds: Option<u64>) {
        self.marks.put(Mark { name: name.into(), left: seconds.map(Duration::from_secs) });
    }

    fn holds(&self, name: &str) -> Option<bool> {
        self.heard.lock().unwrap().get(name).map(Option::is_some)
    }
}

#[tokio::test]
async fn what_one_process_marks_every_other_hears_of_and_also_one_that_comes_later() {
    let redis = Redis::start().await;
    let (here, there) = (Process::start(&redis), Process::start(&redis));
    here.put("a", Some(60));
    until(|| there.holds("a") == Some(true)).await;
    let later = Process::start(&redis);
    until(|| later.holds("a") == Some(true)).await;
    let left = later.heard.lock().unwrap()["a"].unwrap();
    assert!(left > Duration::from_secs(30) && left <= Duration::from_secs(60), "{left:?}");
    there.put("a", None);
    until(|| later.holds("a") == Some(false) && here.holds("a") == Some(false)).await;
    assert_eq!(there.holds("a"), Some(true), "nobody hears of what they do themselves");
}

#[tokio::test]
async fn a_redis_that_is_lost_takes_nothing_away_and_one_that_comes_back_carries_again() {
    let mut redis = Redis::start().await;
    let (here, there) = (Process::start(&redis), Process::start(&redis));
    here.put("a", Some(600));
    until(|| there.holds("a") == Some(true)).await;
    redis.kill();
    for n in 0..5_000 {
        here.put(&format!("lost {n}"), Some(600));
    }
    redis.restart().await;
    // It has forgotten everything, and says nothing about what was.
    until(|| {
        here.put("b", Some(600));
        there.holds("b") == Some(true)
    })
    .await;
    assert_eq!(there.holds("a"), Some(true));
}
