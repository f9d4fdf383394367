//! The filesystem server over real HTTP: what it does, and every way out of the worktree it must refuse.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use syndarix_mcp_kit::testing::{Bench, Client, Started, tool_list_within_budget};

struct World {
    bench: Bench,
    running: Started,
    client: Client,
}

async fn world() -> World {
    let bench = Bench::new();
    let running = bench.start(syndarix_mcp_files::server()).await;
    let client = bench.client(&running, &["filesystem:write"]).await;
    World { bench, running, client }
}

impl World {
    fn put(&self, path: &str, content: &str) {
        let path = self.bench.worktree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.bench.worktree().join(path)).unwrap()
    }

    async fn ok(&self, tool: &str, arguments: Value) -> Value {
        self.client.ok(tool, arguments).await
    }

    async fn fails(&self, tool: &str, arguments: Value) -> String {
        self.client.fails(tool, arguments).await
    }
}

/// Every tool that takes a path, with that path in it.
fn calls(path: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("read_file", json!({ "path": path })),
        ("write_file", json!({ "path": path, "content": "pwned" })),
        ("edit_file", json!({ "path": path, "old_text": "a", "new_text": "b" })),
        ("list_directory", json!({ "path": path })),
        ("tree", json!({ "path": path })),
        ("search_files", json!({ "path": path, "pattern": "." })),
        ("move_path", json!({ "from": path, "to": "x" })),
        ("move_path", json!({ "from": "inside.txt", "to": path, "overwrite": true })),
        ("delete_path", json!({ "path": path, "recursive": true })),
        ("stat", json!({ "path": path })),
    ]
}

#[test]
fn the_tool_list_is_the_published_one_and_small() {
    let list = tool_list_within_budget(&syndarix_mcp_files::server());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools.golden.json");
    if !golden.exists() {
        fs::write(&golden, &list).unwrap();
    }
    // A description is part of the contract with the model; delete the file to publish another.
    assert_eq!(fs::read_to_string(golden).unwrap(), list);
}

#[tokio::test]
async fn no_path_leads_out_of_the_worktree() {
    let world = world().await;
    world.put("inside.txt", "a");
    let secret = world.bench.workspaces().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "a secret").unwrap();
    symlink(secret.join("key"), world.bench.worktree().join("file-link")).unwrap();
    symlink(&secret, world.bench.worktree().join("dir-link")).unwrap();
    symlink("../../secret/key", world.bench.worktree().join("relative-link")).unwrap();
    symlink(secret.join("new"), world.bench.worktree().join("dangling")).unwrap();
    let absolute = secret.join("key");
    let outside = [
        "../../secret/key",
        "../../../../../../etc/passwd",
        "a/../../../secret/key",
        "/etc/passwd",
        absolute.to_str().unwrap(),
        "/proc/self/root/etc/passwd",
        "nul\0byte",
        "dir-link/key",
        "dir-link/new",
    ];
    for path in outside {
        for (tool, arguments) in calls(path) {
            let sentence = world.fails(tool, arguments).await;
            assert!(!sentence.contains("secret\"") && sentence.ends_with('.'), "{tool} {path}: {sentence}");
        }
    }
    // The link itself may be looked at, moved and deleted; what it names may not be reached.
    for path in ["file-link", "relative-link", "dangling", "dir-link"] {
        for (tool, arguments) in calls(path).into_iter().take(6) {
            world.fails(tool, arguments).await;
        }
        world.ok("stat", json!({ "path": path })).await;
        world.ok("delete_path", json!({ "path": path, "recursive": true })).await;
    }
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "a secret");
    assert!(!secret.join("new").exists());
    assert_eq!(world.get("inside.txt"), "a");
}

