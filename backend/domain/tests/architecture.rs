//! Which crate may use which, and what must stay out of where. Each failure says why, and what to do.
//!
//! Read from the manifests, so that it holds for code that does not compile yet. Development dependencies are tests'
//! own affair, with one exception: nothing at all uses the server.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What each crate of `backend/` may use of the workspace.
const MAY_USE: &[(&str, &[&str])] = &[
    ("syndarix-domain", &[]),
    ("syndarix-git", &["syndarix-domain"]),
    ("syndarix-jobs", &["syndarix-domain"]),
    ("syndarix-bus", &["syndarix-domain"]),
    ("syndarix-llm", &["syndarix-domain"]),
    ("syndarix-mcp", &["syndarix-domain"]),
    ("syndarix-forge", &["syndarix-domain", "syndarix-git"]),
    ("syndarix-postgres", &["syndarix-domain"]),
];

/// The application: it uses them all, and nothing uses it.
const SERVER: &str = "syndarix";

/// What every MCP server stands on.
const KIT: &str = "syndarix-mcp-kit";

/// Beside each name, why the domain may have it: none of them does I/O.
const PURE: &[(&str, &str)] = &[
    ("chrono", "a type for moments; only `Utc::now` reads a clock, and the lints forbid it"),
    ("hex", "text for hashes"),
    ("serde", "names of fields"),
    ("serde_json", "values in events"),
    ("sha2", "the audit chain"),
    ("thiserror", "texts of errors"),
    ("uuid", "a type for ids; values come in as arguments"),
];

/// Ways out of a pure function.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "Utc::now",
    "Local::now",
    "Uuid::new_v4",
    "Uuid::now_v7",
    "tokio",
    "async fn",
    "static mut",
    "thread_local!",
];

/// One member of the workspace.
struct Member {
    name: String,
    /// Relative to the root: `backend/jobs`.
    folder: String,
    /// Those that end up in the built crate.
    uses: Vec<String>,
    /// All, tests included.
    mentions: Vec<String>,
}

impl Member {
    fn is_mcp_server(&self) -> bool {
        self.folder.starts_with("mcp-servers/") && self.name != KIT
    }
}

fn members() -> Vec<Member> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = Path::new(metadata["workspace_root"].as_str().unwrap());
    metadata["packages"].as_array().unwrap().iter().map(|package| member(root, package)).collect()
}

fn member(root: &Path, package: &Value) -> Member {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    let folder = manifest.parent().unwrap().strip_prefix(root).unwrap();
    let name = package["name"].as_str().unwrap().to_owned();
    let dependencies = package["dependencies"].as_array().unwrap();
    let names = |with_tests: bool| {
        let counted = dependencies.iter().filter(|dependency| with_tests || dependency["kind"] != "dev");
        let names = counted.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        names.filter(|other| *other != name).collect()
    };
    Member { uses: names(false), mentions: names(true), folder: folder.to_str().unwrap().to_owned(), name }
}

/// All files below a folder whose names end so.
fn files(folder: PathBuf, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|its| its == extension) {
                found.push(path);
            }
        }
    }
    found
}

/// Fails with one line for each member that uses something it may not.
fn refuse(breaks: impl Fn(&Member, &str) -> bool, reason: &str) {
    let mut found = Vec::new();
    for member in members() {
        let bad = member.uses.iter().filter(|dependency| breaks(&member, dependency));
        found.extend(bad.map(|dependency| format!("{}/Cargo.toml: `{dependency}`", member.folder)));
    }
    assert!(found.is_empty(), "{reason}\n  {}", found.join("\n  "));
}

fn is_ours(name: &str) -> bool {
    name == SERVER || name.starts_with("syndarix-")
}

fn is_home_of(member: &Member, homes: &[&str]) -> bool {
    homes.contains(&member.name.as_str())
}

#[test]
fn the_domain_depends_on_nothing_that_does_io() {
    refuse(
        |member, used| member.name == "syndarix-domain" && !PURE.iter().any(|(pure, _)| *pure == used),
        "syndarix-domain must stay free of I/O, or a replay could differ from what happened: remove the dependency \
         and hand the value in as an argument, or add it to PURE here with the reason why it is pure",
    );
}

#[test]
fn the_domain_reads_no_clock_no_file_and_no_network() {
    let mut found = Vec::new();
    for path in files(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "rs") {
        for (number, line) in (1..).zip(fs::read_to_string(&path).unwrap().lines()) {
            let code = line.split("//").next().unwrap();
            found.extend(
                IMPURE
                    .iter()
                    .filter(|word| code.contains(*word))
                    .map(|word| format!("{}:{number}: `{word}`", path.display())),
            );
        }
    }
    assert!(
        found.is_empty(),
        "the domain only computes: take time, ids and contents as arguments, and leave effects to the caller\n  {}",
        found.join("\n  ")
    );
}

#[test]
fn mechanisms_never_use_one_another() {
    refuse(
        |member, used| {
            let allowed = MAY_USE.iter().find(|(name, _)| *name == member.name);
            allowed.is_some_and(|(_, allowed)| is_ours(used) && !allowed.contains(&used))
        },
        "jobs, bus, llm, mcp, forge and postgres are each replaceable and tested alone: move what two of them need \
         down to syndarix-domain, or let the server join them",
    );
}

#[test]
fn nothing_uses_the_server() {
    let users: Vec<String> = members()
        .into_iter()
        .filter(|member| member.name != SERVER && member.mentions.iter().any(|used| used == SERVER))
        .map(|member| format!("{}/Cargo.toml", member.folder))
        .collect();
    assert!(
        users.is_empty(),
        "the server is the top: what something below needs of it belongs into a crate below, or is asked over HTTP \
         with a scoped token\n  {}",
        users.join("\n  ")
    );
}

