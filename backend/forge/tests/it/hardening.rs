use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use syndarix_forge::{Forge as _, ForgeError, GitError, RemoteSource, WorktreeTarget};
use uuid::Uuid;

use crate::fixture::{Fixture, PROJECT, branch, git, request};

/// A program that leaves a trace when it is run.
fn trap(dir: &Path) -> (PathBuf, PathBuf) {
    let (program, trace) = (dir.join("trap.sh"), dir.join("trace"));
    std::fs::write(&program, format!("#!/bin/sh\necho \"$0\" >> {}\ncat\n", trace.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (program, trace)
}

#[tokio::test]
async fn hooks_in_the_repository_do_not_run() {
    let f = Fixture::with_demo().await;
    let (program, trace) = trap(f.dir.path());
    let hooks = f.forge.repository_path(PROJECT).join("hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    for hook in
        ["post-checkout", "reference-transaction", "pre-merge-commit", "post-merge", "update", "pre-commit"]
    {
        std::fs::copy(&program, hooks.join(hook)).unwrap();
    }
    let base = f.main_head().await;
    f.forge.create_branch(PROJECT, &branch("work"), &base).await.unwrap();
    let target = WorktreeTarget::Branch(branch("work"));
    f.forge.add_worktree(PROJECT, Uuid::from_u128(5), &target).await.unwrap();
    assert!(!trace.exists());
}

#[tokio::test]
async fn a_repository_whose_configuration_names_a_program_is_refused() {
    let f = Fixture::with_demo().await;
    let (program, trace) = trap(f.dir.path());
    let head = f.branch_with("work", ".gitattributes", "* filter=x diff=x merge=x\n").await;
    let config = f.forge.repository_path(PROJECT).join("config");
    let clean = std::fs::read_to_string(&config).unwrap();
    let evil =
        format!("{clean}[filter \"x\"]\n\tsmudge = {0}\n[merge \"x\"]\n\tdriver = {0}\n", program.display());
    std::fs::write(&config, evil).unwrap();
    let error = f.forge.merge(PROJECT, &request("work", &head, "k")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Git(GitError::UntrustedConfig(_))), "{error}");
    std::fs::write(&config, clean).unwrap();
    // With the attributes alone, names without a program behind them, nothing runs and all works.
    f.forge.merge(PROJECT, &request("work", &head, "k")).await.unwrap();
    let target = WorktreeTarget::Commit(f.main_head().await);
    f.forge.add_worktree(PROJECT, Uuid::from_u128(5), &target).await.unwrap();
    assert!(!trace.exists());
}

#[tokio::test]
async fn importing_a_hostile_repository_runs_nothing_of_it() {
    let f = Fixture::empty();
    let (program, trace) = trap(f.dir.path());
    let source = f.dir.path().join("hostile");
    std::fs::create_dir(&source).unwrap();
    git(&source, &["init", "-q", "-b", "main"]);
    std::fs::write(source.join(".gitattributes"), "* filter=x\n").unwrap();
    std::fs::write(source.join(".gitmodules"), "[submodule \"s\"]\n\tpath = s\n\turl = ext::sh -c id\n")
        .unwrap();
    git(&source, &["add", "-A"]);
    git(&source, &["commit", "-q", "-m", "One"]);
    for key in [
        "filter.x.clean",
        "filter.x.smudge",
        "core.fsmonitor",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "uploadpack.packObjectsHook",
    ] {
        git(&source, &["config", key, program.to_str().unwrap()]);
    }
    for hook in ["post-checkout", "pre-upload", "reference-transaction"] {
        std::fs::create_dir_all(source.join(".git/hooks")).unwrap();
        std::fs::copy(&program, source.join(".git/hooks").join(hook)).unwrap();
    }
    let address = RemoteSource::parse(source.to_str().unwrap()).unwrap();
    let info = f.forge.import_repository(PROJECT, &address).await.unwrap();
    f.forge.add_worktree(PROJECT, Uuid::from_u128(5), &WorktreeTarget::Commit(info.head)).await.unwrap();
    assert!(!trace.exists(), "{}", std::fs::read_to_string(&trace).unwrap_or_default());
}

#[tokio::test]
async fn a_source_owned_by_another_user_can_be_imported_when_it_is_named() {
    let f = Fixture::empty();
    let source = f.dir.path().join("foreign");
    std::fs::create_dir(&source).unwrap();
    git(&source, &["init", "-q", "-b", "main"]);
    git(&source, &["commit", "-q", "--allow-empty", "-m", "One"]);
    // Only root can give files away; for others the case cannot be made, and the import is an ordinary one.
    let given =
        std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(&source).status().unwrap();
    let address = RemoteSource::parse(source.to_str().unwrap()).unwrap();
    let imported = f.forge.import_repository(PROJECT, &address).await;
    assert!(imported.is_ok(), "given away: {}, {imported:?}", given.success());
}
