//! A bare repository or one of its worktrees, opened for reading; the writing parts are in the sibling modules.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::guard::check_config;
use crate::{
    BranchName, Call, FileLock, Git, GitError, Identity, ObjectId, Output, Place, RemoteSource, Revision,
};

/// The configuration of every repository made here; `git init` is not left a say.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
/// Longest wait for a repository's lock: a merge in a large repository holds it for seconds.
const LOCK_LIMIT: Duration = Duration::from_secs(60);
/// Name of the lock file in the bare repository.
const LOCK_FILE: &str = "syndarix.lock";
/// Longest fetch of a whole repository.
const FETCH_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Longest question to a remote about its branches.
const LS_REMOTE_LIMIT: Duration = Duration::from_secs(60);

/// A repository whose configuration was checked.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) git: Git,
    pub(crate) bare: PathBuf,
    pub(crate) place: Place,
}

impl Repository {
    /// Opens a bare repository; refuses one whose configuration could start a program.
    pub fn open(git: &Git, bare: &Path) -> Result<Self, GitError> {
        if !bare.join("HEAD").is_file() {
            return Err(GitError::NotFound("the repository".into()));
        }
        let bare = bare.canonicalize().map_err(GitError::io("opening the repository"))?;
        check_config(&bare)?;
        let place = Place::bare(&bare);
        Ok(Self { git: git.clone(), bare, place })
    }

    /// Makes an empty bare repository whose default branch is `branch`; `bare` must not exist.
    pub async fn init(git: &Git, bare: &Path, branch: &BranchName) -> Result<Self, GitError> {
        let parent = bare.parent().unwrap_or(Path::new("/"));
        let call = Call::new("init", &Place::nowhere(parent))
            .flags(&["--quiet", "--bare", "--template="])
            .flag_with("--initial-branch=", branch)
            .operand(bare);
        git.run(call).await?;
        std::fs::write(bare.join("config"), CONFIG)
            .map_err(GitError::io("writing the repository's configuration"))?;
        Self::open(git, bare)
    }

    /// Copies all branches and tags of `source` into this repository and gives the source's default branch, when it
    /// names one.
    pub async fn fetch_all(&self, source: &RemoteSource) -> Result<Option<BranchName>, GitError> {
        let fetch = self
            .call("fetch")
            .flags(&[
                "--quiet",
                "--no-tags",
                "--prune",
                "--force",
                "--no-write-fetch-head",
                "--update-shallow",
                "--no-recurse-submodules",
            ])
            .operand(source.argument())
            .operand("+refs/heads/*:refs/heads/*")
            .operand("+refs/tags/*:refs/tags/*")
            .protocols(source.protocol())
            .timeout(FETCH_LIMIT);
        self.git.run(fetch).await?;
        let head = self
            .call("ls-remote")
            .flags(&["--quiet", "--symref"])
            .operand(source.argument())
            .operand("HEAD")
            .protocols(source.protocol())
            .timeout(LS_REMOTE_LIMIT);
        let answer = self.git.run(head).await?.text();
        let name = answer
            .lines()
            .filter_map(|line| line.strip_prefix("ref: refs/heads/"))
            .find_map(|rest| rest.split('\t').next());
        Ok(name.and_then(|name| BranchName::new(name).ok()))
    }

    /// The directory of the bare repository.
    pub fn dir(&self) -> &Path {
        &self.bare
    }

    /// Takes the lock under which refs are moved and worktrees are made and removed.
    pub async fn lock(&self) -> Result<FileLock, GitError> {
        FileLock::acquire(&self.bare.join(LOCK_FILE), LOCK_LIMIT).await
    }

    /// The commit a revision names.
    pub async fn resolve(&self, revision: &Revision) -> Result<ObjectId, GitError> {
        self.rev_parse(&format!("{revision}^{{commit}}"))
            .await?
            .ok_or_else(|| GitError::NotFound(format!("the revision {revision}")))
    }

    /// The id an expression of this code names, or `None`.
    pub(crate) async fn rev_parse(&self, expression: &str) -> Result<Option<ObjectId>, GitError> {
        let call = self
            .call("rev-parse")
            .flags(&["--verify", "--quiet"])
            .operand(expression)
            // 128 is an ambiguous short id or a path that is not there, 1 a name that is not there.
            .accept(&[0, 1, 128]);
        let output = self.git.run(call).await?;
        if output.code != 0 { Ok(None) } else { ObjectId::new(output.text().trim()).map(Some) }
    }

    /// The best common ancestor of two commits, when they have one.
    pub async fn merge_base(&self, one: &ObjectId, other: &ObjectId) -> Result<Option<ObjectId>, GitError> {
        let call = self.call("merge-base").operand(one.as_str()).operand(other.as_str()).accept(&[0, 1]);
        let output = self.git.run(call).await?;
        if output.code == 1 { Ok(None) } else { ObjectId::new(output.text().trim()).map(Some) }
    }

    /// How many commits are only behind `left`, and how many only behind `right`.
    pub async fn distance(&self, left: &ObjectId, right: &ObjectId) -> Result<(u64, u64), GitError> {
        let call =
            self.call("rev-list").flags(&["--left-right", "--count"]).operand(format!("{left}...{right}"));
        let text = self.git.run(call).await?.text();
        let counts = text.trim().split_once('\t').and_then(|(l, r)| l.parse().ok().zip(r.parse().ok()));
        counts.ok_or_else(|| GitError::unexpected("rev-list", "the counts cannot be read"))
    }

    /// Whether `old` is `new` or one of its ancestors.
    pub async fn is_ancestor(&self, old: &ObjectId, new: &ObjectId) -> Result<bool, GitError> {
        let call = self
            .call("merge-base")
            .flags(&["--is-ancestor"])
            .operand(old.as_str())
            .operand(new.as_str())
            .accept(&[0, 1]);
        Ok(self.git.run(call).await?.code == 0)
    }

    /// The first commit on the line of first parents to `tip` that holds `old`: the merge that brought it in, or `old`
    /// itself. `old` must be an ancestor of `tip`.
    pub async fn entry_point(&self, old: &ObjectId, tip: &ObjectId) -> Result<ObjectId, GitError> {
        let call = self
            .call("rev-list")
            .flags(&["--first-parent", "--ancestry-path", "--reverse"])
            .cut_output_at(tip.as_str().len())
            .operand(tip.as_str())
            .operand(format!("^{old}"));
        let text = self.git.run(call).await?.text();
        text.lines().next().map_or_else(|| Ok(old.clone()), ObjectId::new)
    }

    /// Starts a command line in this repository.
    pub(crate) fn call(&self, verb: &'static str) -> Call {
        Call::new(verb, &self.place)
    }

    /// Runs a command line in this repository.
    pub async fn run(&self, call: Call) -> Result<Output, GitError> {
        self.git.run(call).await
    }

    /// The place to start command lines in.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

/// The variables by which git learns who wrote a commit and when; both dates are `at` (seconds since 1970, UTC).
pub(crate) fn signature_env(call: Call, author: &Identity, committer: &Identity, at: i64) -> Call {
    let date = format!("@{at} +0000");
    call.env("GIT_AUTHOR_NAME", author.name())
        .env("GIT_AUTHOR_EMAIL", author.email())
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_NAME", committer.name())
        .env("GIT_COMMITTER_EMAIL", committer.email())
        .env("GIT_COMMITTER_DATE", date)
}
