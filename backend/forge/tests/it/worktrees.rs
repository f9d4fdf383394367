use std::os::unix::fs::{PermissionsExt as _, symlink};

use syndarix_forge::{Forge as _, ForgeError, GitError, WorktreeTarget};
use uuid::Uuid;

use crate::fixture::{Fixture, PROJECT, branch, forge_at, git};

const RUN: Uuid = Uuid::from_u128(7);

fn on(name: &str) -> WorktreeTarget {
    WorktreeTarget::Branch(branch(name))
}

async fn with_branch() -> Fixture {
    let f = Fixture::with_demo().await;
    let head = f.main_head().await;
    f.forge.create_branch(PROJECT, &branch("work"), &head).await.unwrap();
    f
}

#[tokio::test]
async fn a_worktree_is_made_once_and_keeps_its_work() {
    let f = with_branch().await;
    let made = f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap();
    assert!(made.created && made.branch == Some(branch("work")));
    assert_eq!(made.path, f.forge.worktree_path(PROJECT, RUN));
    std::fs::write(made.path.join("draft"), "x").unwrap();
    std::fs::remove_file(made.path.join(".git")).unwrap();
    let again = f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap();
    assert!(!again.created && again.path.join("draft").exists());
    f.forge.remove_worktree(PROJECT, RUN).await.unwrap();
    f.forge.remove_worktree(PROJECT, RUN).await.unwrap();
    assert!(!made.path.exists());
    assert!(f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap().created);
}

#[tokio::test]
async fn a_commit_can_be_looked_at_by_many_and_a_branch_be_worked_on_by_one() {
    let f = with_branch().await;
    let head = f.main_head().await;
    f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap();
    let error = f.forge.add_worktree(PROJECT, Uuid::from_u128(8), &on("work")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Git(GitError::BranchInUse(_))), "{error}");
    for run in 9..11 {
        let target = WorktreeTarget::Commit(head.clone());
        let seen = f.forge.add_worktree(PROJECT, Uuid::from_u128(run), &target).await.unwrap();
        assert_eq!((seen.branch, seen.head), (None, head.clone()));
    }
    let error = f.forge.add_worktree(PROJECT, Uuid::from_u128(12), &on("nowhere")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Git(GitError::NotFound(_))), "{error}");
}

#[tokio::test]
async fn what_a_kill_left_half_made_is_made_again() {
    let f = with_branch().await;
    let path = f.forge.worktree_path(PROJECT, RUN);
    let bare = f.forge.repository_path(PROJECT);
    // Killed while the files were written: git's own mark is still there.
    f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap();
    let admin = bare.join("worktrees").join(RUN.to_string());
    std::fs::write(admin.join("locked"), "initializing").unwrap();
    std::fs::write(admin.join("index.lock"), "").unwrap();
    std::fs::remove_file(path.join("README.md")).unwrap();
    assert!(f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap().created);
    assert!(path.join("README.md").exists());
    // Killed before git wrote where the entry belongs.
    f.forge.remove_worktree(PROJECT, RUN).await.unwrap();
    std::fs::create_dir_all(&admin).unwrap();
    std::fs::write(admin.join("locked"), "initializing").unwrap();
    assert!(f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap().created);
    assert!(admin.join("gitdir").exists(), "the entry has the run's own name");
    // Killed while removing: files gone, entry left; and entry gone, files left.
    std::fs::remove_dir_all(&path).unwrap();
    assert!(f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap().created);
    std::fs::remove_dir_all(&admin).unwrap();
    assert!(f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap().created);
}

#[tokio::test]
async fn removing_follows_no_link_and_opens_closed_directories() {
    let f = with_branch().await;
    let outside = f.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("keep"), "x").unwrap();
    let made = f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap();
    symlink(&outside, made.path.join("link")).unwrap();
    let closed = made.path.join("closed/inner");
    std::fs::create_dir_all(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    f.forge.remove_worktree(PROJECT, RUN).await.unwrap();
    symlink(&outside, &made.path).unwrap();
    f.forge.remove_worktree(PROJECT, RUN).await.unwrap();
    assert!(outside.join("keep").exists() && !made.path.exists());
}

#[tokio::test]
async fn directories_reached_through_a_link_work() {
    let f = with_branch().await;
    let link = f.dir.path().join("link");
    symlink(f.dir.path(), &link).unwrap();
    let through_link = forge_at(&link);
    let made = through_link.add_worktree(PROJECT, RUN, &on("work")).await.unwrap();
    assert!(!f.forge.add_worktree(PROJECT, RUN, &on("work")).await.unwrap().created);
    assert_eq!(git(&made.path, &["status", "--porcelain"]), "");
}
