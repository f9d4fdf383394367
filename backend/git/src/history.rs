//! The commits behind a revision.

use serde::Serialize;

use crate::{GitError, Key, ObjectId, RepoPath, Repository};

/// Most commits of one answer.
const MAX_COMMITS: u32 = 1000;
/// Most bytes of one answer of git; long messages end the list early.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Between the fields of a commit: NUL, which no message can hold.
const FORMAT: &str = "--format=%H%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ct%x00%s%x00%b";
const FIELDS: usize = 9;

/// One commit of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// The commit.
    pub id: ObjectId,
    /// Its parents, first parent first.
    pub parents: Vec<ObjectId>,
    /// The author's name.
    pub author: String,
    /// The author's e-mail address.
    pub author_email: String,
    /// When it was written, in seconds since 1970 (UTC).
    pub authored_at: i64,
    /// The committer's name.
    pub committer: String,
    /// When it was committed, in seconds since 1970 (UTC).
    pub committed_at: i64,
    /// The first line of the message.
    pub subject: String,
    /// The rest of the message, trailers included.
    pub body: String,
}

/// What a log is asked for.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Most commits; at most 1000 are given.
    pub limit: u32,
    /// Commits to pass over, to go on where the last answer ended.
    pub skip: u32,
    /// Only commits that touched these paths.
    pub paths: Vec<RepoPath>,
    /// Leave out what this commit already holds.
    pub not_in: Option<ObjectId>,
}

/// A commit found by its trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailerHit {
    /// The commit.
    pub id: ObjectId,
    /// Its parents, first parent first.
    pub parents: Vec<ObjectId>,
}

impl Repository {
    /// The commits reachable from `from`, newest first.
    pub async fn log(&self, from: &ObjectId, query: &LogQuery) -> Result<Vec<LogEntry>, GitError> {
        let mut call = self
            .call("log")
            .flags(&["-z", "--no-color", "--no-show-signature", "--no-mailmap", FORMAT])
            .flag_with("--max-count=", query.limit.clamp(1, MAX_COMMITS))
            .flag_with("--skip=", query.skip)
            .cut_output_at(MAX_BYTES)
            .operand(from.as_str());
        if let Some(known) = &query.not_in {
            call = call.operand(format!("^{known}"));
        }
        let output = self.git.run(call.paths(&query.paths)).await?;
        let fields: Vec<String> = output.fields().collect();
        fields.chunks_exact(FIELDS).map(parse_entry).collect()
    }

    /// One commit.
    pub async fn commit(&self, id: &ObjectId) -> Result<LogEntry, GitError> {
        let query = LogQuery { limit: 1, ..LogQuery::default() };
        self.log(id, &query).await?.pop().ok_or_else(|| GitError::NotFound(format!("the commit {id}")))
    }

    /// The newest commit whose trailer `name` has the value `key`, among the newest `depth` commits behind `from`.
    /// With `first_parent`, only the line of first parents is walked: for a base branch, its own merges.
    pub async fn find_trailer(
        &self,
        from: &ObjectId,
        name: &'static str,
        key: &Key,
        depth: u32,
        first_parent: bool,
    ) -> Result<Vec<TrailerHit>, GitError> {
        let mut call = self
            .call("log")
            .flags(&["-z", "--no-color", "--no-show-signature"])
            .flag_with("--max-count=", depth)
            .flag_with(
                "--format=%H%x00%P%x00%(trailers:valueonly,unfold,separator=%x2C,key=",
                format_args!("{name})"),
            );
        if first_parent {
            call = call.flags(&["--first-parent"]);
        }
        let fields: Vec<String> = self.git.run(call.operand(from.as_str())).await?.fields().collect();
        let hits =
            fields.chunks_exact(3).filter(|f| f[2].split(',').any(|value| value.trim() == key.as_str()));
        hits.map(|f| Ok(TrailerHit { id: ObjectId::new(&*f[0])?, parents: parse_ids(&f[1])? })).collect()
    }
}

fn parse_entry(fields: &[String]) -> Result<LogEntry, GitError> {
    let number = |text: &str| {
        text.parse().map_err(|_| GitError::unexpected("log", "a date is not a number of seconds"))
    };
    Ok(LogEntry {
        id: ObjectId::new(&*fields[0])?,
        parents: parse_ids(&fields[1])?,
        author: fields[2].clone(),
        author_email: fields[3].clone(),
        authored_at: number(&fields[4])?,
        committer: fields[5].clone(),
        committed_at: number(&fields[6])?,
        subject: fields[7].clone(),
        body: fields[8].trim_end().to_owned(),
    })
}

fn parse_ids(text: &str) -> Result<Vec<ObjectId>, GitError> {
    text.split_whitespace().map(ObjectId::new).collect()
}
