//! Finds a PostgreSQL with pgvector that the server's user can run.
//!
//! Order: the folder the caller names -> the one bundled into this binary -> the cache -> the system's. A candidate
//! counts only when it ran (`postgres --version`, as the user it will run as) and has pgvector; every rejected one
//! is remembered with its reason, for the message.

use crate::account::Account;
use crate::options::EmbeddedOptions;
use crate::{Error, bounded, home, wheel};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Oldest major version our SQL is written for.
const MIN_MAJOR: u32 = 15;
/// `postgres --version` takes milliseconds; a dead network disk must not hold up the start.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// A usable PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// Folder with `postgres`, `initdb`, `pg_dump`, ...
    pub bin_dir: PathBuf,
    /// For instance "18.6".
    pub version: String,
    /// For instance 18: data of one major version is not read by another.
    pub major: u32,
    /// Where it comes from.
    pub source: Source,
}

/// Where a PostgreSQL comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The caller named the folder.
    Explicit,
    /// Unpacked from this binary.
    Bundled,
    /// `.ci/fetch-postgres` put it into the cache.
    Cache,
    /// Installed on this machine.
    System,
}

/// No usable PostgreSQL; its message lists where we looked and what to do.
#[derive(Debug)]
pub struct NotFound {
    /// Every place looked at, in order.
    pub rejected: Vec<Rejected>,
}

/// A place that was looked at in vain.
#[derive(Debug)]
pub struct Rejected {
    /// The place.
    pub place: PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// Set when all that is wrong is that the data was written by another major version than this one.
    pub other_major: Option<u32>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no PostgreSQL with pgvector was found. Looked at:")?;
        for Rejected { place, reason, .. } in &self.rejected {
            writeln!(f, "  {}: {reason}", place.display())?;
        }
        f.write_str(
            "Run .ci/fetch-postgres, or install PostgreSQL 15 or later with pgvector, or set DATABASE_URL to a server",
        )
    }
}

impl std::error::Error for NotFound {}

/// Finds the binaries for the options' data directory: when it already holds data, only its major version counts.
pub fn find_binaries(options: &EmbeddedOptions) -> Result<Binaries, NotFound> {
    let pgdata = home::pgdata(&options.data_dir);
    let account = Account::choose(&pgdata).map_err(|error| NotFound {
        rejected: vec![Rejected { place: pgdata.clone(), reason: error.to_string(), other_major: None }],
    })?;
    find_for(options, &account, home::major_version(&pgdata))
}

pub(crate) fn find_for(
    options: &EmbeddedOptions,
    account: &Account,
    wanted: Option<u32>,
) -> Result<Binaries, NotFound> {
    let mut rejected = Vec::new();
    for (source, place) in candidates(options, &mut rejected) {
        match probe(&place, source, account) {
            Ok(found) if wanted.is_none_or(|wanted| wanted == found.major) => return Ok(found),
            Ok(found) => rejected.push(Rejected {
                place,
                reason: format!("PostgreSQL {}, but the data is of another major version", found.version),
                other_major: Some(found.major),
            }),
            Err(reason) => rejected.push(Rejected { place, reason, other_major: None }),
        }
    }
    Err(NotFound { rejected })
}

/// Turns "found, but of another major version" into an error of its own.
pub(crate) fn explain(not_found: NotFound, data_dir: &Path, wanted: Option<u32>) -> Error {
    let others: Vec<String> = not_found
        .rejected
        .iter()
        .filter_map(|place| place.other_major)
        .map(|major| major.to_string())
        .collect();
    match wanted {
        Some(wanted) if !others.is_empty() => {
            Error::MajorVersion { data_dir: data_dir.to_owned(), wanted, found: others.join(", ") }
        }
        _ => Error::NotFound(not_found),
    }
}