#[test]
fn mcp_servers_stand_on_the_kit_and_on_nothing_else_of_ours() {
    let allowed = |member: &Member, used: &str| {
        matches!(used, KIT | "syndarix-domain")
            || (used == "syndarix-git" && member.name == "syndarix-mcp-git")
    };
    refuse(
        |member, used| member.is_mcp_server() && is_ours(used) && !allowed(member, used),
        "an MCP server is deployed alone: use the kit and the domain's ids, and call the backend with the scoped \
         token for everything else",
    );
    refuse(
        |member, used| member.name == KIT && is_ours(used) && used != "syndarix-domain",
        "the kit carries every MCP server, so that what it uses they all carry: keep it on syndarix-domain alone",
    );
}

#[test]
fn sql_is_spoken_only_where_the_database_lives() {
    let homes = ["syndarix-jobs", "syndarix-bus", "syndarix-postgres", SERVER];
    let database = |used: &str| ["sqlx", "pgvector", "tokio-postgres", "diesel"].contains(&used);
    refuse(
        |member, used| database(used) && !is_home_of(member, &homes),
        "only jobs, bus, postgres and the server know the database: an MCP server that needs Syndarix's data calls \
         the backend with its scoped token; a library hands its data to the server",
    );
}

/// Whether a line, without its comment, sends a NOTIFY: the function, or the statement with the name of a channel after it.
fn notifies(code: &str) -> bool {
    let is_name = |next: char| next.is_alphanumeric() || next == '_';
    let statement = |word: &str| {
        code.match_indices(word).any(|(at, word)| {
            let (before, after) = (code[..at].chars().next_back(), code[at + word.len()..].chars().next());
            // The channel may be quoted, also within a Rust string, or be filled in.
            before.is_none_or(|last| !is_name(last))
                && after.is_some_and(|next| is_name(next) || "\"\\{".contains(next))
        })
    };
    code.to_lowercase().contains("pg_notify") || statement("notify ") || statement("NOTIFY ")
}

#[test]
fn a_notify_is_known_from_what_only_bears_the_name() {
    for sends in [
        "select pg_notify($1, $2)",
        "notify hints",
        "\"NOTIFY hints, 'x'\"",
        "format!(\"notify {channel}\")",
        "perform PG_NOTIFY('hints', '')",
    ] {
        assert!(notifies(sends), "{sends}");
    }
    for other in ["Effect::Notify { sentence }", "approvals::notify(uow, project)", "kind = 'people.notify'"]
    {
        assert!(!notifies(other), "{other}");
    }
}

#[test]
fn only_the_relay_sends_a_notify() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let (relay, myself) =
        (root.join("backend/bus/src/relay"), root.join("backend/domain/tests/architecture.rs"));
    let code = members().into_iter().flat_map(|member| files(root.join(member.folder), "rs"));
    let texts = code.map(|path| (path, "//"));
    let texts = texts.chain(files(root.join("migrations"), "sql").into_iter().map(|path| (path, "--")));
    let (mut found, mut relayed) = (Vec::new(), 0);
    for (path, comment) in texts.filter(|(path, _)| *path != myself) {
        let text = fs::read_to_string(&path).unwrap();
        let lines = (1..).zip(text.lines()).filter(|(_, line)| notifies(line.split(comment).next().unwrap()));
        if path.starts_with(&relay) {
            relayed += lines.count();
        } else {
            found.extend(lines.map(|(number, line)| format!("{}:{number}: {}", path.display(), line.trim())));
        }
    }
    assert!(relayed > 0, "the relay sends no NOTIFY: this test looks for the wrong words");
    assert!(
        found.is_empty(),
        "a commit with a pending NOTIFY takes a lock on the whole database, and all commits wait for one another: write \
         what happened as events, and let the relay tell of them after the commit\n  {}",
        found.join("\n  ")
    );
}

#[test]
fn the_mcp_protocol_is_spoken_only_by_its_client_and_its_servers() {
    refuse(
        |member, used| {
            used == "rmcp" && member.name != "syndarix-mcp" && !member.folder.starts_with("mcp-servers/")
        },
        "rmcp changes with the protocol, and syndarix-mcp is where the client's side of that is kept: use \
         syndarix-mcp's types (MCP servers use the kit's)",
    );
}

#[test]
fn every_member_has_a_place() {
    for member in members() {
        let placed = MAY_USE.iter().any(|(name, _)| *name == member.name);
        let known = placed || member.name == SERVER || member.name == KIT || member.is_mcp_server();
        assert!(
            known,
            "{}: a new crate needs a line in MAY_USE here, and an ADR that says what earned it",
            member.folder
        );
        let flat = ["common", "core", "types", "utils", "util", "shared"];
        let last = member.folder.rsplit('/').next().unwrap();
        assert!(!flat.contains(&last), "{}: name a crate after what it is for", member.folder);
    }
    for (name, _) in MAY_USE {
        assert!(
            members().iter().any(|member| member.name == *name),
            "{name} is gone: remove its line from MAY_USE"
        );
    }
}

/// A version that a member names itself is one that the others do not build with.
#[test]
fn versions_are_kept_in_one_place() {
    let mut found = Vec::new();
    for member in members() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&member.folder).join("Cargo.toml");
        let manifest = fs::read_to_string(path).unwrap();
        let mut in_dependencies = false;
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
                let own = line.contains("path = \".\"");
                if !own && !line.contains("workspace = true") && !line.contains(".workspace") {
                    found.push(format!("{}/Cargo.toml: {line}", member.folder));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "declare the version and the features in the root's [workspace.dependencies] and write `workspace = true` \
         here: then one crate and the whole workspace build the same thing\n  {}",
        found.join("\n  ")
    );
}
