//! The lock and its heirs.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use syndarix_git::{Call, FileLock, Git, GitError, Place};

#[tokio::test]
async fn a_lock_excludes_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let held = FileLock::acquire(&path, Duration::from_secs(1)).await.unwrap();
    let error = FileLock::acquire(&path, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, GitError::LockBusy { .. }), "{error}");
    drop(held);
    FileLock::acquire(&path, Duration::from_millis(100)).await.unwrap();
}

#[tokio::test]
async fn a_git_that_outlives_its_starter_keeps_the_lock_it_was_handed() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("fake-git");
    // What is left of a killed server: a child that is still at work, in a group of its own.
    std::fs::write(&program, "#!/bin/sh\nexec 3<&0\nsetsid sleep 1 >/dev/null 2>&1 <&3 &\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let git = Git::with_program(&program, &dir.path().join("home")).unwrap();
    let path = dir.path().join("lock");
    let held = FileLock::acquire(&path, Duration::from_secs(1)).await.unwrap();
    git.run(Call::new("x", &Place::nowhere(dir.path())).input(held.handed_on().unwrap())).await.unwrap();
    drop(held);
    let start = Instant::now();
    FileLock::acquire(&path, Duration::from_secs(10)).await.unwrap();
    assert!(start.elapsed() > Duration::from_millis(300), "the child held it");
}
