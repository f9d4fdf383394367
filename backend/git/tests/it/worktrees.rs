//! Worktrees are found in the repository, never in the worktree.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use syndarix_git::{
    BranchName, CheckedOut, Expected, Git, GitError, Identity, NewFiles, RefUpdate, RepoPath, Repository,
    Worktree,
};

async fn repository(dir: &Path) -> (Git, Repository) {
    let git = Git::new(&dir.join("home")).unwrap();
    let main = BranchName::new("main").unwrap();
    let repository = Repository::init(&git, &dir.join("r.git"), &main).await.unwrap();
    let files = [(RepoPath::new("f").unwrap(), b"x\n".to_vec())];
    let author = &Identity::new("A", "a@b").unwrap();
    let new = NewFiles { parent: None, files: &files, message: "M\n", author, at: 0 };
    let commit = repository.write_commit_of_files(&new, &dir.join("scratch")).await.unwrap();
    let lock = repository.lock().await.unwrap();
    assert_eq!(
        repository.update_branch(&main, &commit, &Expected::Missing, &lock).await.unwrap(),
        RefUpdate::Done
    );
    repository.add_worktree(&dir.join("w"), &CheckedOut::Branch(main), &lock).await.unwrap();
    drop(lock);
    (git, repository)
}

#[tokio::test]
async fn a_worktree_is_opened_whatever_its_git_link_says() {
    let dir = tempfile::tempdir().unwrap();
    let (git, repository) = repository(dir.path()).await;
    let path = dir.path().join("w");
    std::fs::write(path.join(".git"), "gitdir: /nowhere\n").unwrap();
    let worktree = Worktree::open(&git, repository.dir(), &path).unwrap();
    assert_eq!(worktree.current_branch().await.unwrap().unwrap().as_str(), "main");
    let main = BranchName::new("main").unwrap();
    assert_eq!(worktree.head().await.unwrap(), repository.branch_head(&main).await.unwrap().unwrap());
}

#[tokio::test]
async fn links_strangers_and_other_repositories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (git, repository) = repository(dir.path()).await;
    let link = dir.path().join("link");
    symlink(dir.path().join("w"), &link).unwrap();
    assert!(matches!(Worktree::open(&git, repository.dir(), &link), Err(GitError::Invalid(_))));
    let stranger = dir.path().join("stranger");
    std::fs::create_dir(&stranger).unwrap();
    assert!(matches!(Worktree::open(&git, repository.dir(), &stranger), Err(GitError::NotFound(_))));
    let other =
        Repository::init(&git, &dir.path().join("o.git"), &BranchName::new("main").unwrap()).await.unwrap();
    assert!(matches!(Worktree::open(&git, other.dir(), &dir.path().join("w")), Err(GitError::NotFound(_))));
    assert!(matches!(Worktree::open(&git, &dir.path().join("none"), &link), Err(GitError::NotFound(_))));
}

#[tokio::test]
async fn a_worktree_below_a_link_is_the_same_worktree() {
    let dir = tempfile::tempdir().unwrap();
    let (git, repository) = repository(dir.path()).await;
    let link = dir.path().join("link");
    symlink(dir.path(), &link).unwrap();
    let worktree = Worktree::open(&git, repository.dir(), &link.join("w")).unwrap();
    assert_eq!(worktree.path(), dir.path().canonicalize().unwrap().join("w"));
}

#[tokio::test]
async fn a_removal_that_nobody_waits_for_any_more_keeps_the_lock_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (_git, repository) = repository(dir.path()).await;
    let path = dir.path().join("w");
    // More than is removed while the lock changes hands.
    for n in 0..10_000 {
        std::fs::write(path.join(n.to_string()), "x").unwrap();
    }
    let lock = repository.lock().await.unwrap();
    let removal = repository.remove_worktree(&path, &lock);
    assert!(tokio::time::timeout(Duration::ZERO, removal).await.is_err(), "it is dropped on the way");
    drop(lock);

    let _next = repository.lock().await.unwrap();

    assert!(!path.exists(), "nothing is removed under the next one's lock");
}
