//! Names from outside: never more than git allows, never a flag.

use std::process::Command;

use proptest::prelude::*;
use syndarix_git::{BranchName, Call, Git, GitError, ObjectId, Place, RepoPath, Revision};

/// What git itself says of `refs/heads/<name>`.
fn git_allows(name: &str) -> bool {
    Command::new("git").args(["check-ref-format", &format!("refs/heads/{name}")]).status().unwrap().success()
}

/// The names we refuse although git could store them.
fn is_ours_to_refuse(name: &str) -> bool {
    name.starts_with('-') || name == "HEAD" || name == "@" || name.len() > 200
}

/// Names made of the pieces that the rules are about.
fn suspicious_name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9_]{1,4}",
        "[\\x01-\\x7f]",
        Just("/".to_owned()),
        Just(".".to_owned()),
        Just("..".to_owned()),
        Just(".lock".to_owned()),
        Just(".LOCK".to_owned()),
        Just("@".to_owned()),
        Just("@{".to_owned()),
        Just("{".to_owned()),
        Just("-".to_owned()),
        Just("HEAD".to_owned()),
        Just("ü".to_owned()),
        Just("\u{202e}".to_owned()),
    ];
    proptest::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_branch_name_is_accepted_exactly_when_git_accepts_it_and_our_rules_do(name in suspicious_name()) {
        let expected = git_allows(&name) && !is_ours_to_refuse(&name);
        prop_assert_eq!(BranchName::new(name.as_str()).is_ok(), expected, "{:?}", name);
    }
}

proptest! {
    #[test]
    fn whatever_is_accepted_starts_with_no_dash_and_holds_no_control_character(text in "\\PC*|.*") {
        let accepted = [
            BranchName::new(text.as_str()).map(|n| n.to_string()),
            Revision::new(text.as_str()).map(|r| r.to_string()),
            RepoPath::new(text.as_str()).map(|p| p.to_string()),
            ObjectId::new(text.as_str()).map(|i| i.to_string()),
        ];
        for value in accepted.into_iter().flatten() {
            prop_assert!(!value.is_empty() && !value.starts_with('-') && !value.chars().any(|c| c.is_ascii_control()));
        }
    }

    #[test]
    fn a_path_never_leaves_the_repository_nor_enters_dot_git(
        pieces in proptest::collection::vec("[a-z]{1,3}|\\.|\\.\\.|\\.git|\\.GIT||/", 1..7)
    ) {
        if let Ok(path) = RepoPath::new(pieces.join("/")) {
            let parts: Vec<&str> = path.as_str().split('/').collect();
            prop_assert!(parts.iter().all(|p| !["", ".", ".."].contains(p) && !p.eq_ignore_ascii_case(".git")));
        }
    }
}

#[test]
fn what_people_write_is_accepted() {
    for name in ["main", "feature/x-1", "release-1.2", "ünïcode", "a@b", "v1.lockdown"] {
        assert!(BranchName::new(name).is_ok(), "{name}");
    }
    for revision in
        ["HEAD", "HEAD~2", "main^", "main^2~1", "v1.0", "feature/x", "abc1234", "HEAD@{1}", "main^{commit}"]
    {
        assert!(Revision::new(revision).is_ok(), "{revision}");
    }
    assert_eq!(RepoPath::new("./src/").unwrap().as_str(), "src");
    assert!(BranchName::new("a".repeat(201)).is_err());
}

#[tokio::test]
async fn an_operand_that_starts_with_a_dash_is_refused_before_git_starts() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path()).unwrap();
    for operand in ["--output=x", "-c", "", "a\0b"] {
        let call = Call::new("version", &Place::nowhere(dir.path())).operand(operand);
        let error = git.run(call).await.unwrap_err();
        assert!(matches!(error, GitError::Invalid(_)), "{operand}: {error}");
    }
}