#[tokio::test]
async fn a_git_directory_is_out_of_reach_by_any_name() {
    let world = world().await;
    world.put(".git/config", "[core]\na");
    world.put("inside.txt", "a");
    world.put("sub/.git/config", "[core]");
    symlink(".git", world.bench.worktree().join("alias")).unwrap();
    for path in [
        ".git/config",
        ".GIT/config",
        "./.git/hooks/pre-commit",
        ".git",
        "sub/.git/x",
        "alias/config",
        ".git ",
        "git~1",
    ] {
        for (tool, arguments) in calls(path) {
            let sentence = world.fails(tool, arguments).await;
            assert!(sentence.contains(".git"), "{tool} {path}: {sentence}");
        }
    }
    for tool in ["delete_path", "move_path"] {
        let arguments = json!({ "path": "sub", "recursive": true });
        let arguments = if tool == "move_path" { json!({ "from": "sub", "to": "x" }) } else { arguments };
        assert!(world.fails(tool, arguments).await.contains(".git"));
    }
    assert_eq!(world.get(".git/config"), "[core]\na");
    let list = world.ok("list_directory", json!({})).await;
    assert_eq!(list["entries"], json!(["alias@", "inside.txt", "sub/"]));
    let found = world.ok("search_files", json!({ "pattern": "core" })).await;
    assert_eq!(found["matches"], json!([]));
}

