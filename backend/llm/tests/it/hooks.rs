//! Reserve before, record after: what the caller of the gateway relies on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use syndarix_llm::inbound::Fault;
use syndarix_llm::{CallError, Cause, ProviderKind};
use tokio_util::sync::CancellationToken;

use crate::harness::{
    Hooks, KINDS, Server, call, client, gateway, gateway_over, group, policy, request, too_dear,
};

/// A server that fails every request and counts them.
async fn counting() -> (Server, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&count);
    let fail = move || {
        seen.fetch_add(1, Ordering::SeqCst);
        async { StatusCode::BAD_GATEWAY }
    };
    (Server::of(Router::new().route("/v1/chat/completions", post(fail))).await, count)
}

#[tokio::test]
async fn a_refused_reservation_stops_the_call_before_anything_is_sent() {
    let (server, count) = counting().await;
    for (refuse_from, sent) in [(1, 0), (2, 1)] {
        count.store(0, Ordering::SeqCst);
        let hooks = Hooks { refuse_from: Some(refuse_from), ..Hooks::default() };
        let chain =
            vec![server.deployment("a", ProviderKind::OpenAi), server.deployment("b", ProviderKind::OpenAi)];
        let error = call(&gateway(policy(2)), chain, &request("go"), &hooks).await.unwrap_err();
        let CallError::Refused { refused, causes, .. } = error else { panic!("{error:?}") };
        assert_eq!((refused.code.as_str(), causes.len()), ("budget_exceeded", sent));
        assert_eq!(count.load(Ordering::SeqCst), u32::try_from(sent).unwrap());
        assert_eq!(hooks.settled().len(), sent, "what was admitted is settled, and nothing else");
    }
}

const FINE: &str = "[[rule]]\nname = 'ok'\nanswer.text = 'fine'\n";

async fn failing(how: &str) -> Server {
    Server::scripted(&format!("[[rule]]\nname = 'r'\nfault = {{ kind = 'status', {how} }}\n")).await
}

