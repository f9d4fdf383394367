//! Who of a group is asked first, and who stays with whom.

use std::collections::BTreeMap;

use syndarix_llm::{
    ChatRequest, Deployment, EndpointAccess, Gateway, GatewayPolicy, GroupError, ModelGroup, ModelGroups,
    ProviderKind, Rates, Routing,
};
use tokio_util::sync::CancellationToken;

use crate::harness::{Hooks, Server, deployment, gateway, nowhere, policy, request};

const SOUND: &str = "[[rule]]\nname = 'ok'\nanswer.text = 'fine'\n";

async fn asked(gateway: &Gateway, group: &ModelGroup, request: &ChatRequest) -> String {
    gateway.complete(group, request, &Hooks::default(), &CancellationToken::new()).await.unwrap().deployment
}

fn routed(routing: Routing, chain: Vec<Deployment>) -> ModelGroup {
    ModelGroup { routing, ..ModelGroup::new("test", chain) }
}

/// Deployments of one server that are told apart by their models.
fn several(server: &Server, names: &[&str]) -> Vec<Deployment> {
    let of = |name: &&str| Deployment {
        model: format!("scripted-{name}"),
        ..server.deployment(name, ProviderKind::OpenAi)
    };
    names.iter().map(of).collect()
}

#[tokio::test]
async fn conversations_are_spread_over_equals_and_each_stays_where_it_is() {
    let server = Server::scripted(SOUND).await;
    let group = routed(Routing::Weighted, several(&server, &["a", "b"]));
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for n in 0..40 {
        let mut conversation = request(&format!("task {n}"));
        // Another process, so that nothing is remembered.
        let first = asked(&gateway(policy(0)), &group, &conversation).await;
        conversation.messages.push(syndarix_llm::Message::assistant(vec![syndarix_llm::Block::text("done")]));
        conversation.messages.push(syndarix_llm::Message::user("go on"));
        assert_eq!(asked(&gateway(policy(0)), &group, &conversation).await, first, "task {n}");
        *counts.entry(first).or_default() += 1;
    }
    assert!(counts.len() == 2 && counts.values().all(|count| *count > 5), "{counts:?}");
}

#[tokio::test]
async fn a_deployment_that_is_left_alone_is_not_picked_and_its_conversations_go_on_elsewhere() {
    let server = Server::scripted(SOUND).await;
    let broken = deployment("broken", ProviderKind::OpenAi, &nowhere().await);
    let chain = vec![broken, server.deployment("sound", ProviderKind::OpenAi)];
    let breaker = syndarix_llm::BreakerPolicy { failures: 1, ..policy(0).breaker };
    let gateway = gateway(GatewayPolicy { breaker, ..policy(0) });
    let group = routed(Routing::Weighted, chain);
    let (mut attempts, mut alone) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let hooks = Hooks::default();
        let answer =
            gateway.complete(&group, &request(&format!("{n}")), &hooks, &CancellationToken::new()).await;
        let answer = answer.unwrap();
        assert_eq!(answer.deployment, "sound");
        attempts.push(hooks.reserved().len());
        alone.push(answer.before.iter().any(|cause| cause.to_string().starts_with("broken: cooling down")));
    }
    assert_eq!(attempts.iter().filter(|attempts| **attempts == 2).count(), 1, "once in vain: {attempts:?}");
    let in_vain = attempts.iter().position(|attempts| *attempts == 2).unwrap();
    assert!(
        alone[in_vain + 1..].iter().all(|alone| *alone),
        "and whoever is answered later is told: {alone:?}"
    );
}

#[tokio::test]
async fn the_fastest_is_asked_after_everybody_was_tried() {
    let slow =
        Server::scripted(&format!("{SOUND}fault = {{ kind = 'slow_stream', chunk_ms = 120 }}\n")).await;
    let fast = Server::scripted(SOUND).await;
    let chain =
        vec![slow.deployment("slow", ProviderKind::OpenAi), fast.deployment("fast", ProviderKind::OpenAi)];
    let (gateway, group) = (gateway(policy(0)), routed(Routing::LeastLatency, chain));
    let mut answered = Vec::new();
    for n in 0..6 {
        answered.push(asked(&gateway, &group, &request(&format!("task {n}"))).await);
    }
    assert_eq!(answered, ["slow", "fast", "fast", "fast", "fast", "fast"]);
    assert_eq!(asked(&gateway, &group, &request("task 0")).await, "slow", "where its beginning is known");
}

