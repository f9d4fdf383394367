//! What a model is sent when the window is too small for everything.

use super::*;
use crate::features::agents::Definition;
use serde_json::json;
use uuid::Uuid;

fn brief() -> Brief {
    let definition: Definition = serde_json::from_value(json!({
        "name": "E", "role": "engineer", "model_group": "code", "system_prompt": "Work.", "capabilities": [],
    }))
    .unwrap();
    Brief { definition, system: String::new(), task: "Story 1".into(), told: None }
}

fn row(number: i32, kind: &str, call: Option<String>, result: Value) -> StepRow {
    StepRow {
        id: Uuid::nil(),
        number,
        kind: kind.into(),
        name: "read_file".into(),
        call_id: call,
        server: None,
        status: "done".into(),
        request_hash: String::new(),
        result: Some(result),
        told: None,
    }
}

/// One answer with a call for each text, and these texts as results.
fn exchange(number: i32, results: &[&str]) -> Vec<StepRow> {
    let id = |n: usize| format!("{number}-{n}");
    let blocks: Vec<Value> = (0..results.len())
        .map(|n| json!({ "type": "tool_use", "id": id(n), "name": "read_file", "input": { "path": "x" } }))
        .collect();
    let answer = json!({
        "blocks": blocks, "stop": "tool_use", "usage": { "input": 1, "output": 1 }, "deployment": "d",
        "provider": "p", "model": "m", "simulated": false, "latency_ms": 1, "cost_micro_usd": 1,
        "price_unknown": false,
    });
    let mut rows = vec![row(number, "model", None, answer)];
    rows.extend(results.iter().enumerate().map(|(n, text)| {
        let result = json!({ "text": text, "structured": { "content": text }, "is_error": false });
        row(number + 1 + i32::try_from(n).unwrap(), "tool", Some(id(n)), result)
    }));
    rows
}

fn results(messages: &[Message]) -> Vec<&str> {
    let blocks = messages.iter().flat_map(|message| &message.content);
    blocks
        .filter_map(|block| match block {
            Block::ToolResult { content, .. } => Some(content.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn twelve_results_that_the_model_has_not_seen_stay_whole_and_older_ones_leave_a_note() {
    let (old, new) =
        ("seen already, word for word. ".repeat(700), "not seen yet, word for word. ".repeat(700));
    let mut steps = exchange(1, &[old.as_str(); 12]);
    steps.extend(exchange(20, &[new.as_str(); 12]));
    let room = 13 * estimate_text(&new);
    let sent = messages(&brief(), &steps, &[], room);
    let results = results(&sent);
    assert_eq!(results[12..], [new.as_str(); 12]);
    assert!(
        results[0].contains("result of step 2 was") && results[0].contains("`read_file`"),
        "{}",
        results[0]
    );
    let size: u32 = sent.iter().map(|message| sum(&message.content)).sum();
    assert!(size <= room, "{size} > {room}");
}

#[test]
fn only_what_is_sent_is_counted() {
    let text = "one word and another\n".repeat(500);
    let room = 2 * estimate_text(&text) + 500;
    let steps = [exchange(1, &[&text]), exchange(3, &[&text])].concat();
    assert_eq!(results(&messages(&brief(), &steps, &[], room)), [text.as_str(); 2]);
}

#[test]
fn a_result_that_does_not_fit_by_itself_is_cut_and_says_so_and_small_ones_beside_it_stay_whole() {
    let (large, small) = ("line of a large file\n".repeat(20_000), "small");
    let steps = exchange(1, &[&large, small]);
    let sent = messages(&brief(), &steps, &[], 20_000);
    let results = results(&sent);
    assert!(
        results[0].contains("Ask `read_file` for a smaller part"),
        "{}",
        &results[0][results[0].len() - 200..]
    );
    assert!(estimate_text(results[0]) > 15_000, "as much as fits");
    assert_eq!(results[1], small);
}

#[test]
fn long_words_of_old_answers_go_when_leaving_out_results_is_not_enough() {
    let mut steps = exchange(1, &["ok"]);
    let file = "the whole content of a file ".repeat(2_000);
    steps[0].result.as_mut().unwrap()["blocks"][0]["input"] = json!({ "path": "a.txt", "content": file });
    steps.extend(exchange(5, &["seen"]));
    let sent = messages(&brief(), &steps, &[], 2_000);
    let Block::ToolUse { input, .. } = &sent[1].content[0] else { unreachable!() };
    assert_eq!(input["path"], "a.txt");
    assert!(input["content"].as_str().unwrap().contains(&format!("of {} bytes", file.len())), "{input}");
    assert!(!sent.iter().any(|message| message.content.is_empty()));
}

#[test]
fn what_a_colleague_wrote_meanwhile_follows_the_results_and_stays_there() {
    let fresh = [Told { from: "Maria".into(), text: "Mind\nthe tests".into() }];
    let first = exchange(1, &["one"]);
    let sent = messages(&brief(), &first, &fresh, 10_000);
    let mut second = exchange(3, &["two"]);
    second[0].told = Some(json!(fresh));
    let later = messages(&brief(), &[first, second].concat(), &[], 10_000);
    assert_eq!(later[..sent.len()], sent[..], "a replay is the same conversation");
    let Some(Block::Text { text }) = sent.last().unwrap().content.last() else { unreachable!() };
    assert_eq!(text, "Message from Maria:\n> Mind\n> the tests");
}
