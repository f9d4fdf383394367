use serde_json::{Value, json};
use syndarix_git::Git;
use syndarix_mcp_git::{DEFAULT_BRANCH_PREFIX, GitTools, server};
use syndarix_mcp_kit::testing::tool_list_within_budget;

use crate::fixture::{BRANCH, Fixture};

#[test]
fn the_tool_list_stays_within_its_budget_and_has_all_tools() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path()).unwrap();
    let server = server(GitTools::new(git, dir.path(), DEFAULT_BRANCH_PREFIX));
    let list = tool_list_within_budget(&server);
    for tool in [
        "status",
        "diff",
        "log",
        "show",
        "read_file",
        "blame",
        "list_branches",
        "create_branch",
        "checkout",
        "commit",
        "update_branch",
        "merge_preview",
        "create_pull_request",
        "list_pull_requests",
        "get_pull_request",
        "comment_on_pull_request",
    ] {
        assert!(list.contains(&format!("\"name\": \"{tool}\"")), "{tool} is missing");
    }
}

#[tokio::test]
async fn status_tells_branch_distance_and_changes() {
    let f = Fixture::new().await;
    f.write("new file.py", "x\n");
    f.write("src/a.py", "a = 2\n");
    std::fs::remove_file(f.path("README.md")).unwrap();
    let status = f.ok("status", json!({})).await;
    assert_eq!((&status["branch"], &status["default_branch"]), (&json!(BRANCH), &json!("main")));
    let expected = json!([
        { "path": "README.md", "kind": "deleted" },
        { "path": "src/a.py", "kind": "modified" },
        { "path": "new file.py", "kind": "new" },
    ]);
    assert_eq!(status["changes"], expected);
    f.commit("Change").await;
    f.main_moves(&[("other", "1\n")]).await;
    f.main_moves(&[("other", "2\n")]).await;
    let status = f.ok("status", json!({})).await;
    assert_eq!((&status["ahead"], &status["behind"], &status["changes"]), (&json!(1), &json!(2), &json!([])));
}

