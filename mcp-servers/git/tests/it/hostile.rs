//! Worktrees full of traps: nothing in them may make git start a program or reach a file outside.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::fixture::{BRANCH, Fixture, git};

struct Trap {
    program: PathBuf,
    trace: PathBuf,
}

impl Trap {
    fn new(dir: &Path) -> Self {
        let (program, trace) = (dir.join("trap.sh"), dir.join("trace"));
        std::fs::write(&program, format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", trace.display())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { program, trace }
    }

    fn config(&self) -> String {
        let p = self.program.display();
        format!(
            "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = {p}\n\thooksPath = {0}\n\tpager = {p}\n\teditor = {p}\n\
             [filter \"x\"]\n\tclean = {p}\n\tsmudge = {p}\n\tprocess = {p}\n\
             [diff]\n\texternal = {p}\n[diff \"x\"]\n\ttextconv = {p}\n\tcommand = {p}\n\
             [merge \"x\"]\n\tdriver = {p}\n[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = {p}\n",
            self.program.parent().unwrap().display()
        )
    }

    fn assert_silent(&self) {
        assert!(!self.trace.exists(), "{}", std::fs::read_to_string(&self.trace).unwrap_or_default());
    }
}

const ATTRIBUTES: &str = "* filter=x diff=x merge=x text working-tree-encoding=UTF-8\n";

async fn use_all_tools(f: &mut Fixture) {
    let other = f.client_of(Some("syndarix/other")).await;
    f.write("README.md", "# Changed\n");
    for (tool, arguments) in [
        ("status", json!({})),
        ("diff", json!({})),
        ("diff", json!({ "since": "default_branch" })),
        ("commit", json!({ "message": "Change" })),
        ("log", json!({})),
        ("show", json!({ "revision": "HEAD" })),
        ("read_file", json!({ "path": "README.md" })),
        ("blame", json!({ "path": "README.md" })),
        ("list_branches", json!({})),
        ("create_branch", json!({ "name": "syndarix/other" })),
        ("checkout", json!({ "target": "HEAD~1" })),
        ("checkout", json!({ "target": BRANCH })),
        ("merge_preview", json!({})),
        ("update_branch", json!({})),
    ] {
        // A run makes no branch but its own, and this one's is there already.
        let client = if tool == "create_branch" { &other } else { &f.client };
        let answer = client.call(tool, arguments.clone()).await;
        assert!(!answer.is_error, "{tool} {arguments}: {}", answer.text);
    }
}

#[tokio::test]
async fn attributes_that_name_filters_drivers_and_converters_start_nothing() {
    let mut f = Fixture::new().await;
    let trap = Trap::new(f.dir.path());
    f.write(".gitattributes", ATTRIBUTES);
    f.main_moves(&[("theirs", "1\n")]).await;
    use_all_tools(&mut f).await;
    trap.assert_silent();
}

#[tokio::test]
async fn a_rewritten_git_link_is_not_followed() {
    let mut f = Fixture::new().await;
    let trap = Trap::new(f.dir.path());
    f.write(".gitattributes", ATTRIBUTES);
    f.main_moves(&[("theirs", "1\n")]).await;
    // What an agent's command could do in its worktree: put a repository of its own in the place of the link.
    let link = f.path(".git");
    std::fs::remove_file(&link).unwrap();
    git(&f.bench.worktree(), &["init", "-q", "-b", "evil"]);
    std::fs::write(link.join("config"), trap.config()).unwrap();
    for hook in ["pre-commit", "post-checkout", "post-index-change", "reference-transaction"] {
        std::fs::create_dir_all(link.join("hooks")).unwrap();
        std::fs::copy(&trap.program, link.join("hooks").join(hook)).unwrap();
    }
    use_all_tools(&mut f).await;
    trap.assert_silent();
    let files = f.git(&["ls-tree", "-r", "--name-only", BRANCH]);
    assert!(files.contains("README.md") && !files.contains(".git/"), "{files}");
}

#[tokio::test]
async fn hooks_in_the_repository_do_not_run() {
    let mut f = Fixture::new().await;
    let trap = Trap::new(f.dir.path());
    std::fs::create_dir_all(f.repository.dir().join("hooks")).unwrap();
    for hook in [
        "pre-commit",
        "commit-msg",
        "post-commit",
        "post-checkout",
        "pre-merge-commit",
        "post-merge",
        "update",
        "reference-transaction",
        "post-index-change",
        "post-rewrite",
    ] {
        std::fs::copy(&trap.program, f.repository.dir().join("hooks").join(hook)).unwrap();
    }
    f.main_moves(&[("theirs", "1\n")]).await;
    use_all_tools(&mut f).await;
    trap.assert_silent();
}

#[tokio::test]
async fn a_repository_inside_the_worktree_starts_nothing_and_is_not_committed() {
    let f = Fixture::new().await;
    let trap = Trap::new(f.dir.path());
    let inner = f.path("inner");
    std::fs::create_dir(&inner).unwrap();
    git(&inner, &["init", "-q"]);
    std::fs::write(inner.join(".gitattributes"), ATTRIBUTES).unwrap();
    std::fs::write(inner.join("file"), "x\n").unwrap();
    git(&inner, &["add", "-A"]);
    git(&inner, &["commit", "-q", "-m", "Inner"]);
    std::fs::write(inner.join(".git/config"), trap.config()).unwrap();
    std::fs::write(inner.join("file"), "y\n").unwrap();
    let status = f.ok("status", json!({})).await;
    assert_eq!(status["changes"], json!([{ "path": "inner/", "kind": "nested_repository" }]));
    f.ok("diff", json!({})).await;
    let said = f.fails("commit", json!({ "message": "All" })).await;
    assert!(said.contains("inner") && said.contains(".gitignore"), "{said}");
    let said = f.fails("commit", json!({ "message": "All", "paths": ["inner"] })).await;
    assert!(said.contains("inner"), "{said}");
    // Over a directory that git knows already.
    std::fs::rename(inner.join(".git"), f.path("src/.git")).unwrap();
    std::fs::remove_dir_all(&inner).unwrap();
    f.write("src/a.py", "changed\n");
    let answer = f.client.call("commit", json!({ "message": "All" })).await;
    let modes = f.git(&["ls-tree", "-r", BRANCH]);
    assert!(!modes.contains("160000"), "{} {modes}", answer.text);
    use_tools_that_look(&f).await;
    trap.assert_silent();
}

async fn use_tools_that_look(f: &Fixture) {
    for tool in ["status", "diff", "log", "list_branches"] {
        f.client.call(tool, json!({})).await;
    }
}

#[tokio::test]
async fn a_submodule_of_the_project_with_traps_inside_starts_nothing() {
    let mut f = Fixture::new().await;
    let trap = Trap::new(f.dir.path());
    // A project may have submodules; their directories in a worktree are the agent's to fill.
    let inner = f.path("sub");
    std::fs::create_dir(&inner).unwrap();
    git(&inner, &["init", "-q"]);
    git(&inner, &["commit", "-q", "--allow-empty", "-m", "Inner"]);
    let worktree = f.bench.worktree();
    git(&worktree, &["-c", "advice.addEmbeddedRepo=false", "add", "sub"]);
    git(&worktree, &["commit", "-q", "-m", "With submodule"]);
    std::fs::write(inner.join(".gitattributes"), ATTRIBUTES).unwrap();
    std::fs::write(inner.join("file"), "x\n").unwrap();
    git(&inner, &["add", "-A"]);
    std::fs::write(inner.join("file"), "y\n").unwrap();
    std::fs::write(inner.join(".git/config"), trap.config()).unwrap();
    f.main_moves(&[("theirs", "1\n")]).await;
    use_all_tools(&mut f).await;
    trap.assert_silent();
}

#[tokio::test]
async fn a_configuration_that_names_a_program_is_refused_without_running_it() {
    let f = Fixture::new().await;
    let trap = Trap::new(f.dir.path());
    std::fs::write(f.repository.dir().join("config"), trap.config()).unwrap();
    f.fails("status", json!({})).await;
    f.fails("commit", json!({ "message": "x" })).await;
    trap.assert_silent();
}

#[tokio::test]
async fn options_in_the_place_of_values_are_refused_with_a_sentence() {
    let f = Fixture::new().await;
    f.write("README.md", "# Changed\n");
    let out = f.dir.path().join("pwned");
    let corpus = [
        "--upload-pack=touch /tmp/x",
        &format!("--output={}", out.display()),
        "-c",
        "-O/etc/passwd",
        "--exec=sh",
        "--ext-diff",
        "--no-index",
        "ext::sh -c id",
        "file:///etc/passwd",
        "HEAD:README.md",
        "main..HEAD",
        "^main",
        ":/x",
        "HEAD^{/x}",
        "a b",
        "a\nb",
        "a\0b",
        "",
    ];
    for value in corpus {
        for (tool, arguments) in [
            ("log", json!({ "revision": value })),
            ("show", json!({ "revision": value })),
            ("read_file", json!({ "path": "README.md", "revision": value })),
            ("blame", json!({ "path": "README.md", "revision": value })),
            ("checkout", json!({ "target": value })),
            ("create_branch", json!({ "name": value })),
            ("create_branch", json!({ "name": BRANCH, "from": value })),
            ("merge_preview", json!({ "branch": value })),
        ] {
            let said = f.fails(tool, arguments).await;
            assert!(!said.contains("usage:") && !said.contains("inside"), "{tool} {value:?}: {said}");
        }
    }
    assert!(!out.exists());
}

#[tokio::test]
async fn paths_stay_inside_the_worktree() {
    let f = Fixture::new().await;
    let secret = f.dir.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("key"), "s3cret\n").unwrap();
    symlink(&secret, f.path("link")).unwrap();
    for path in
        ["../secret/key", "/etc/passwd", ".git/config", "a/../../b", "--output=x", ":(top)x", ":!x", "a\nb"]
    {
        for (tool, arguments) in [
            ("commit", json!({ "message": "x", "paths": [path] })),
            ("diff", json!({ "paths": [path] })),
            ("log", json!({ "path": path })),
            ("read_file", json!({ "path": path })),
            ("blame", json!({ "path": path })),
        ] {
            f.fails(tool, arguments).await;
        }
    }
    f.fails("commit", json!({ "message": "x", "paths": ["link/key"] })).await;
    // The link itself is what gets committed, not what it points to.
    f.commit("Link").await;
    assert!(f.git(&["show", &format!("{BRANCH}:link")]).contains("secret"));
    assert!(!f.git(&["log", "-p", BRANCH]).contains("s3cret"));
}

#[tokio::test]
async fn a_worktree_replaced_by_a_link_is_refused() {
    let f = Fixture::new().await;
    let outside = f.dir.path().join("outside");
    std::fs::rename(f.bench.worktree(), &outside).unwrap();
    symlink(&outside, f.bench.worktree()).unwrap();
    f.fails("status", json!({})).await;
    f.fails("commit", json!({ "message": "x" })).await;
}

#[tokio::test]
async fn a_file_too_large_for_a_history_is_refused_before_it_is_stored() {
    let f = Fixture::new().await;
    let file = std::fs::File::create(f.path("huge")).unwrap();
    file.set_len(33 * 1024 * 1024).unwrap();
    let said = f.fails("commit", json!({ "message": "x" })).await;
    assert!(said.contains("huge") && said.contains("32 MiB"), "{said}");
}
