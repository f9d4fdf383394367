//! A second deployment is asked when the first says nothing for a while: one answer, both recorded.

use std::time::Duration;

use syndarix_llm::{CallError, Cause, ErrorKind, ModelGroup, ProviderKind};
use tokio_util::sync::CancellationToken;

use crate::harness::{Hooks, KINDS, Server, gateway, policy, request, too_dear};

const SOUND: &str = "[[rule]]\nname = 'ok'\nanswer.text = 'one two three four five six seven'\n";

async fn slow(chunk_ms: u64) -> Server {
    Server::scripted(&format!("{SOUND}fault = {{ kind = 'slow_stream', chunk_ms = {chunk_ms} }}\n")).await
}

async fn hanging() -> Server {
    Server::scripted("[[rule]]\nname = 'r'\nfault = { kind = 'hang', seconds = 30 }\n").await
}

fn hedged(after_ms: u64, chain: Vec<syndarix_llm::Deployment>) -> ModelGroup {
    ModelGroup { hedge_after_ms: Some(after_ms), ..ModelGroup::new("test", chain) }
}

#[tokio::test]
async fn the_second_answers_when_the_first_says_nothing_and_the_first_is_cancelled_and_recorded() {
    let (silent, sound) = (hanging().await, Server::scripted(SOUND).await);
    for kind in KINDS {
        let (gateway, hooks) = (gateway(policy(2)), Hooks::default());
        let group = hedged(50, vec![silent.deployment("a", kind), sound.deployment("b", kind)]);
        let answer =
            gateway.complete(&group, &request("go"), &hooks, &CancellationToken::new()).await.unwrap();
        assert_eq!(
            (answer.deployment.as_str(), answer.text().as_str()),
            ("b", "one two three four five six seven")
        );
        let names: Vec<(u32, String)> = hooks.reserved().into_iter().map(|(n, name, _)| (n, name)).collect();
        assert_eq!(names, [(1, "a".into()), (2, "b".into())], "money is set aside for both");
        let mut settled = hooks.settled();
        settled.sort_by_key(|settled| settled.n);
        let lost = settled[0].error.clone().unwrap();
        assert_eq!((settled.len(), lost.kind), (2, ErrorKind::Cancelled), "it is not waited for to its end");
        assert!(settled[0].usage.estimated && settled[0].cost.micro_usd > 0, "{settled:?}");
        assert!(settled[1].error.is_none());
    }
}

#[tokio::test]
async fn the_first_wins_when_its_content_comes_first_after_all() {
    let (late, later) = (slow(60).await, hanging().await);
    let hooks = Hooks::default();
    let group = hedged(
        20,
        vec![late.deployment("a", ProviderKind::OpenAi), later.deployment("b", ProviderKind::OpenAi)],
    );
    let answer =
        gateway(policy(0)).complete(&group, &request("go"), &hooks, &CancellationToken::new()).await.unwrap();
    assert_eq!(answer.deployment, "a");
    let mut errors: Vec<_> = hooks.settled().into_iter().map(|s| (s.n, s.error.map(|e| e.kind))).collect();
    errors.sort_by_key(|(n, _)| *n);
    assert_eq!(errors, [(1, None), (2, Some(ErrorKind::Cancelled))]);
}

#[tokio::test]
async fn nobody_is_asked_twice_when_the_first_is_quick() {
    let sound = Server::scripted(SOUND).await;
    let hooks = Hooks::default();
    let group = hedged(
        5_000,
        vec![sound.deployment("a", ProviderKind::OpenAi), sound.deployment("b", ProviderKind::OpenAi)],
    );
    gateway(policy(0)).complete(&group, &request("go"), &hooks, &CancellationToken::new()).await.unwrap();
    assert_eq!(hooks.reserved().len(), 1);
}

#[tokio::test]
async fn a_refused_second_attempt_leaves_the_first_alone() {
    let (late, sound) = (slow(80).await, Server::scripted(SOUND).await);
    let hooks = Hooks { refuse_from: Some(2), ..Hooks::default() };
    let group = hedged(
        20,
        vec![late.deployment("a", ProviderKind::OpenAi), sound.deployment("b", ProviderKind::OpenAi)],
    );
    let answer =
        gateway(policy(0)).complete(&group, &request("go"), &hooks, &CancellationToken::new()).await.unwrap();
    assert_eq!((answer.deployment.as_str(), hooks.settled().len()), ("a", 1));
}

