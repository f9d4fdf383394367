//! A release with another revision of a machine: it takes over what is parked, or refuses to start.

use crate::{fire, scene::Scene, support::TestApp};
use axum::http::StatusCode;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syndarix::{
    db::{self, Effects, Error, Uow},
    lifecycle::{self, Options},
};
use syndarix_domain::{
    Timestamp,
    approval::{self, Approval},
    machine::{Decision, Kind, Machine, Rejection},
    revision::{Step, Upgraded},
    run::Phase,
};

/// The approvals of a release to come: its states have the question beside how urgent it is. It knows nothing of questions
/// that earlier releases left behind expired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Next {
    question: Approval,
    urgency: u8,
}

impl Machine for Next {
    const KIND: Kind = Kind::Approval;
    const REVISION: i32 = 2;
    const PHASES: &'static [&'static str] = Approval::PHASES;
    type Command = approval::Command;
    type Event = approval::Event;
    type Effect = approval::Effect;

    fn decide(
        state: Option<&Self>,
        command: &Self::Command,
        now: Timestamp,
    ) -> Result<Decision<Self>, Rejection> {
        let decision = Approval::decide(state.map(|next| &next.question), command, now)?;
        Ok(Decision { events: decision.events, effects: decision.effects })
    }

    fn evolve(state: Option<Self>, event: &Self::Event) -> Option<Self> {
        if let approval::Event::Upgraded(upgraded) = event {
            return upgraded.apply(state);
        }
        let urgency = state.as_ref().map_or(0, |next| next.urgency);
        let question = Approval::evolve(state.map(|next| next.question), event)?;
        Some(Self { question, urgency })
    }

    fn phase(&self) -> &'static str {
        self.question.phase()
    }

    fn step(revision: i32, phase: &str) -> Option<Step> {
        let map: fn(Value) -> Value = |state| json!({ "question": state, "urgency": 3 });
        (revision == 1 && phase == "pending").then_some(Step { phase: "pending", map })
    }

    fn upgraded(upgraded: Upgraded) -> Self::Event {
        approval::Event::Upgraded(upgraded)
    }
}

impl Effects for Next {
    fn carry_out<'u>(
        uow: &'u mut Uow,
        state: &'u Self,
        effect: Self::Effect,
    ) -> BoxFuture<'u, Result<(), Error>> {
        Approval::carry_out(uow, &state.question, effect)
    }
}

#[tokio::test]
async fn an_approval_that_was_parked_before_an_upgrade_is_answered_after_it_and_wakes_its_run() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let store = &test.app.store;
    db::check::<Next>(store).await.unwrap();

    assert_eq!(db::upgrade::<Next>(store).await.unwrap(), 1);

    assert_eq!(db::upgrade::<Next>(store).await.unwrap(), 0, "it is moved once");
    let moved = store.read::<Next>(scene.project, asked.id).await.unwrap();
    assert_eq!((moved.version, moved.state.urgency), (2, 3));
    let replayed = store.at_version::<Next>(scene.project, asked.id, 2).await.unwrap();
    assert_eq!(replayed.state, moved.state, "its events say the same, the upgrade among them");
    let decided = approval::Decided {
        outcome: approval::Outcome::Approved,
        by: uuid::Uuid::now_v7().into(),
        at: test.clock.now(),
        note: String::new(),
        comments: Vec::new(),
        arguments: None,
    };
    let command = approval::Command::Decide { digest: asked.digest, decided };
    let mut uow = scene.uow();
    uow.execute::<Next>(scene.project, asked.id, &command).await.unwrap();
    uow.commit().await.unwrap();
    assert!(matches!(scene.run_state().await.phase, Phase::Succeeded { .. }));
}

#[tokio::test]
async fn an_instance_of_the_release_before_writes_nothing_over_what_was_moved() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    sqlx::query("update run set def_rev = 2").execute(test.app.pool()).await.unwrap();
    let path = scene.path(&format!("/runs/{}/cancel", scene.run));
    let (status, _) = test.post(&path, &scene.token, json!({ "reason": "x" })).await;
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_state_that_no_mapping_takes_over_is_named_and_nothing_is_touched() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    sqlx::query("update approval set phase = 'expired'").execute(test.app.pool()).await.unwrap();
    let refused = db::check::<Next>(&test.app.store).await.unwrap_err().to_string();
    assert!(
        refused.contains("a approval in `expired` of revision 1 has no mapping to revision 2"),
        "{refused}"
    );
    assert!(refused.contains(&asked.id.to_string()), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_does_not_start_on_the_states_of_a_later_one_and_says_which() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let database: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(test.app.pool()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let start = async || lifecycle::start(fire::config(dir.path(), &database), Options::default()).await;
    sqlx::query("update run set def_rev = 7").execute(test.app.pool()).await.unwrap();
    let Err(refused) = start().await else { unreachable!("it started") };
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("a run in `started` is of revision 7"), "{cause}");
    assert!(
        cause.contains(&scene.run.to_string()) && cause.contains("start the release that wrote"),
        "{cause}"
    );
    sqlx::query("update run set def_rev = 1").execute(test.app.pool()).await.unwrap();
    start().await.unwrap().stop().await;
}
