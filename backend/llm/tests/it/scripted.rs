//! The scripted endpoint by itself: rules, captures, templates, labels.

use serde_json::{Value, json};
use syndarix_llm::scripted::Script;
use syndarix_llm::{Block, ChatRequest, Completion, Message, ProviderKind};

use crate::harness::{Hooks, KINDS, Server, call, gateway, plain_client, policy, request, tool_use};

const STORY: &str = r#"
name = "story"

[capture]
story_id = 'story id: (S-\d+)'
number = 'number (\d+)'

[[rule]]
name = "branch first"
when = { system_contains = ["engineer", "story"], tools = ["git_branch", "git_commit"], turn = 0, last_matches = '(?i)^please' }
answer.tool = [{ name = "git_branch", arguments = { name = "story/{{story_id}}", priority = "{{number|number}}", style = "{{ a: 1 }}" } }]

[[rule]]
name = "then commit"
when = { turn = { min = 1, max = 4 }, first_contains = "number 42", last_tool = "git_branch", last_contains = "branch" }
answer.text = "Turn {{turn}} on {{last_tool.branch}}."
answer.tool = [{ name = "git_commit", arguments = { branch = "{{results.git_branch.branch}}", files = "{{last_tool.files}}", first = "{{last_tool.files.0.path}}" } }]

[[rule]]
name = "then finish"
when = { last_tool = "git_commit" }
answer.text = "Done on {{results.git_branch.branch}}: {{last_tool}}"
"#;

fn with_result(mut asked: ChatRequest, answer: &Completion, content: &str) -> ChatRequest {
    let id = answer.blocks.iter().find_map(|block| match block {
        Block::ToolUse { id, .. } => Some(id.clone()),
        _ => None,
    });
    asked.messages.push(Message::assistant(answer.blocks.clone()));
    let result = Block::ToolResult {
        tool_use_id: id.unwrap(),
        content: content.to_owned(),
        is_error: false,
        images: Vec::new(),
    };
    asked.messages.push(Message::tool_results(vec![result]));
    asked
}

#[tokio::test]
async fn a_conversation_is_carried_by_captures_and_tool_results() {
    let server = Server::scripted(STORY).await;
    let gateway = gateway(policy(0));
    for kind in KINDS {
        let ask = async |asked: &ChatRequest| {
            call(&gateway, vec![server.deployment("d", kind)], asked, &Hooks::default()).await.unwrap()
        };
        let first = request("Please do number 42.");
        let branch = ask(&first).await;
        let expected = json!({"name": "story/S-7", "priority": 42, "style": "{{ a: 1 }}"});
        assert_eq!(tool_use(&branch.blocks[0]), ("git_branch", &expected));
        let second = with_result(first, &branch, r#"{"branch": "story/S-7", "files": [{"path": "a.rs"}]}"#);
        let commit = ask(&second).await;
        assert_eq!(commit.text(), "Turn 1 on story/S-7.");
        let expected = json!({"branch": "story/S-7", "files": [{"path": "a.rs"}], "first": "a.rs"});
        assert_eq!(tool_use(&commit.blocks[1]), ("git_commit", &expected));
        let again = ask(&second).await;
        assert_eq!(
            again.blocks, commit.blocks,
            "asked again after a crash, it says the same with the same ids"
        );
        let done = ask(&with_result(second, &commit, "committed")).await;
        assert_eq!(done.text(), "Done on story/S-7: committed");
    }
}

#[tokio::test]
async fn a_conversation_that_no_rule_fits_is_refused_with_the_nearest_rules() {
    let server = Server::scripted(STORY).await;
    for kind in KINDS {
        let chain = vec![server.deployment("d", kind)];
        let error =
            call(&gateway(policy(2)), chain, &request("no magic word"), &Hooks::default()).await.unwrap_err();
        let text = error.to_string();
        for word in [
            "no rule of the script fits",
            "turn 0",
            "git_branch, git_commit",
            "no magic word",
            "`branch first`",
            "(?i)^please",
        ] {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    }
}

#[tokio::test]
async fn a_placeholder_without_a_value_is_an_error_and_not_an_empty_text() {
    let server = Server::scripted("[[rule]]\nname = 'r'\nanswer.text = 'Hello {{nobody}}'\n").await;
    let chain = vec![server.deployment("d", ProviderKind::OpenAi)];
    let error =
        call(&gateway(policy(0)), chain, &request("x"), &Hooks::default()).await.unwrap_err().to_string();
    assert!(error.contains("rule `r`: {{nobody}} has no value"), "{error}");
}

#[tokio::test]
async fn whatever_it_answers_is_labelled_simulated() {
    let server = Server::scripted(STORY).await;
    let http = plain_client();
    let chat = || http.post(server.url("/v1/chat/completions"));
    let body = json!({"model": "gpt-5.5", "messages": [{"role": "user", "content": "?"}]});
    for request in [
        http.get(server.url("/v1/models")),
        http.get(server.url("/no/such/path")),
        http.get(server.url("/v1/messages")),
        chat().body("not json"),
        chat().json(&body),
        chat()
            .json(&json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}], "model": "m"})),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["X-SYNDARIX-SIMULATED"], "true", "{:?}", response.url());
    }
    let models: Value = http.get(server.url("/v1/models")).send().await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][0]["id"], "scripted-story");
}

