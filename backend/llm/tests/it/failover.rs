//! The order of the chain, and what makes the gateway go along it.

use std::time::{Duration, Instant};

use syndarix_llm::{BreakerPolicy, CallError, Cause, ErrorKind, GatewayPolicy, ProviderKind, Skipped};

use crate::harness::{Hooks, Server, call, deployment, gateway, kinds, nowhere, policy, request};

async fn failing(status: u16, more: &str) -> Server {
    let fault = format!("fault = {{ kind = 'status', status = {status}{more} }}");
    Server::scripted(&format!("[[rule]]\nname = 'fails'\n{fault}\n")).await
}

async fn answering() -> Server {
    Server::scripted("[[rule]]\nname = 'ok'\nanswer.text = 'fine'\n").await
}

#[tokio::test]
async fn the_chain_is_tried_in_order_and_every_cause_is_kept() {
    let (broken, locked, gone) = (failing(500, "").await, failing(401, "").await, failing(404, "").await);
    let chain = vec![
        broken.deployment("broken", ProviderKind::OpenAi),
        locked.deployment("locked", ProviderKind::Anthropic),
        deployment("nowhere", ProviderKind::Ollama, &nowhere().await),
        gone.deployment("gone", ProviderKind::OpenAi),
    ];
    let hooks = Hooks::default();
    let error = call(&gateway(policy(1)), chain, &request("go"), &hooks).await.unwrap_err();
    let expected = [
        ("broken", ErrorKind::ServerError),
        ("broken", ErrorKind::ServerError),
        ("locked", ErrorKind::Auth),
        ("nowhere", ErrorKind::Connection),
        ("nowhere", ErrorKind::Connection),
        ("gone", ErrorKind::NotFound),
    ];
    assert_eq!(kinds(&error), expected.map(|(name, kind)| (name.to_owned(), Some(kind))));
    assert!(matches!(error, CallError::Exhausted { retry_after_ms: Some(_), .. }));
    assert_eq!(hooks.settled().iter().map(|s| s.n).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(hooks.settled().iter().all(|settled| settled.cost.micro_usd == 0), "nothing of this is charged");
    for name in ["broken", "locked", "nowhere", "gone"] {
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn the_next_deployment_answers_when_the_first_cannot() {
    let (broken, sound) = (failing(503, "").await, answering().await);
    let chain =
        vec![broken.deployment("a", ProviderKind::OpenAi), sound.deployment("b", ProviderKind::Anthropic)];
    let answer = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap();
    assert_eq!(
        (answer.deployment.as_str(), answer.provider.as_str(), answer.text().as_str()),
        ("b", "anthropic", "fine")
    );
}

#[tokio::test]
async fn a_bad_request_is_not_sent_to_anybody_else() {
    let (picky, sound) = (failing(400, ", message = 'no such field'").await, answering().await);
    let chain =
        vec![picky.deployment("a", ProviderKind::OpenAi), sound.deployment("b", ProviderKind::OpenAi)];
    let error = call(&gateway(policy(2)), chain, &request("go"), &Hooks::default()).await.unwrap_err();
    assert!(matches!(error, CallError::Fatal { .. }));
    assert_eq!(kinds(&error), [("a".to_owned(), Some(ErrorKind::BadRequest))]);
}

#[tokio::test]
async fn a_conversation_that_is_too_long_goes_to_larger_windows_only() {
    let (small, sound) = (failing(400, ", message = 'prompt is too long: 9 > 8'").await, answering().await);
    let mut same = sound.deployment("same", ProviderKind::OpenAi);
    same.context_window = 100_000;
    let mut larger = sound.deployment("larger", ProviderKind::OpenAi);
    larger.context_window = 200_000;
    let first = small.deployment("small", ProviderKind::OpenAi);
    let answer = call(
        &gateway(policy(2)),
        vec![first.clone(), same.clone(), larger],
        &request("go"),
        &Hooks::default(),
    )
    .await;
    let answer = answer.unwrap();
    assert_eq!(answer.deployment, "larger");
    assert!(
        matches!(&answer.before[..], [Cause::Failed { n: 1, .. }, Cause::Skipped { deployment, .. }] if deployment == "same")
    );
    let error =
        call(&gateway(policy(2)), vec![first, same], &request("go"), &Hooks::default()).await.unwrap_err();
    assert_eq!(
        error.causes()[1],
        Cause::Skipped { deployment: "same".into(), reason: Skipped::WindowTooSmall { window: 100_000 } }
    );
}

#[tokio::test]
async fn a_long_retry_after_moves_on_at_once_and_leaves_the_deployment_alone() {
    let (busy, sound) = (failing(429, ", retry_after_seconds = 60").await, answering().await);
    let chain =
        || vec![busy.deployment("busy", ProviderKind::OpenAi), sound.deployment("b", ProviderKind::OpenAi)];
    let gateway = gateway(policy(2));
    let start = Instant::now();
    let first = Hooks::default();
    assert_eq!(call(&gateway, chain(), &request("go"), &first).await.unwrap().deployment, "b");
    assert_eq!(first.settled().len(), 2, "no retry at the busy one");
    let second = Hooks::default();
    assert_eq!(call(&gateway, chain(), &request("go"), &second).await.unwrap().deployment, "b");
    assert_eq!(second.settled().len(), 1, "the busy one is not even asked");
    assert!(start.elapsed() < Duration::from_secs(10));
    let only = vec![busy.deployment("busy", ProviderKind::OpenAi)];
    let error = call(&gateway, only, &request("go"), &Hooks::default()).await.unwrap_err();
    let CallError::Exhausted { retry_after_ms: Some(wait), .. } = error else { panic!("{error:?}") };
    assert!((50_000..=60_000).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_deployment_that_keeps_failing_is_left_alone_until_it_has_cooled_down() {
    let script =
        "[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 500 }\ntimes = 2\nanswer.text = 'back'\n";
    let server = Server::scripted(script).await;
    let breaker = BreakerPolicy { failures: 2, cool_down: Duration::from_millis(400) };
    let gateway = gateway(GatewayPolicy { breaker, ..policy(0) });
    let chain = || vec![server.deployment("d", ProviderKind::OpenAi)];
    for expected in [Some(ErrorKind::ServerError), Some(ErrorKind::ServerError), None] {
        let error = call(&gateway, chain(), &request("go"), &Hooks::default()).await.unwrap_err();
        assert_eq!(kinds(&error), [("d".to_owned(), expected)]);
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(call(&gateway, chain(), &request("go"), &Hooks::default()).await.unwrap().text(), "back");
}
