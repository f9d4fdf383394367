//! Time-outs, limits, and an environment that git gets from nobody.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use syndarix_git::{BranchName, Call, Git, GitError, Input, Place, Repository};

/// A stand-in for git that does what `script` says.
fn fake_git(dir: &Path, script: &str) -> Git {
    let program = dir.join("fake-git");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Git::with_program(&program, &dir.join("home")).unwrap()
}

fn call(dir: &Path) -> Call {
    Call::new("status", &Place::nowhere(dir))
}

async fn gone(pid_file: &Path) -> bool {
    let pid = std::fs::read_to_string(pid_file).unwrap().trim().to_owned();
    for _ in 0..100 {
        let stat =
            std::fs::read_to_string(PathBuf::from("/proc").join(&pid).join("stat")).unwrap_or_default();
        // A zombie that nobody has waited for is as good as gone.
        if stat.is_empty() || stat.contains(") Z") {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn a_time_out_ends_git_and_what_git_started() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let git = fake_git(dir.path(), &format!("sleep 60 & echo $! > {}; wait", pid.display()));
    let start = Instant::now();
    let error = git.run(call(dir.path()).timeout(Duration::from_millis(500))).await.unwrap_err();
    assert!(matches!(error, GitError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(gone(&pid).await);
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_git_and_what_git_started() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let git = fake_git(dir.path(), &format!("sleep 60 & echo $! > {}; wait", pid.display()));
    let run = git.run(call(dir.path()));
    let cancelled = tokio::time::timeout(Duration::from_millis(700), run).await;
    assert!(cancelled.is_err());
    assert!(gone(&pid).await);
}

#[tokio::test]
async fn endless_output_is_an_error_or_cut_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let git = fake_git(dir.path(), "yes");
    let error = git.run(call(dir.path()).max_output(1000)).await.unwrap_err();
    assert!(matches!(error, GitError::TooMuchOutput { limit: 1000, .. }), "{error}");
    let output = git.run(call(dir.path()).cut_output_at(1000)).await.unwrap();
    assert!(output.truncated && output.stdout.len() == 1000);
    let exact = fake_git(dir.path(), "printf 12345");
    assert!(!exact.run(call(dir.path()).cut_output_at(5)).await.unwrap().truncated);
}

#[tokio::test]
async fn endless_errors_are_read_but_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let git = fake_git(dir.path(), "yes https://u:pw@h/x | head -c 1000000 >&2; exit 3");
    let Err(GitError::Failed { code, stderr, .. }) = git.run(call(dir.path())).await else {
        panic!("no failure")
    };
    assert_eq!(code, 3);
    assert!(stderr.len() < 16_000 && !stderr.contains("pw@"));
}

#[tokio::test]
async fn git_that_does_not_read_its_input_does_not_block_us() {
    let dir = tempfile::tempdir().unwrap();
    let git = fake_git(dir.path(), "exec <&-; sleep 0.2; echo done");
    let big = vec![b'x'; 4 * 1024 * 1024];
    let output = git.run(call(dir.path()).input(Input::Bytes(big))).await.unwrap();
    assert_eq!(output.text(), "done\n");
}

#[tokio::test]
async fn git_sees_no_environment_but_ours() {
    let dir = tempfile::tempdir().unwrap();
    let git = fake_git(dir.path(), "env | cut -d= -f1 | sort");
    let names = git.run(call(dir.path())).await.unwrap().text();
    // PWD is the shell's own.
    let foreign: Vec<&str> = names
        .lines()
        .filter(|name| {
            !name.starts_with("GIT_")
                && !["HOME", "PATH", "LC_ALL", "TZ", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)
        })
        .filter(|name| !["XDG_CONFIG_HOME", "SSH_ASKPASS"].contains(name))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let set =
        fake_git(dir.path(), "echo $GIT_ALLOW_PROTOCOL-$GIT_TERMINAL_PROMPT-$GIT_CONFIG_NOSYSTEM-$GIT_DIR");
    assert_eq!(set.run(call(dir.path())).await.unwrap().text(), "-0-1-\n");
}

#[tokio::test]
async fn no_transport_is_open_unless_the_call_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(&dir.path().join("home")).unwrap();
    let bare = dir.path().join("r.git");
    let repository = Repository::init(&git, &bare, &BranchName::new("main").unwrap()).await.unwrap();
    let trace = dir.path().join("trace");
    for address in
        [bare.to_str().unwrap(), "https://127.0.0.1:1/x", &format!("ext::touch {}", trace.display())]
    {
        let fetch = Call::new("fetch", repository.place()).operand(address);
        let Err(GitError::Failed { stderr, .. }) = git.run(fetch).await else {
            panic!("{address} was fetched")
        };
        assert!(stderr.contains("not allowed"), "{address}: {stderr}");
    }
    assert!(!trace.exists());
}

#[tokio::test]
async fn git_has_the_version_the_merges_need() {
    let dir = tempfile::tempdir().unwrap();
    let version = Git::new(dir.path()).unwrap().version().await.unwrap();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    // `merge-tree --write-tree` with `-z` and `--no-messages`, and trailers with `key=`.
    assert!((parts.next().unwrap(), parts.next().unwrap()) >= (2, 40), "{version}");
}

#[tokio::test]
async fn a_missing_program_is_said_plainly() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::with_program(Path::new("/nowhere/git"), dir.path()).unwrap();
    let error = git.run(call(dir.path())).await.unwrap_err();
    assert_eq!(error.to_string(), "git status could not be run");
}