#[tokio::test]
async fn where_there_is_no_money_for_a_deployment_the_next_that_there_is_money_for_makes_the_first_attempt() {
    let server = Server::scripted(FINE).await;
    let hooks = Hooks { too_dear: &["a", "b"], ..Hooks::default() };
    let chain = ["a", "b", "c"].map(|name| server.deployment(name, ProviderKind::OpenAi)).to_vec();
    let answer = call(&gateway(policy(2)), chain, &request("go"), &hooks).await.unwrap();
    assert_eq!((answer.deployment.as_str(), answer.before), ("c", vec![too_dear("a"), too_dear("b")]));
    assert_eq!(hooks.settled().iter().map(|settled| settled.n).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn where_there_is_no_money_for_any_of_the_chain_the_cheaper_group_is_asked_or_else_nobody() {
    let server = Server::scripted(FINE).await;
    let dear = || ["a", "b"].map(|name| server.deployment(name, ProviderKind::OpenAi)).to_vec();
    let cheaper = Arc::new(group(vec![server.deployment("c", ProviderKind::OpenAi)]));
    let hooks = |cheaper| Hooks { too_dear: &["a", "b"], cheaper, ..Hooks::default() };

    let answered = call(&gateway(policy(0)), dear(), &request("go"), &hooks(Some(cheaper))).await.unwrap();
    let refused = call(&gateway(policy(0)), dear(), &request("go"), &hooks(None)).await.unwrap_err();

    let passed_over = vec![too_dear("a"), too_dear("b")];
    assert_eq!((answered.deployment.as_str(), &answered.before), ("c", &passed_over));
    let CallError::Refused { refused, causes, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((refused.reason.as_str(), causes), ("`b` costs too much", passed_over));
}

#[tokio::test]
async fn once_something_was_sent_no_other_group_is_asked() {
    let (server, count) = counting().await;
    let chain = ["a", "b"].map(|name| server.deployment(name, ProviderKind::OpenAi)).to_vec();
    let cheaper = Some(Arc::new(group(vec![server.deployment("c", ProviderKind::OpenAi)])));
    let hooks = Hooks { too_dear: &["b"], cheaper, ..Hooks::default() };
    let error = call(&gateway(policy(0)), chain, &request("go"), &hooks).await.unwrap_err();
    assert!(matches!(&error, CallError::Exhausted { causes, .. } if causes.len() == 2), "{error:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn where_whoever_there_is_money_for_cannot_answer_this_the_call_is_refused_for_money() {
    for how in [
        "status = 401",
        "status = 404",
        "status = 400",
        "status = 400, message = 'prompt is too long: 9 > 8'",
    ] {
        let server = failing(how).await;
        let chain = |names: &[&str]| {
            names.iter().map(|name| server.deployment(name, ProviderKind::OpenAi)).collect::<Vec<_>>()
        };
        let cheaper = Some(Arc::new(group(chain(&["c"]))));
        for (names, cheaper, reached) in [(["a", "b"], cheaper, 3), (["a", "c"], None, 2)] {
            let hooks = Hooks { too_dear: &["a", "b"], cheaper, ..Hooks::default() };
            let error = call(&gateway(policy(2)), chain(&names), &request("go"), &hooks).await.unwrap_err();
            let CallError::Refused { refused, causes, .. } = error else { panic!("{how}: {error:?}") };
            assert!(refused.reason.ends_with("costs too much"), "{how}: {refused}");
            assert_eq!((causes.len(), hooks.settled().len()), (reached, 1), "{how}");
        }
    }
}

#[tokio::test]
async fn what_a_soft_limit_led_to_ends_as_it_ends() {
    let server = failing("status = 401").await;
    let cheaper = Some(Arc::new(group(vec![server.deployment("c", ProviderKind::OpenAi)])));
    let hooks = Hooks { too_dear: &["a"], ends_the_chain: true, cheaper, ..Hooks::default() };
    let chain = vec![server.deployment("a", ProviderKind::OpenAi)];
    let error = call(&gateway(policy(0)), chain, &request("go"), &hooks).await.unwrap_err();
    assert!(matches!(error, CallError::Exhausted { .. }), "{error:?}");
}

#[tokio::test]
async fn where_one_that_there_is_money_for_is_only_busy_the_call_may_come_back_before_there_is_more() {
    let (busy, sound) =
        (failing("status = 429, retry_after_seconds = 60").await, Server::scripted(FINE).await);
    let gateway = gateway(policy(2));
    let cheaper = || Some(Arc::new(group(vec![sound.deployment("c", ProviderKind::OpenAi)])));
    // At first it says so, and then it is left alone for that; a cheaper group that is too dear as well changes nothing.
    for (cheaper, status, passed_over) in [(None, 429, 1), (None, 503, 2), (cheaper(), 503, 3)] {
        let hooks = Hooks { too_dear: &["a", "c"], cheaper, ..Hooks::default() };
        let chain =
            vec![sound.deployment("a", ProviderKind::OpenAi), busy.deployment("b", ProviderKind::OpenAi)];
        let error = call(&gateway, chain, &request("go"), &hooks).await.unwrap_err();
        let fault = Fault::from(&error);
        assert_eq!((fault.status, fault.should_retry), (status, None), "{error:?}");
        assert!(fault.retry_after.is_some_and(|wait| (50..=60).contains(&wait)), "{fault:?}");
        assert!(
            matches!(error, CallError::Exhausted { .. }) && error.causes()[0] == too_dear("a"),
            "{error:?}"
        );
        let skipped = error.causes().iter().filter(|cause| matches!(cause, Cause::Skipped { .. }));
        assert_eq!(skipped.count(), passed_over);
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_recorded_is_not_given_out() {
    let server = Server::scripted("[[rule]]\nname = 'ok'\nanswer.text = 'fine'\n").await;
    let hooks = Hooks { fail_to_record: true, ..Hooks::default() };
    let chain =
        vec![server.deployment("a", ProviderKind::OpenAi), server.deployment("b", ProviderKind::OpenAi)];
    let error = call(&gateway(policy(2)), chain, &request("go"), &hooks).await.unwrap_err();
    assert!(matches!(error, CallError::NotRecorded { .. }), "{error:?}");
    assert_eq!(hooks.settled().len(), 1, "and nobody else is asked");
}

#[tokio::test]
async fn the_reservation_covers_the_cost_of_the_longest_answer() {
    let server =
        Server::scripted("[[rule]]\nname = 'ok'\nanswer.text = 'a fine and rather short answer'\n").await;
    for kind in KINDS {
        let hooks = Hooks::default();
        let answer = call(&gateway(policy(0)), vec![server.deployment("d", kind)], &request("go"), &hooks)
            .await
            .unwrap();
        let (n, name, reserved) = hooks.reserved()[0].clone();
        assert_eq!((n, name.as_str()), (1, "d"));
        assert!(reserved >= 500 * 15, "500 tokens at 15 micro-USD each alone: {reserved}");
        assert!(reserved >= answer.cost_micro_usd && answer.cost_micro_usd > 0);
        assert_eq!(hooks.settled()[0].cost.micro_usd, answer.cost_micro_usd);
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_before_it_begins_reserves_nothing() {
    let (server, count) = counting().await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let hooks = Hooks::default();
    let chain = group(vec![server.deployment("a", ProviderKind::OpenAi)]);
    let error = gateway(policy(0)).complete(&chain, &request("go"), &hooks, &cancel).await.unwrap_err();
    assert!(matches!(error, CallError::Cancelled { ref causes } if causes.is_empty()));
    assert_eq!((hooks.reserved().len(), count.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn whatever_two_providers_do_every_admitted_attempt_is_settled_once_and_in_order() {
    let faults = [
        "answer.text = 'fine'",
        "fault = { kind = 'status', status = 500 }",
        "fault = { kind = 'status', status = 429, retry_after_seconds = 90 }",
        "fault = { kind = 'status', status = 401 }",
        "fault = { kind = 'status', status = 400 }",
        "answer.text = 'fine'\nfault = { kind = 'cut_stream', after_chunks = 0 }",
        "answer.text = 'fine, fine, fine, fine, fine'\nfault = { kind = 'cut_stream', after_chunks = 2 }",
    ];
    let client = client();
    for first in faults {
        for second in faults {
            let a = Server::scripted(&format!("[[rule]]\nname = 'r'\n{first}\n")).await;
            let b = Server::scripted(&format!("[[rule]]\nname = 'r'\n{second}\n")).await;
            let chain =
                vec![a.deployment("a", ProviderKind::OpenAi), b.deployment("b", ProviderKind::Anthropic)];
            let hooks = Hooks::default();
            let gateway = gateway_over(client.clone(), policy(1));
            let result = call(&gateway, chain, &request("go"), &hooks).await;
            let reserved: Vec<u32> = hooks.reserved().iter().map(|(n, ..)| *n).collect();
            let settled: Vec<u32> = hooks.settled().iter().map(|settled| settled.n).collect();
            assert_eq!(reserved, settled, "{first} / {second}");
            assert_eq!(settled, (1..=u32::try_from(settled.len()).unwrap()).collect::<Vec<_>>());
            let failures = hooks.settled().iter().filter(|settled| settled.error.is_some()).count();
            assert_eq!(result.is_ok(), failures + 1 == settled.len(), "{first} / {second}");
            assert_eq!(result.err().map_or(failures, |error| error.causes().len()), failures);
        }
    }
}