#[tokio::test]
async fn the_label_survives_a_real_looking_model_name_and_a_missing_header() {
    let server = Server::scripted("[[rule]]\nname = 'r'\nanswer.text = 'x'\n").await;
    for kind in KINDS {
        let mut deployment = server.deployment("d", kind);
        deployment.model = "claude-opus-5-5".to_owned();
        let hooks = Hooks::default();
        let answer = call(&gateway(policy(0)), vec![deployment], &request("x"), &hooks).await.unwrap();
        assert_eq!((answer.model.as_str(), answer.simulated), ("scripted-claude-opus-5-5", true));
        assert!(hooks.settled()[0].simulated);
    }
    let body = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n";
    let answer = move || async move { ([("content-type", "text/event-stream")], body) };
    let router = axum::Router::new().route("/v1/chat/completions", axum::routing::post(answer));
    let plain = Server::of(router).await;
    let chain = vec![plain.deployment("d", ProviderKind::Scripted)];
    assert!(call(&gateway(policy(0)), chain, &request("x"), &Hooks::default()).await.unwrap().simulated);
}

#[tokio::test]
async fn a_fault_counts_per_conversation_and_then_the_next_rule_answers() {
    let script = "[[rule]]\nname = 'busy'\nfault = { kind = 'status', status = 503 }\ntimes = 1\n\
                  [[rule]]\nname = 'ok'\nanswer.text = 'fine'\n";
    let server = Server::scripted(script).await;
    let gateway = gateway(policy(0));
    let chain = || vec![server.deployment("d", ProviderKind::OpenAi)];
    for text in ["one", "two"] {
        assert!(call(&gateway, chain(), &request(text), &Hooks::default()).await.is_err());
        assert_eq!(call(&gateway, chain(), &request(text), &Hooks::default()).await.unwrap().text(), "fine");
    }
}

#[tokio::test]
async fn the_script_that_ships_says_that_it_is_simulated() {
    let script = Script::embedded().unwrap();
    assert_eq!(script.name(), "default");
    let server = Server::of(syndarix_llm::scripted::router(script)).await;
    let chain = vec![server.deployment("d", ProviderKind::Scripted)];
    let answer = call(&gateway(policy(0)), chain, &request("x"), &Hooks::default()).await.unwrap();
    assert!(answer.text().contains("simulated"));
}

#[test]
fn files_of_a_directory_are_read_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("20-b.json"),
        r#"{"rule": [{"name": "b", "answer": {"text": "b"}}]}"#,
    )
    .unwrap();
    std::fs::write(
        directory.path().join("10-a.toml"),
        "name = 'both'\n[[rule]]\nname = 'a'\nanswer.text = 'a'\n",
    )
    .unwrap();
    std::fs::write(directory.path().join("notes.md"), "not a script").unwrap();
    assert_eq!(Script::from_dir(directory.path()).unwrap().name(), "both");
    std::fs::write(directory.path().join("30-c.toml"), "[[rule]]\nnam = 'typo'\n").unwrap();
    let error = Script::from_dir(directory.path()).unwrap_err().to_string();
    assert!(error.contains("30-c.toml") && error.contains("nam"), "{error}");
}

#[test]
fn a_script_that_contradicts_itself_is_refused() {
    for (script, word) in [
        ("", "no rules"),
        ("[[rule]]\nname = 'r'\n", "no answer"),
        ("[[rule]]\nname = 'r'\nanswer.text = 'x'\ntimes = 2\n", "`times` is for faults"),
        ("[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 200 }\n", "200 is no error status"),
        ("[[rule]]\nname = 'r'\nfault = { kind = 'slow_stream', chunk_ms = 1 }\n", "no answer"),
        (
            "[[rule]]\nname = 'r'\nanswer.text = 'x'\nfault = { kind = 'malformed_tool_call' }\n",
            "no tool call to malform",
        ),
        ("[[rule]]\nname = 'r'\nanswer.tool = [{ name = 't', arguments = [1] }]\n", "no table"),
        ("[[rule]]\nname = 'r'\nwhen = { system_matches = '(' }\nanswer.text = 'x'\n", "unclosed group"),
    ] {
        let error = Script::from_toml(script).unwrap_err().to_string();
        assert!(error.contains(word), "{script}: {error}");
    }
}

#[tokio::test]
async fn it_tells_how_many_answers_it_was_asked_for_and_counts_nothing_else() {
    let server = Server::scripted(STORY).await;
    let http = plain_client();
    let body = json!({"model": "gpt-5.5", "messages": [{"role": "user", "content": "?"}]});
    http.get(server.url("/v1/models")).send().await.unwrap();
    for path in ["/v1/chat/completions", "/v1/messages"] {
        http.post(server.url(path)).json(&body).send().await.unwrap();
        http.post(server.url(path)).body("not json").send().await.unwrap();
    }
    let told: Value = http.get(server.url("/requests")).send().await.unwrap().json().await.unwrap();
    assert_eq!(told, json!({"requests": 4}));
}