#[tokio::test]
async fn the_cheapest_for_the_request_is_asked_and_an_unknown_price_is_the_last() {
    let server = Server::scripted(SOUND).await;
    let rates = |input, output| Some(Rates { input, output, ..Rates::default() });
    let mut chain = several(&server, &["cheap to ask", "cheap to answer", "unknown"]);
    (chain[0].prices, chain[1].prices) = (rates(1_000_000, 90_000_000), rates(50_000_000, 1_000_000));
    chain[2].model = "nobody-knows-it".into();
    chain.rotate_right(1);
    let (gateway, group) = (gateway(policy(0)), routed(Routing::LeastCost, chain.clone()));
    let with = |words: usize, answer: u32| ChatRequest {
        max_output_tokens: answer,
        ..request(&"word ".repeat(words))
    };
    assert_eq!(asked(&gateway, &group, &with(1, 4_000)).await, "cheap to answer");
    assert_eq!(asked(&gateway, &group, &with(9_000, 10)).await, "cheap to ask");
    let only = routed(Routing::LeastCost, vec![chain[0].clone()]);
    assert_eq!(asked(&gateway, &only, &with(1, 10)).await, "unknown", "better than nobody");
}

#[tokio::test]
async fn whoever_is_picked_the_rest_follows_in_its_order() {
    let sound = Server::scripted(SOUND).await;
    let free = Some(Rates { input: 0, output: 0, ..Rates::default() });
    let mut broken = deployment("free", ProviderKind::OpenAi, &nowhere().await);
    broken.prices = free;
    let chain = vec![
        deployment("first", ProviderKind::OpenAi, &nowhere().await),
        broken,
        sound.deployment("third", ProviderKind::OpenAi),
    ];
    let hooks = Hooks::default();
    let group = routed(Routing::LeastCost, chain);
    let answer = gateway(policy(0)).complete(&group, &request("go"), &hooks, &CancellationToken::new()).await;
    assert_eq!(answer.unwrap().deployment, "third");
    let order: Vec<String> = hooks.reserved().into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(order, ["free", "first", "third"]);
}

#[tokio::test]
async fn deployments_of_one_model_under_one_key_share_a_breaker_and_those_of_another_do_not() {
    let server = Server::scripted("[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 500 }\n").await;
    let breaker = syndarix_llm::BreakerPolicy { failures: 1, ..policy(0).breaker };
    let gateway = gateway(GatewayPolicy { breaker, ..policy(0) });
    let first = server.deployment("first", ProviderKind::OpenAi);
    let same = Deployment { name: "by another name".into(), ..first.clone() };
    let another_key =
        Deployment { name: "c".into(), api_key: Some(syndarix_llm::Secret::new("another")), ..first.clone() };
    let another_model = Deployment { name: "d".into(), model: "scripted-other".into(), ..first.clone() };
    let hooks = Hooks::default();
    let group = ModelGroup::new("test", vec![first, same, another_key, another_model]);
    gateway.complete(&group, &request("go"), &hooks, &CancellationToken::new()).await.unwrap_err();
    let order: Vec<String> = hooks.reserved().into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(order, ["first", "c", "d"]);
}

#[tokio::test]
async fn an_address_in_a_private_network_is_refused_unless_the_deployment_says_so() {
    let server = Server::scripted(SOUND).await;
    let inside = server.deployment("inside", ProviderKind::OpenAi);
    let public = Deployment { endpoint_access: EndpointAccess::Public, ..inside.clone() };
    let GroupError { reason, .. } =
        ModelGroups::new(vec![ModelGroup::new("g", vec![public.clone()])]).unwrap_err();
    assert!(reason.contains("endpoint_access"), "{reason}");
    let url = format!("http://localhost:{}/v1", server.address.port());
    let named = Deployment { base_url: url.parse().unwrap(), ..public.clone() };
    for refused in [public, named] {
        let hooks = Hooks::default();
        let error = crate::harness::call(&gateway(policy(2)), vec![refused], &request("go"), &hooks)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("private_network"), "{error}");
        assert_eq!(hooks.settled().len(), 1, "nothing is gained by trying again");
    }
    assert_eq!(
        asked(&gateway(policy(0)), &ModelGroup::new("g", vec![inside]), &request("go")).await,
        "inside"
    );
}