#[tokio::test]
async fn diff_shows_new_files_and_leaves_the_index_alone() {
    let f = Fixture::new().await;
    f.write("new.py", "hello\n");
    f.write("src/a.py", "a = 1\nb = 3\n");
    let diff = f.ok("diff", json!({})).await;
    let patch = diff["patch"].as_str().unwrap();
    assert!(patch.contains("+hello") && patch.contains("-b = 2\n+b = 3"), "{patch}");
    assert_eq!(diff["files"][0]["path"], "new.py");
    assert_eq!(diff["files"][0]["additions"], 1);
    let only = f.ok("diff", json!({ "paths": ["src"] })).await;
    assert!(!only["patch"].as_str().unwrap().contains("hello"));
    assert_eq!(f.ok("status", json!({})).await["changes"][1]["kind"], "new", "nothing was staged");

    f.commit("Change").await;
    f.main_moves(&[("other", "1\n")]).await;
    assert_eq!(f.ok("diff", json!({})).await["files"], json!([]));
    let diff = f.ok("diff", json!({ "since": "default_branch" })).await;
    let paths: Vec<&Value> = diff["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert_eq!(paths, ["new.py", "src/a.py"]);
}

#[tokio::test]
async fn a_long_diff_is_paged_without_loss() {
    let f = Fixture::new().await;
    let text: String = (0..20_000).flat_map(|n| ["line ".to_owned(), n.to_string(), "\n".into()]).collect();
    f.write("long.txt", &text);
    let (mut whole, mut offset, mut pages) = (String::new(), 0, 0);
    loop {
        let page = f.ok("diff", json!({ "offset": offset })).await;
        whole.push_str(page["patch"].as_str().unwrap());
        pages += 1;
        match page["next_offset"].as_u64() {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert!(pages > 3 && whole.ends_with("+line 19999\n"));
    assert_eq!(whole.matches("\n+line ").count(), 20_000);
}

#[tokio::test]
async fn history_and_files_are_read_at_revisions() {
    let f = Fixture::new().await;
    f.write("src/a.py", "a = 1\nb = 3\n");
    f.commit("Raise b\n\nBecause.").await;
    let log = f.ok("log", json!({ "limit": 1 })).await;
    assert_eq!(log["commits"][0]["subject"], "Raise b");
    assert_eq!(log["next_skip"], 1);
    let log = f.ok("log", json!({ "path": "README.md" })).await;
    assert_eq!((log["commits"].as_array().unwrap().len(), &log["next_skip"]), (1, &Value::Null));
    let shown = f.ok("show", json!({ "revision": "HEAD" })).await;
    assert!(shown["diff"]["patch"].as_str().unwrap().contains("+b = 3"));
    assert_eq!(shown["commit"]["body"], "Because.");
    let root = f.ok("show", json!({ "revision": "HEAD~1" })).await;
    assert_eq!(root["diff"]["files"].as_array().unwrap().len(), 2, "a first commit shows its files");
    let old = f.ok("read_file", json!({ "path": "src/a.py", "revision": "HEAD~1" })).await;
    assert_eq!(old["text"], "a = 1\nb = 2\n");
    let piece = f.ok("read_file", json!({ "path": "src/a.py", "offset": 8 })).await;
    assert_eq!((&piece["text"], &piece["total_bytes"]), (&json!("= 3\n"), &json!(12)));
    let blame = f.ok("blame", json!({ "path": "src/a.py" })).await;
    let blocks = blame["blocks"].as_array().unwrap();
    assert_eq!(
        (blocks.len(), &blocks[0]["author"], &blocks[1]["summary"]),
        (2, &json!("Ada"), &json!("Raise b"))
    );
    let one = f.ok("blame", json!({ "path": "src/a.py", "start_line": 2, "end_line": 2 })).await;
    assert_eq!(one["blocks"][0]["text"], "b = 3");
}

#[tokio::test]
async fn what_is_not_there_is_said_in_a_sentence() {
    let f = Fixture::new().await;
    let said = f.fails("read_file", json!({ "path": "nowhere" })).await;
    assert!(said.contains("nowhere") && said.contains("not found"), "{said}");
    let said = f.fails("log", json!({ "revision": "no-such-branch" })).await;
    assert!(said.contains("no-such-branch"), "{said}");
    let said = f.fails("blame", json!({ "path": "README.md", "start_line": 50 })).await;
    assert!(said.contains("has only 1 line"), "{said}");
    let said = f.fails("merge_preview", json!({ "branch": "nowhere" })).await;
    assert!(said.contains("list_branches"), "{said}");
    f.write("bin", "a\0b");
    f.commit("Add binary").await;
    let said = f.fails("read_file", json!({ "path": "bin" })).await;
    assert!(said.contains("binary"), "{said}");
}

#[tokio::test]
async fn an_agent_that_may_only_read_changes_nothing() {
    let f = Fixture::new().await;
    let running = f.bench.start(server(GitTools::new(
        Git::new(&f.dir.path().join("home")).unwrap(),
        &f.dir.path().join("repositories"),
        DEFAULT_BRANCH_PREFIX,
    )));
    let running = running.await;
    let reader = f.bench.client(&running, &["git:read"]).await;
    let names: Vec<String> = reader.tools().await.iter().map(|tool| tool.name.to_string()).collect();
    assert!(names.contains(&"status".into()) && !names.contains(&"commit".into()), "{names:?}");
    let writer = f.bench.client(&running, &["git:read", "git:write"]).await;
    for tool in writer.tools().await.iter().filter(|tool| tool.name.contains("pull_request")) {
        let again = tool.annotations.as_ref().and_then(|hints| hints.idempotent_hint);
        assert_eq!(again, Some(true), "{} may be called again after a crash", tool.name);
    }
    assert!(reader.try_call("commit", json!({ "message": "x" }), None).await.is_err());
    assert!(!reader.call("status", json!({})).await.is_error);
}
