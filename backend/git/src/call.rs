//! One git command line, put together so that a value cannot be read as a flag.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{GitError, RepoPath};

/// Time-out of a local command when none is set: such commands end within milliseconds; a cold disk may need longer.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Output limit in bytes when none is set.
const DEFAULT_MAX_OUTPUT: usize = 8 * 1024 * 1024;

/// Where git works. The repository is always named, never searched for.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) git_dir: Option<PathBuf>,
    pub(crate) work_tree: Option<PathBuf>,
    pub(crate) index: Option<PathBuf>,
    pub(crate) cwd: PathBuf,
}

impl Place {
    /// No repository, for `init` and `ls-remote`; `cwd` must exist.
    pub fn nowhere(cwd: &Path) -> Self {
        Self { git_dir: None, work_tree: None, index: None, cwd: cwd.to_owned() }
    }

    /// A bare repository.
    pub fn bare(dir: &Path) -> Self {
        Self { git_dir: Some(dir.to_owned()), work_tree: None, index: None, cwd: dir.to_owned() }
    }

    /// A worktree and its administrative directory inside the bare repository.
    pub fn worktree(git_dir: &Path, work_tree: &Path) -> Self {
        Self {
            git_dir: Some(git_dir.to_owned()),
            work_tree: Some(work_tree.to_owned()),
            index: None,
            cwd: work_tree.to_owned(),
        }
    }
}

/// What git reads on its standard input.
#[derive(Debug)]
pub enum Input {
    /// Nothing.
    Nothing,
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing, but git inherits the open lock file, and with it the lock, until it ends.
    Lock(File),
}

/// A command line in the making.
#[derive(Debug)]
pub struct Call {
    pub(crate) verb: &'static str,
    pub(crate) place: Place,
    flags: Vec<OsString>,
    operands: Vec<OsString>,
    paths: Option<Vec<OsString>>,
    end_of_options: bool,
    pub(crate) env: Vec<(&'static str, OsString)>,
    pub(crate) input: Input,
    pub(crate) timeout: Duration,
    pub(crate) max_output: usize,
    pub(crate) cut_output: bool,
    pub(crate) accepted: &'static [i32],
    pub(crate) protocols: &'static str,
}

impl Call {
    /// Starts the command line of one subcommand.
    pub fn new(verb: &'static str, place: &Place) -> Self {
        Self {
            verb,
            place: place.clone(),
            flags: Vec::new(),
            operands: Vec::new(),
            paths: None,
            end_of_options: true,
            env: Vec::new(),
            input: Input::Nothing,
            timeout: DEFAULT_TIMEOUT,
            max_output: DEFAULT_MAX_OUTPUT,
            cut_output: false,
            accepted: &[0],
            protocols: "",
        }
    }

    /// Adds flags; being `'static`, they come from this code and never from a value.
    #[must_use]
    pub fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags.extend(flags.iter().map(OsString::from));
        self
    }

    /// Adds a flag with its value in one word, as in `--max-count=20`.
    #[must_use]
    pub fn flag_with(mut self, prefix: &'static str, value: impl Display) -> Self {
        self.flags.push(format!("{prefix}{value}").into());
        self
    }

    /// Adds an operand, written after `--end-of-options`; one that starts with `-` makes the run fail.
    #[must_use]
    pub fn operand(mut self, value: impl Into<OsString>) -> Self {
        self.operands.push(value.into());
        self
    }

    /// Leaves `--end-of-options` out, for the few subcommands that do not know it.
    #[must_use]
    pub fn without_end_of_options(mut self) -> Self {
        self.end_of_options = false;
        self
    }

    /// Adds paths, written after `--`. They are literal: no wildcards, no pathspec magic.
    #[must_use]
    pub fn paths<'a>(mut self, paths: impl IntoIterator<Item = &'a RepoPath>) -> Self {
        let list = self.paths.get_or_insert_default();
        list.extend(paths.into_iter().map(|p| OsString::from(p.as_str())));
        self
    }

    /// Sets one variable of git's environment.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Sets the standard input.
    #[must_use]
    pub fn input(mut self, input: Input) -> Self {
        self.input = input;
        self
    }

    /// Sets the time-out.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the output limit in bytes; more makes the run fail.
    #[must_use]
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    /// Sets the output limit in bytes; at the limit git is stopped and the output so far is the answer.
    #[must_use]
    pub fn cut_output_at(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self.cut_output = true;
        self
    }

    /// Sets the exit codes that are answers and not failures.
    #[must_use]
    pub fn accept(mut self, codes: &'static [i32]) -> Self {
        self.accepted = codes;
        self
    }

    /// Allows transports, as a list with colons between (`https:ssh`); none is allowed otherwise.
    #[must_use]
    pub fn protocols(mut self, protocols: &'static str) -> Self {
        self.protocols = protocols;
        self
    }

    /// The words after the global options.
    pub(crate) fn words(&self) -> Result<Vec<OsString>, GitError> {
        let values = self.operands.iter().chain(self.paths.iter().flatten());
        for value in values {
            let bytes = value.as_encoded_bytes();
            if bytes.is_empty() || bytes.starts_with(b"-") || bytes.contains(&0) {
                return Err(GitError::Invalid(
                    "a value given to git is empty, starts with a dash or holds a NUL character".into(),
                ));
            }
        }
        let mut words = vec![OsString::from(self.verb)];
        words.extend(self.flags.iter().cloned());
        if self.end_of_options && !self.operands.is_empty() {
            words.push("--end-of-options".into());
        }
        words.extend(self.operands.iter().cloned());
        if let Some(paths) = &self.paths {
            words.push("--".into());
            words.extend(paths.iter().cloned());
        }
        Ok(words)
    }
}

/// What a run of git gave.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code, one of the accepted ones; 0 when the output was cut.
    pub code: i32,
    /// The standard output.
    pub stdout: Vec<u8>,
    /// Whether the output was cut at the limit.
    pub truncated: bool,
    /// The standard error, bounded, with credentials replaced.
    pub stderr: String,
}

impl Output {
    /// The standard output as text, invalid bytes replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The parts of the standard output between NUL characters.
    pub fn fields(&self) -> impl Iterator<Item = String> + '_ {
        let end = self.stdout.strip_suffix(b"\0").unwrap_or(&self.stdout);
        let empty = self.stdout.is_empty();
        end.split(|b| *b == 0).filter(move |_| !empty).map(|f| String::from_utf8_lossy(f).into_owned())
    }
}
