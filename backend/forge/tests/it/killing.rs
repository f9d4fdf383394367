//! A process that merges and makes worktrees is killed again and again, at any moment.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use syndarix_forge::{Forge as _, MergeOutcome, ObjectId, WorktreeTarget};
use uuid::Uuid;

use crate::fixture::{Fixture, PROJECT, branch, forge_at, request};

/// Names the directory of the forge to the process that is killed; unset in an ordinary run of the tests.
const DIRECTORY: &str = "SYNDARIX_FORGE_KILL_TEST";
const BRANCHES: u32 = 10;
/// Kills: spread over the first 400 ms of the process, in which it starts and works.
const KILLS: u64 = 24;

fn run_of(n: u32) -> Uuid {
    Uuid::from_u128(100 + u128::from(n))
}

/// The work: every branch is shown in a worktree, the worktree removed, the branch merged.
async fn work(dir: &Path) {
    let forge = forge_at(dir);
    for n in 0..BRANCHES {
        let name = format!("b{n}");
        let head = std::fs::read_to_string(dir.join(&name)).unwrap();
        let head = ObjectId::new(head).unwrap();
        forge.add_worktree(PROJECT, run_of(n), &WorktreeTarget::Branch(branch(&name))).await.unwrap();
        let outcome = forge.merge(PROJECT, &request(&name, &head, &format!("key-{n}"))).await.unwrap();
        let merged = matches!(outcome, MergeOutcome::Merged { .. } | MergeOutcome::AlreadyMerged { .. });
        assert!(merged, "{outcome:?}");
        forge.remove_worktree(PROJECT, run_of(n)).await.unwrap();
    }
}

/// Not a test of its own: what the killed process runs.
#[tokio::test]
async fn the_process_that_is_killed() {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        work(Path::new(&dir)).await;
    }
}

#[tokio::test]
async fn every_branch_is_merged_once_however_often_the_process_is_killed() {
    let f = Fixture::with_demo().await;
    for n in 0..BRANCHES {
        let name = format!("b{n}");
        let head = f.branch_with(&name, &format!("file{n}"), "x\n").await;
        std::fs::write(f.dir.path().join(&name), head.as_str()).unwrap();
    }
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killing::the_process_that_is_killed", "--exact", "--test-threads=1"])
            .env(DIRECTORY, f.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(20 + round * 37 % 400)).await;
        // SIGKILL; the git it had started may go on for a moment, as after a real crash.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    work(f.dir.path()).await;
    assert_eq!(f.bare_git(&["rev-list", "--count", "--merges", "--first-parent", "main"]).trim(), "10");
    let keys = f.bare_git(&[
        "log",
        "--first-parent",
        "--merges",
        "--format=%(trailers:key=Syndarix-Key,valueonly)",
        "main",
    ]);
    let mut keys: Vec<&str> = keys.split_whitespace().collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 10, "{keys:?}");
    let left = f.bare_git(&["worktree", "list", "--porcelain"]);
    assert_eq!(left.matches("worktree ").count(), 1, "only the repository itself: {left}");
    f.bare_git(&["fsck", "--no-dangling"]);
}
