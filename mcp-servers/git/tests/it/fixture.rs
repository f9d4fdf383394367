//! A project with a repository and a run whose worktree is on a branch of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use syndarix_git::{
    BranchName, CheckedOut, Expected, Git, Identity, NewFiles, ObjectId, RepoPath, Repository,
};
use syndarix_mcp_git::{DEFAULT_BRANCH_PREFIX, GitTools, server};
use syndarix_mcp_kit::testing::{Answer, Bench, Client, Started};
use tempfile::TempDir;

pub(crate) const BRANCH: &str = "syndarix/story-1";

pub(crate) struct Fixture {
    pub(crate) bench: Bench,
    pub(crate) dir: TempDir,
    pub(crate) repository: Repository,
    pub(crate) client: Client,
    running: Started,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_backend(None).await
    }

    pub(crate) async fn with_backend(backend: Option<String>) -> Self {
        let mut bench = Bench::new();
        bench.branch = Some(BRANCH.to_owned());
        bench.backend_url = backend.map(|url| url.parse().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let git = Git::new(&dir.path().join("home")).unwrap();
        let repositories = dir.path().join("repositories");
        std::fs::create_dir(&repositories).unwrap();
        let main = branch("main");
        let bare = repositories.join(format!("{}.git", bench.project));
        let repository = Repository::init(&git, &bare, &main).await.unwrap();
        let files = [("README.md", "# Demo\n"), ("src/a.py", "a = 1\nb = 2\n")];
        let first = add_commit(&repository, "main", &files).await;
        let lock = repository.lock().await.unwrap();
        repository.update_branch(&branch(BRANCH), &first, &Expected::Missing, &lock).await.unwrap();
        let shows = CheckedOut::Branch(branch(BRANCH));
        repository.add_worktree(&bench.worktree(), &shows, &lock).await.unwrap();
        drop(lock);
        let running = bench.start(server(GitTools::new(git, &repositories, DEFAULT_BRANCH_PREFIX))).await;
        let client = bench.client(&running, &["git:read", "git:write"]).await;
        Self { bench, dir, repository, client, running }
    }

    /// The same agent in a run that may move this branch, or none.
    pub(crate) async fn client_of(&mut self, branch: Option<&str>) -> Client {
        let before = std::mem::replace(&mut self.bench.branch, branch.map(ToOwned::to_owned));
        let client = self.bench.client(&self.running, &["git:read", "git:write"]).await;
        self.bench.branch = before;
        client
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.bench.worktree().join(file)
    }

    pub(crate) fn write(&self, file: &str, content: &str) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) async fn ok(&self, tool: &str, arguments: Value) -> Value {
        self.client.ok(tool, arguments).await
    }

    pub(crate) async fn fails(&self, tool: &str, arguments: Value) -> String {
        self.client.fails(tool, arguments).await
    }

    pub(crate) async fn step(&self, step: &str, tool: &str, arguments: Value) -> Answer {
        self.client.try_call(tool, arguments, Some(step)).await.unwrap()
    }

    pub(crate) async fn commit(&self, message: &str) -> Value {
        self.ok("commit", json!({ "message": message })).await
    }

    /// A commit on the default branch, as a merged pull request makes one.
    pub(crate) async fn main_moves(&self, files: &[(&str, &str)]) -> ObjectId {
        add_commit(&self.repository, "main", files).await
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(self.repository.dir(), args)
    }
}

pub(crate) fn branch(name: &str) -> BranchName {
    BranchName::new(name).unwrap()
}

async fn add_commit(repository: &Repository, name: &str, files: &[(&str, &str)]) -> ObjectId {
    let parent = repository.branch_head(&branch(name)).await.unwrap();
    let files: Vec<_> =
        files.iter().map(|(path, text)| (RepoPath::new(*path).unwrap(), text.as_bytes().to_vec())).collect();
    let author = Identity::new("Ada", "ada@example.org").unwrap();
    let new = NewFiles {
        parent: parent.as_ref(),
        files: &files,
        message: "Change\n",
        author: &author,
        at: 1_700_000_000,
    };
    let commit = repository.write_commit_of_files(&new, &repository.dir().join("scratch")).await.unwrap();
    let lock = repository.lock().await.unwrap();
    let expected = parent.map_or(Expected::Missing, Expected::At);
    repository.update_branch(&branch(name), &commit, &expected, &lock).await.unwrap();
    commit
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
