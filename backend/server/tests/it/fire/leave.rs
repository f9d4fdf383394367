//! What agents do not do without a person's leave, however much else they may do alone.

use super::{Setting, World};
use serde_json::json;

const TIDY: &str = r#"
[[rule]]
name = "a note"
when = { system_contains = "Stage: analysis.", turn = 0 }
answer.tool = [{ name = "knowledge-base__ingest_content", arguments = { path = "notes/old.md", content = "Old." } }]
[[rule]]
name = "away with it"
when = { system_contains = "Stage: analysis.", turn = 1 }
answer.tool = [{ name = "knowledge-base__delete_content", arguments = { path = "notes/old.md" } }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_deletes_something_for_good_is_asked_about_even_where_it_may_write_alone() {
    let world = World::start(Setting { rules: TIDY, ..Setting::default() }).await;
    world
        .execute(
            "update agent_type_version
             set definition = jsonb_insert(definition, '{capabilities,0}', '\"knowledge-base:write\"')",
        )
        .await;
    let story = world.story("Tidy up").await;

    let asked = world.asked(story).await;

    let path = world.path(&format!("/approvals/{}", asked["approval_id"].as_str().unwrap()));
    let question = world.client.get(&path).await.unwrap();
    assert_eq!((&question["action"], &question["category"]), (&json!("data_delete"), &json!("critical")));
    assert_eq!(question["arguments"]["tool"], "delete_content", "{question:#}");
    let document = world.path("/knowledge/documents/notes%2Fold.md");
    assert!(world.client.get(&document).await.is_ok(), "nothing is deleted before the answer");
    world.answer(story, "approved", "").await;
    world.done(story).await;
    assert!(world.client.get(&document).await.is_err());
    world.end().await;
}
