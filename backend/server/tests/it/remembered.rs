//! What a process remembers of its own writes: a guess, that never becomes a wrong decision.

use crate::transitions::{Bench, edit};
use std::sync::atomic::{AtomicU32, Ordering};
use syndarix::db::{Author, Error, Store, retry_conflicts};
use syndarix_bus::Hub;
use syndarix_domain::{
    ids::{SprintId, StoryId},
    sprint::{self, Sprint},
};
use syndarix_jobs::Wake;

/// Another process on the same database: what the first one remembers, it may have moved meanwhile.
fn another_process(bench: &Bench) -> Store {
    let pool = bench.store().pool().clone();
    Store::new(pool, bench.store().clock().clone(), Hub::default(), Wake::new())
}

/// Gives a command once, as a unit that is tried again after a conflict; says how often it was decided.
async fn command(
    bench: &Bench,
    store: &Store,
    sprint: SprintId,
    command: &sprint::Command,
) -> Result<u32, Error> {
    let attempts = AtomicU32::new(0);
    retry_conflicts(|| async {
        attempts.fetch_add(1, Ordering::Relaxed);
        let mut uow = store.begin(Author::system()).await?;
        uow.execute::<Sprint>(bench.project, sprint, command).await?;
        uow.commit().await.map(drop)
    })
    .await?;
    Ok(attempts.into_inner())
}

#[tokio::test]
async fn what_another_process_moved_meanwhile_is_decided_again_on_what_it_left() {
    let bench = Bench::start().await;
    let (sprint, other) = (bench.sprint().await, another_process(&bench));
    command(&bench, bench.store(), sprint, &edit("mine")).await.unwrap();
    command(&bench, &other, sprint, &edit("theirs")).await.unwrap();

    let attempts = command(&bench, bench.store(), sprint, &edit("mine again")).await.unwrap();

    assert_eq!((attempts, bench.version(sprint).await), (2, 4));
    bench.holds().await;
}

#[tokio::test]
async fn a_command_that_is_fulfilled_by_what_was_only_remembered_is_carried_out_all_the_same() {
    let bench = Bench::start().await;
    let (sprint, other) = (bench.sprint().await, another_process(&bench));
    command(&bench, bench.store(), sprint, &edit("mine")).await.unwrap();
    command(&bench, &other, sprint, &edit("theirs")).await.unwrap();

    command(&bench, bench.store(), sprint, &edit("mine")).await.unwrap();

    let now = bench.store().read::<Sprint>(bench.project, sprint).await.unwrap();
    assert_eq!((now.state.name.as_str(), now.version), ("mine", 4));
}

#[tokio::test]
async fn a_command_that_is_refused_by_what_was_only_remembered_is_looked_up_first() {
    let bench = Bench::start().await;
    let (sprint, other) = (bench.sprint().await, another_process(&bench));
    let today = bench.store().clock().now().date_naive();
    let ready = sprint::Command::Edit {
        name: "Ready".into(),
        goal: "To be begun".into(),
        starts_on: Some(today),
        ends_on: Some(today),
    };
    command(&bench, bench.store(), sprint, &edit("without a goal")).await.unwrap();
    command(&bench, &other, sprint, &ready).await.unwrap();

    let start = sprint::Command::Start { stories: 1, gate: None };
    let attempts = command(&bench, bench.store(), sprint, &start).await.unwrap();

    assert_eq!((attempts, bench.version(sprint).await), (1, 4));
}

#[tokio::test]
async fn a_unit_that_nobody_tries_again_is_not_decided_on_what_is_remembered() {
    let bench = Bench::start().await;
    let (sprint, other) = (bench.sprint().await, another_process(&bench));
    command(&bench, bench.store(), sprint, &edit("mine")).await.unwrap();
    command(&bench, &other, sprint, &edit("theirs")).await.unwrap();

    let mut uow = bench.store().begin(Author::system()).await.unwrap();
    uow.execute::<Sprint>(bench.project, sprint, &edit("once")).await.unwrap();

    assert!(uow.commit().await.is_ok());
}

#[tokio::test]
async fn what_a_unit_answers_without_a_commit_is_answered_from_what_is_stored() {
    let bench = Bench::start().await;
    let (sprint, other) = (bench.sprint().await, another_process(&bench));
    let story = StoryId(bench.store().new_id());
    let add = sprint::Command::AddStory { story, from: None };
    let name_seen = async |refuse: bool| {
        retry_conflicts(|| async {
            let mut uow = bench.store().begin(Author::system()).await?;
            let seen = uow.execute::<Sprint>(bench.project, sprint, &add).await?.name;
            // Neither is committed: the caller has seen what it wanted to know.
            if refuse && seen == "mine" {
                Err(Error::NotFound("what the other has written"))
            } else {
                Ok(seen)
            }
        })
        .await
    };
    for refuse in [false, true] {
        command(&bench, bench.store(), sprint, &edit("mine")).await.unwrap();
        command(&bench, &other, sprint, &edit("theirs")).await.unwrap();

        assert_eq!(name_seen(refuse).await.unwrap(), "theirs");
    }
}
