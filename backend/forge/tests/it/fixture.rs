//! A forge in a temporary directory, with a demo repository and branches to merge.

use std::path::Path;
use std::process::Command;

use syndarix_forge::{
    BranchName, Forge as _, Git, Identity, InitialCommit, Key, LocalForge, MergeRequest, ObjectId, RepoPath,
    WorktreeTarget,
};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const PROJECT: Uuid = Uuid::from_u128(1);

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) forge: LocalForge,
}

impl Fixture {
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let forge = forge_at(dir.path());
        Self { dir, forge }
    }

    pub(crate) async fn with_demo() -> Self {
        let fixture = Self::empty();
        fixture.forge.create_repository(PROJECT, &demo()).await.unwrap();
        fixture
    }

    pub(crate) async fn main_head(&self) -> ObjectId {
        self.forge.head(PROJECT, &branch("main")).await.unwrap().unwrap()
    }

    /// A branch off the current main with one commit that writes `content` to `file`.
    pub(crate) async fn branch_with(&self, name: &str, file: &str, content: &str) -> ObjectId {
        let base = self.main_head().await;
        self.forge.create_branch(PROJECT, &branch(name), &base).await.unwrap();
        self.commit_on(name, file, content).await
    }

    pub(crate) async fn commit_on(&self, name: &str, file: &str, content: &str) -> ObjectId {
        let run = Uuid::from_u128(0xf00d);
        let target = WorktreeTarget::Branch(branch(name));
        let worktree = self.forge.add_worktree(PROJECT, run, &target).await.unwrap();
        std::fs::write(worktree.path.join(file), content).unwrap();
        git(&worktree.path, &["add", "-A"]);
        git(&worktree.path, &["commit", "-q", "-m", "Change it"]);
        self.forge.remove_worktree(PROJECT, run).await.unwrap();
        self.forge.head(PROJECT, &branch(name)).await.unwrap().unwrap()
    }

    pub(crate) fn bare_git(&self, args: &[&str]) -> String {
        git(&self.forge.repository_path(PROJECT), args)
    }
}

pub(crate) fn forge_at(dir: &Path) -> LocalForge {
    let git = Git::new(&dir.join("git-home")).unwrap();
    LocalForge::new(git, &dir.join("repositories"), &dir.join("workspaces")).unwrap()
}

pub(crate) fn demo() -> Vec<InitialCommit> {
    let commit = |message: &str, at, files: &[(&str, &str)]| InitialCommit {
        message: message.into(),
        author: someone(),
        at,
        files: files
            .iter()
            .map(|(path, text)| (RepoPath::new(*path).unwrap(), text.as_bytes().to_vec()))
            .collect(),
    };
    vec![
        commit(
            "Start\n\nThe first commit.",
            1_700_000_000,
            &[("README.md", "# Demo\n"), ("src/a b.py", "a = 1\n")],
        ),
        commit("Add a test", 1_700_000_100, &[("tests/test_a.py", "def test(): pass\n")]),
    ]
}

pub(crate) fn branch(name: &str) -> BranchName {
    BranchName::new(name).unwrap()
}

pub(crate) fn someone() -> Identity {
    Identity::new("Ada", "ada@example.org").unwrap()
}

pub(crate) fn request(head_branch: &str, expected_head: &ObjectId, key: &str) -> MergeRequest {
    MergeRequest {
        base_branch: branch("main"),
        head_branch: branch(head_branch),
        expected_head: expected_head.clone(),
        title: format!("Merge {head_branch}"),
        body: "Why it is good.\n\nSyndarix-Key: forged".into(),
        story: Some(Key::new("story-1").unwrap()),
        pull_request: Some(Key::new("pr-1").unwrap()),
        author: someone(),
        committer: Identity::new("Syndarix", "merge@syndarix.local").unwrap(),
        at: 1_700_001_000,
        key: Key::new(key).unwrap(),
    }
}

/// Plain git, as a person would run it.
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Bob", "-c", "user.email=bob@example.org", "-c", "safe.directory=*"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