fn candidates(options: &EmbeddedOptions, rejected: &mut Vec<Rejected>) -> Vec<(Source, PathBuf)> {
    if let Some(explicit) = &options.binaries {
        return vec![(Source::Explicit, explicit.clone())];
    }
    let mut all = Vec::new();
    let cached = wheel::cached(&options.cache_dir);
    #[cfg(feature = "bundled")]
    match crate::bundled::unpack(&cached) {
        Ok(bin_dir) => all.push((Source::Bundled, bin_dir)),
        Err(error) => rejected.push(Rejected {
            place: cached.clone(),
            reason: format!("cannot unpack the bundled PostgreSQL: {error}"),
            other_major: None,
        }),
    }
    match wheel::bin_dir(&cached) {
        Some(bin_dir) => all.push((Source::Cache, bin_dir)),
        None => rejected.push(Rejected {
            place: cached,
            reason: "not fetched (run .ci/fetch-postgres)".into(),
            other_major: None,
        }),
    }
    all.extend(system_folders(&options.search_path).into_iter().map(|folder| (Source::System, folder)));
    all
}

/// Folders where packages put a PostgreSQL, newest version first, then those of `PATH`.
fn system_folders(search_path: &[PathBuf]) -> Vec<PathBuf> {
    let mut versioned: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix, suffix) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
    ] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let major = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
            versioned.extend(major.map(|major| (major, entry.path().join(suffix))));
        }
    }
    versioned.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    let on_path = search_path.iter().filter_map(|folder| {
        // Wrappers and links (`/usr/bin/postgres`) lead to the folder where the rest lies too.
        folder.join("postgres").canonicalize().ok()?.parent().map(Path::to_owned)
    });
    let mut all: Vec<PathBuf> = Vec::new();
    for folder in versioned.into_iter().map(|(_, folder)| folder).chain(on_path) {
        if !all.contains(&folder) {
            all.push(folder);
        }
    }
    all
}

fn probe(bin_dir: &Path, source: Source, account: &Account) -> Result<Binaries, String> {
    for name in ["postgres", "initdb"] {
        if !bin_dir.join(name).is_file() {
            return Err(format!("has no {name}"));
        }
    }
    if let Some(blocked) = account.blocked_at(bin_dir) {
        let (user, blocked) = (&account.name, blocked.display());
        return Err(format!(
            "user {user}, who runs the server, may not enter {blocked} (chmod o+x {blocked})"
        ));
    }
    let mut command = account.command(&bin_dir.join("postgres"));
    let output = bounded::output(command.arg("--version"), VERSION_LIMIT)
        .map_err(|error| format!("does not run: {error}"))?;
    if !output.status.success() {
        return Err(format!("does not run: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let (version, major) = parse_version(&String::from_utf8_lossy(&output.stdout))
        .ok_or("`postgres --version` says nothing we understand")?;
    if major < MIN_MAJOR {
        return Err(format!("PostgreSQL {version} is too old"));
    }
    if !has_vector(bin_dir, major) {
        return Err(format!("PostgreSQL {version} without pgvector"));
    }
    Ok(Binaries { bin_dir: bin_dir.to_owned(), version, major, source })
}

/// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" -> ("15.18", 15)
fn parse_version(line: &str) -> Option<(String, u32)> {
    let version = line.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((version.to_owned(), digits.parse().ok()?))
}

fn has_vector(bin_dir: &Path, major: u32) -> bool {
    let prefix = bin_dir.parent().unwrap_or(bin_dir);
    [
        prefix.join("share/extension"),
        prefix.join("share/postgresql/extension"),
        prefix.join(format!("share/postgresql@{major}/extension")),
        PathBuf::from(format!("/usr/share/postgresql/{major}/extension")),
        PathBuf::from(format!("/usr/share/postgresql{major}/extension")),
        PathBuf::from("/usr/share/pgsql/extension"),
    ]
    .iter()
    .any(|folder| folder.join("vector.control").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let debian = parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n");
        assert_eq!(debian, Some(("15.18".into(), 15)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1\n"), Some(("19beta1".into(), 19)));
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn a_named_folder_without_postgres_is_refused_and_nothing_else_is_tried() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = EmbeddedOptions::platform_default(|_| None).in_dir(dir.path());
        options.binaries = Some(dir.path().to_owned());
        let message = find_binaries(&options).unwrap_err().to_string();
        assert!(message.contains("has no postgres") && message.contains(".ci/fetch-postgres"), "{message}");
    }
}