/// Runs `swap` over and over until dropped.
struct Swapper(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Swapper {
    fn start(mut swap: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                swap();
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(std::thread::JoinHandle::join);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapping_a_directory_for_a_symlink_never_leaks() {
    let world = world().await;
    let secret = world.bench.workspaces().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("f"), "SECRET").unwrap();
    world.put("d/f", "public");
    let worktree = world.bench.worktree();
    symlink(&secret, worktree.join("link")).unwrap();
    let (d, link, aside) = (worktree.join("d"), worktree.join("link"), worktree.join("aside"));
    let swapper = Swapper::start(move || {
        fs::rename(&d, &aside).unwrap();
        fs::rename(&link, &d).unwrap();
        fs::rename(&d, &link).unwrap();
        fs::rename(&aside, &d).unwrap();
    });
    let mut read = 0;
    for turn in 0..250 {
        let answer = world.client.call("read_file", json!({ "path": "d/f" })).await;
        assert!(!answer.text.contains("SECRET"), "leaked at {turn}");
        read += u32::from(!answer.is_error);
        let edit = json!({ "path": "d/f", "old_text": "SECRET", "new_text": "pwned" });
        world.fails("edit_file", edit).await;
        let found = world.client.call("search_files", json!({ "pattern": "SECRET", "path": "d" })).await;
        assert!(found.is_error || found.value["matches"] == json!([]), "{found:?}");
    }
    drop(swapper);
    assert!(read > 0, "some reads must get through");
    assert_eq!(fs::read_to_string(secret.join("f")).unwrap(), "SECRET");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turning_a_symlink_round_never_writes_outside_nor_into_git() {
    let world = world().await;
    let secret = world.bench.workspaces().join("secret");
    fs::create_dir(&secret).unwrap();
    world.put("real/f", "public");
    world.put(".git/config", "[core]");
    let worktree = world.bench.worktree();
    symlink("real", worktree.join("d")).unwrap();
    let (d, next, outside) = (worktree.join("d"), worktree.join("next"), secret.clone());
    let swapper = Swapper::start(move || {
        for target in [outside.as_path(), Path::new("real"), Path::new(".git"), Path::new("real")] {
            symlink(target, &next).unwrap();
            fs::rename(&next, &d).unwrap();
        }
    });
    let mut written = 0;
    for _ in 0..250 {
        let answer = world.client.call("write_file", json!({ "path": "d/g", "content": "mine" })).await;
        written += u32::from(!answer.is_error);
        world.client.call("move_path", json!({ "from": "d/g", "to": "d/h", "overwrite": true })).await;
    }
    drop(swapper);
    assert!(written > 0, "some writes must get through");
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 0, "wrote outside");
    assert_eq!(fs::read_dir(worktree.join(".git")).unwrap().count(), 1, "wrote into .git");
}

#[tokio::test]
async fn a_file_is_read_in_pages_and_its_hash_guards_the_edit() {
    let world = world().await;
    world.put("src/main.rs", "fn main() {\n    one();\n    two();\n}\n");
    let page = world.ok("read_file", json!({ "path": "src/main.rs", "start_line": 2, "end_line": 2 })).await;
    assert_eq!(page["text"], "    one();\n");
    assert_eq!(page["total_lines"], 4);
    let edit = |old: &str, hash: &Value| json!({ "path": "src/main.rs", "old_text": old, "new_text": "three();", "expected_hash": hash });
    let edited = world.ok("edit_file", edit("two();", &page["hash"])).await;
    assert_eq!((&edited["line"], &edited["replacements"]), (&json!(3), &json!(1)));
    let stale = world.fails("edit_file", edit("one();", &page["hash"])).await;
    assert!(stale.contains("changed since"), "{stale}");
    world.ok("edit_file", edit("one();", &edited["hash"])).await;
    assert_eq!(world.get("src/main.rs"), "fn main() {\n    three();\n    three();\n}\n");
    assert!(world.fails("edit_file", edit("three();", &Value::Null)).await.contains("same"));
    let twice = json!({ "path": "src/main.rs", "old_text": "three();", "new_text": "x();" });
    assert!(world.fails("edit_file", twice).await.contains("lines 2, 3"));
}

#[tokio::test]
async fn a_write_is_whole_keeps_the_mode_and_can_insist_on_a_new_file() {
    let world = world().await;
    let created = world.ok("write_file", json!({ "path": "a/b/run.sh", "content": "one" })).await;
    assert_eq!(created["created"], true);
    let script = world.bench.worktree().join("a/b/run.sh");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let again = json!({ "path": "a/b/run.sh", "content": "two", "expected_hash": "none" });
    assert!(world.fails("write_file", again).await.contains("exists already"));
    let guarded = json!({ "path": "a/b/run.sh", "content": "two", "expected_hash": created["hash"] });
    assert_eq!(world.ok("write_file", guarded).await["created"], false);
    assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(script.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    let through = json!({ "path": "a/b/run.sh/c", "content": "x" });
    assert!(world.fails("write_file", through).await.contains("not a directory"));
    let huge = json!({ "path": "huge", "content": "x".repeat(2 * 1024 * 1024 + 1) });
    assert!(world.fails("write_file", huge).await.contains("2097152"));
}

#[tokio::test]
async fn two_guarded_edits_at_once_lose_nothing() {
    let world = world().await;
    world.put("n", "0");
    let hash = world.ok("read_file", json!({ "path": "n" })).await["hash"].clone();
    let calls = (1..=8).map(|n| {
        let arguments = json!({ "path": "n", "content": n.to_string(), "expected_hash": hash });
        world.client.call("write_file", arguments)
    });
    let mut won = 0;
    for answer in futures_join(calls).await {
        won += u32::from(!answer);
    }
    assert_eq!(won, 1);
}

async fn futures_join(
    calls: impl Iterator<Item = impl Future<Output = syndarix_mcp_kit::testing::Answer>>,
) -> Vec<bool> {
    let mut pending: Vec<_> = calls.map(Box::pin).collect();
    let mut done = vec![None; pending.len()];
    std::future::poll_fn(|context| {
        for (call, slot) in pending.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(answer) = call.as_mut().poll(context)
            {
                *slot = Some(answer.is_error);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_symlink_inside_the_worktree_is_followed_to_its_file() {
    let world = world().await;
    world.put("docs/README.md", "hello\n");
    symlink("docs/README.md", world.bench.worktree().join("README.md")).unwrap();
    assert_eq!(world.ok("read_file", json!({ "path": "README.md" })).await["text"], "hello\n");
    world.ok("edit_file", json!({ "path": "README.md", "old_text": "hello", "new_text": "bye" })).await;
    assert_eq!(world.get("docs/README.md"), "bye\n");
    assert!(world.bench.worktree().join("README.md").is_symlink());
    let stat = world.ok("stat", json!({ "path": "README.md" })).await;
    assert_eq!((&stat["kind"], &stat["link_target"]), (&json!("symlink"), &json!("docs/README.md")));
}

#[tokio::test]
async fn what_is_not_a_text_file_is_explained() {
    let world = world().await;
    fs::write(world.bench.worktree().join("bin"), b"a\0b").unwrap();
    fs::write(world.bench.worktree().join("latin"), b"caf\xe9").unwrap();
    fs::create_dir(world.bench.worktree().join("dir")).unwrap();
    let fifo = world.bench.worktree().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let fails = async |path: &str| world.fails("read_file", json!({ "path": path })).await;
    assert!(fails("bin").await.contains("binary"));
    assert!(fails("latin").await.contains("UTF-8"));
    assert!(fails("dir").await.contains("directory"));
    assert!(fails("fifo").await.contains("not a regular file"));
    assert!(fails("gone/deep").await.contains("does not exist"));
    assert!(fails(".").await.contains("worktree itself"));
}

#[tokio::test]
async fn tree_and_search_leave_out_what_git_ignores() {
    let world = world().await;
    world.put(".gitignore", "target/\n*.log\n!keep.log\n");
    world.put("target/debug/x.rs", "needle");
    world.put("src/lib.rs", "a needle here\nand Needle there\n");
    world.put("src/.gitignore", "gen/\n");
    world.put("src/gen/x.rs", "needle");
    world.put("a.log", "needle");
    world.put("keep.log", "needle");
    let tree = world.ok("tree", json!({})).await;
    assert_eq!(tree["tree"], ".gitignore\nkeep.log\nsrc/\n  .gitignore\n  lib.rs\n");
    assert_eq!(tree["truncated"], false);
    assert_eq!(world.ok("tree", json!({ "depth": 1 })).await["tree"], ".gitignore\nkeep.log\nsrc/\n");
    let found = world.ok("search_files", json!({ "pattern": "needle" })).await;
    assert_eq!(found["matches"], json!(["keep.log:1:needle", "src/lib.rs:1:a needle here"]));
    let below =
        world.ok("search_files", json!({ "pattern": "needle", "path": "src", "ignore_case": true })).await;
    assert_eq!(below["matches"].as_array().unwrap().len(), 2);
    let globbed = world.ok("search_files", json!({ "pattern": "needle", "glob": "*.log" })).await;
    assert_eq!(globbed["matches"], json!(["keep.log:1:needle"]));
    let file = world.ok("search_files", json!({ "pattern": "^and", "path": "src/lib.rs" })).await;
    assert_eq!(file["matches"], json!(["src/lib.rs:2:and Needle there"]));
    assert!(world.fails("search_files", json!({ "pattern": "(" })).await.contains("literal"));
    assert_eq!(
        world.ok("search_files", json!({ "pattern": "(", "literal": true })).await["matches"],
        json!([])
    );
    let huge = json!({ "pattern": "(a{1000}){1000}" });
    assert!(world.fails("search_files", huge).await.contains("pattern"));
}

#[tokio::test]
async fn answers_are_bounded_and_say_so() {
    let world = world().await;
    let lines: Vec<String> = (0..3000).map(|n| format!("needle {n} {}\n", "x".repeat(40))).collect();
    let lines = lines.concat();
    world.put("big", &lines);
    for n in 0..350 {
        world.put(&format!("many/{n:04}"), "");
    }
    let read = world.client.call("read_file", json!({ "path": "big" })).await;
    assert!(read.text.len() < 64 * 1024 && read.value["truncated"] == true);
    let next = read.value["next_line"].as_u64().unwrap();
    let rest = world.ok("read_file", json!({ "path": "big", "start_line": next })).await;
    assert!(rest["text"].as_str().unwrap().starts_with(&format!("needle {} ", next - 1)));
    let found = world.client.call("search_files", json!({ "pattern": "needle", "max_matches": 9999 })).await;
    assert!(found.value["truncated"] == true && found.text.len() < 64 * 1024);
    let listed = world.ok("list_directory", json!({ "path": "many" })).await;
    assert_eq!((&listed["total"], &listed["next_offset"]), (&json!(350), &json!(300)));
    let rest = world.ok("list_directory", json!({ "path": "many", "offset": 300 })).await;
    assert_eq!(rest["entries"].as_array().unwrap().len(), 50);
    assert!(rest.get("next_offset").is_none());
}

#[tokio::test]
async fn moving_and_deleting_ask_before_they_destroy() {
    let world = world().await;
    world.put("a/one", "1");
    world.put("b", "2");
    assert!(world.fails("move_path", json!({ "from": "b", "to": "a/one" })).await.contains("overwrite"));
    world.ok("move_path", json!({ "from": "b", "to": "a/one", "overwrite": true })).await;
    assert_eq!(world.get("a/one"), "2");
    assert!(world.fails("move_path", json!({ "from": "a", "to": "a/inner" })).await.contains("into itself"));
    world.ok("move_path", json!({ "from": "a", "to": "c/d" })).await;
    assert!(world.fails("delete_path", json!({ "path": "c" })).await.contains("not empty"));
    let stale = json!({ "path": "c/d/one", "expected_hash": "0000" });
    assert!(world.fails("delete_path", stale).await.contains("changed"));
    let deleted = world.ok("delete_path", json!({ "path": "c", "recursive": true })).await;
    assert_eq!(deleted["entries"], 3);
    assert!(world.fails("delete_path", json!({ "path": "c" })).await.contains("does not exist"));
    assert!(
        world
            .fails("delete_path", json!({ "path": ".", "recursive": true }))
            .await
            .contains("worktree itself")
    );
}

#[tokio::test]
async fn a_reader_is_shown_and_allowed_no_writing_tool() {
    let world = world().await;
    let reader = world.bench.client(&world.running, &["filesystem:read"]).await;
    let names: Vec<String> = reader.tools().await.into_iter().map(|t| t.name.into_owned()).collect();
    assert_eq!(names, ["list_directory", "read_file", "search_files", "stat", "tree"]);
}

#[tokio::test]
async fn a_run_without_a_worktree_is_told_so() {
    let world = world().await;
    let mut claims = world.bench.claims("filesystem", &["filesystem:read"]);
    claims.run = uuid::Uuid::from_u128(77);
    let token = world.bench.signer.sign(&claims).unwrap();
    let era = syndarix_mcp_kit::testing::Era::Modern;
    let client = world.bench.client_with(&world.running, &token, era).await.unwrap();
    assert!(client.fails("tree", json!({})).await.contains("no worktree"));
}

#[tokio::test]
async fn a_change_can_be_asked_for_before_and_after_it_was_made() {
    let world = world().await;
    let changes = [
        ("write_file", json!({ "path": "a.txt", "content": "one" })),
        ("edit_file", json!({ "path": "a.txt", "old_text": "one", "new_text": "one, two" })),
        ("move_path", json!({ "from": "a.txt", "to": "b.txt" })),
        ("delete_path", json!({ "path": "b.txt" })),
    ];
    for (tool, arguments) in changes {
        let before = world.client.trace(tool, arguments.clone(), "step-1").await.unwrap();
        assert_eq!(before, json!({ "trace": "not_found" }), "{tool}");
        world.client.ok(tool, arguments.clone()).await;
        let after = world.client.trace(tool, arguments, "step-1").await.unwrap();
        assert_eq!(after["trace"], "found", "{tool}: {after}");
    }
    let gone = json!({ "path": "a.txt", "old_text": "one", "new_text": "two" });
    assert_eq!(world.client.trace("edit_file", gone, "step-1").await.unwrap()["trace"], "unclear");
    let refused = world.client.trace("read_file", json!({ "path": "a.txt" }), "step-1").await;
    assert!(refused.unwrap_err().to_string().contains("this tool cannot tell"));
}