#[tokio::test]
async fn a_first_attempt_that_waits_for_money_in_vain_leaves_the_second_alone() {
    let late = slow(100).await;
    let said_after = Duration::from_millis(60);
    let hooks = Hooks { too_dear: &["a"], said_after, ..Hooks::default() };
    let group = hedged(
        20,
        vec![late.deployment("a", ProviderKind::OpenAi), late.deployment("b", ProviderKind::OpenAi)],
    );
    let answer =
        gateway(policy(0)).complete(&group, &request("go"), &hooks, &CancellationToken::new()).await.unwrap();
    assert_eq!((answer.deployment.as_str(), hooks.settled().len()), ("b", 1));
    assert_eq!(answer.before, [too_dear("a")], "it is no secret for what the second was asked");
}

#[tokio::test]
async fn a_first_attempt_that_still_waits_for_money_keeps_nobody_waiting_once_the_second_answers() {
    let sound = Server::scripted(SOUND).await;
    let hooks = Hooks { too_dear: &["a"], said_after: Duration::from_secs(600), ..Hooks::default() };
    let group = hedged(
        20,
        vec![sound.deployment("a", ProviderKind::OpenAi), sound.deployment("b", ProviderKind::OpenAi)],
    );
    let (gateway, asked, cancel) = (gateway(policy(0)), request("go"), CancellationToken::new());
    let call = gateway.complete(&group, &asked, &hooks, &cancel);
    let answer = tokio::time::timeout(Duration::from_secs(60), call).await.expect("it is over").unwrap();
    let settled: Vec<u32> = hooks.settled().iter().map(|settled| settled.n).collect();
    assert_eq!((answer.deployment.as_str(), answer.before, settled), ("b", vec![], vec![2]));
}

#[tokio::test]
async fn when_the_second_fails_a_first_that_there_is_no_money_for_is_not_asked_for_again_but_the_third() {
    let broken = Server::scripted("[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 500 }\n").await;
    let sound = Server::scripted(SOUND).await;
    let hooks = Hooks { too_dear: &["a"], said_after: Duration::from_millis(80), ..Hooks::default() };
    let chain = [("a", &sound), ("b", &broken), ("c", &sound)];
    let chain = chain.map(|(name, server)| server.deployment(name, ProviderKind::OpenAi)).to_vec();
    let answer = gateway(policy(2))
        .complete(&hedged(20, chain), &request("go"), &hooks, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((answer.deployment.as_str(), &answer.before[0]), ("c", &too_dear("a")));
    assert!(
        matches!(&answer.before[1..], [Cause::Failed { n: 2, deployment, .. }] if deployment == "b"),
        "{:?}",
        answer.before
    );
    assert_eq!(hooks.settled().iter().map(|settled| settled.n).collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn when_both_fail_the_third_is_asked_and_every_cause_is_kept() {
    let broken = |after: &'static str| async move {
        let script = format!("{SOUND}fault = {{ kind = '{after}', chunk_ms = 1 }}\n");
        Server::scripted(&script.replace("'cut', chunk_ms = 1", "'cut_stream', after_chunks = 0")).await
    };
    let (silent, cut, sound) = (hanging().await, broken("cut").await, Server::scripted(SOUND).await);
    let mut first = silent.deployment("a", ProviderKind::OpenAi);
    first.limits.first_byte_ms = 200;
    let chain =
        vec![first, cut.deployment("b", ProviderKind::OpenAi), sound.deployment("c", ProviderKind::OpenAi)];
    let hooks = Hooks::default();
    let answer = gateway(policy(2))
        .complete(&hedged(20, chain), &request("go"), &hooks, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(answer.deployment, "c");
    let settled: Vec<_> = hooks.settled().into_iter().map(|s| (s.n, s.error.is_some())).collect();
    assert_eq!(settled, [(2, true), (1, true), (3, false)]);
}

#[tokio::test]
async fn cancelling_the_call_cancels_both_and_records_both() {
    let silent = hanging().await;
    let (hooks, cancel) = (Hooks::default(), CancellationToken::new());
    let group = hedged(
        30,
        vec![silent.deployment("a", ProviderKind::OpenAi), silent.deployment("b", ProviderKind::OpenAi)],
    );
    let (gateway, asked) = (gateway(policy(0)), request("go"));
    let (result, ()) = tokio::join!(gateway.complete(&group, &asked, &hooks, &cancel), async {
        while hooks.reserved().len() < 2 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert!(matches!(result, Err(CallError::Cancelled { .. })), "{result:?}");
    assert_eq!(hooks.settled().len(), 2);
}
