use std::sync::Arc;

use syndarix_forge::{Forge as _, ForgeError, GitError, MergeOutcome, MergePreview, ObjectId};

use crate::fixture::{Fixture, PROJECT, branch, forge_at, request};

fn merged(outcome: &MergeOutcome) -> &ObjectId {
    match outcome {
        MergeOutcome::Merged { commit } | MergeOutcome::AlreadyMerged { commit } => commit,
        other => panic!("not merged: {other:?}"),
    }
}

#[tokio::test]
async fn a_merge_has_two_parents_the_trailers_and_the_given_date() {
    let f = Fixture::with_demo().await;
    let base = f.main_head().await;
    let head = f.branch_with("work", "new", "x\n").await;
    assert_eq!(f.forge.merge_preview(PROJECT, &base, &head).await.unwrap(), MergePreview::Clean);
    let outcome = f.forge.merge(PROJECT, &request("work", &head, "k1")).await.unwrap();
    let MergeOutcome::Merged { commit } = outcome else { panic!("{outcome:?}") };
    assert_eq!(f.main_head().await, commit);
    let shown = f.bare_git(&["log", "-1", "--format=%P|%an|%cn|%at|%ct|%s|%(trailers:only)", "main"]);
    let expected = format!(
        "{base} {head}|Ada|Syndarix|1700001000|1700001000|Merge work|\
         Story: story-1\nPull-Request: pr-1\nSyndarix-Key: k1\n"
    );
    assert_eq!(shown.trim(), expected.trim());
}

#[tokio::test]
async fn repeating_a_merge_gives_the_same_commit() {
    let f = Fixture::with_demo().await;
    let head = f.branch_with("work", "new", "x\n").await;
    let first = f.forge.merge(PROJECT, &request("work", &head, "k1")).await.unwrap();
    // Later merges and even the removal of the branch do not hide the first one.
    let other = f.branch_with("other", "other", "y\n").await;
    f.forge.merge(PROJECT, &request("other", &other, "k2")).await.unwrap();
    f.bare_git(&["update-ref", "-d", "refs/heads/work"]);
    let again = f.forge.merge(PROJECT, &request("work", &head, "k1")).await.unwrap();
    assert_eq!(again, MergeOutcome::AlreadyMerged { commit: merged(&first).clone() });
    assert_eq!(f.bare_git(&["rev-list", "--count", "--merges", "main"]).trim(), "2");
}

#[tokio::test]
async fn a_key_written_into_another_pull_requests_body_is_not_taken_for_a_merge() {
    let f = Fixture::with_demo().await;
    let one = f.branch_with("one", "one", "1\n").await;
    let two = f.branch_with("two", "two", "2\n").await;
    let mut sly = request("one", &one, "k1");
    sly.body = "Syndarix-Key: k2".into();
    f.forge.merge(PROJECT, &sly).await.unwrap();
    let outcome = f.forge.merge(PROJECT, &request("two", &two, "k2")).await.unwrap();
    assert!(matches!(outcome, MergeOutcome::Merged { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_conflict_names_the_paths_and_changes_nothing() {
    let f = Fixture::with_demo().await;
    let ours = f.branch_with("ours", "README.md", "# Ours\n").await;
    let theirs = f.branch_with("theirs", "README.md", "# Theirs\n").await;
    f.forge.merge(PROJECT, &request("ours", &ours, "k1")).await.unwrap();
    let main = f.main_head().await;
    let outcome = f.forge.merge(PROJECT, &request("theirs", &theirs, "k2")).await.unwrap();
    assert_eq!(outcome, MergeOutcome::Conflict { paths: vec!["README.md".into()] });
    let preview = f.forge.merge_preview(PROJECT, &main, &theirs).await.unwrap();
    assert_eq!(preview, MergePreview::Conflicts(vec!["README.md".into()]));
    assert_eq!(f.main_head().await, main);
}

#[tokio::test]
async fn only_the_approved_head_is_merged() {
    let f = Fixture::with_demo().await;
    let approved = f.branch_with("work", "new", "x\n").await;
    let moved = f.commit_on("work", "new", "unseen\n").await;
    let main = f.main_head().await;
    let outcome = f.forge.merge(PROJECT, &request("work", &approved, "k1")).await.unwrap();
    assert_eq!(outcome, MergeOutcome::HeadMoved { actual: Some(moved.clone()) });
    f.bare_git(&["update-ref", "-d", "refs/heads/work"]);
    let outcome = f.forge.merge(PROJECT, &request("work", &moved, "k1")).await.unwrap();
    assert_eq!(outcome, MergeOutcome::HeadMoved { actual: None });
    assert_eq!(f.main_head().await, main);
}

#[tokio::test]
async fn a_branch_merged_by_hand_counts_as_merged_by_that_commit() {
    let f = Fixture::with_demo().await;
    let head = f.branch_with("work", "new", "x\n").await;
    // main moves on before and after the merge by hand: neither commit is the answer.
    let before = f.branch_with("before", "before", "b\n").await;
    f.forge.merge(PROJECT, &request("before", &before, "kb")).await.unwrap();
    let main = f.main_head().await;
    let tree = f.bare_git(&["merge-tree", "--write-tree", main.as_str(), head.as_str()]);
    let by_hand =
        f.bare_git(&["commit-tree", "-p", main.as_str(), "-p", head.as_str(), "-m", "By hand", tree.trim()]);
    f.bare_git(&["update-ref", "refs/heads/main", by_hand.trim()]);
    let after = f.branch_with("after", "after", "a\n").await;
    f.forge.merge(PROJECT, &request("after", &after, "ka")).await.unwrap();
    let outcome = f.forge.merge(PROJECT, &request("work", &head, "k1")).await.unwrap();
    assert_eq!(merged(&outcome).as_str(), by_hand.trim());
}

#[tokio::test]
async fn a_base_without_common_history_is_an_error_with_a_reason() {
    let f = Fixture::with_demo().await;
    let tree = f.bare_git(&["rev-parse", "main^{tree}"]);
    let alien = f.bare_git(&["commit-tree", "-m", "Alien", tree.trim()]);
    f.bare_git(&["update-ref", "refs/heads/alien", alien.trim()]);
    let alien = ObjectId::new(alien.trim()).unwrap();
    let error = f.forge.merge(PROJECT, &request("alien", &alien, "k1")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Git(GitError::UnrelatedHistories)), "{error}");
    let mut missing = request("alien", &alien, "k1");
    missing.base_branch = branch("nowhere");
    let error = f.forge.merge(PROJECT, &missing).await.unwrap_err();
    assert!(matches!(error, ForgeError::NoBranch(_)), "{error}");
}

#[tokio::test]
async fn lock_files_left_by_a_killed_git_do_not_stop_a_merge() {
    let f = Fixture::with_demo().await;
    let head = f.branch_with("work", "new", "x\n").await;
    let bare = f.forge.repository_path(PROJECT);
    for left in ["refs/heads/main.lock", "HEAD.lock"] {
        std::fs::write(bare.join(left), "").unwrap();
    }
    let outcome = f.forge.merge(PROJECT, &request("work", &head, "k1")).await.unwrap();
    assert!(matches!(outcome, MergeOutcome::Merged { .. }), "{outcome:?}");
    assert!(!bare.join("HEAD.lock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_branches_merged_by_two_forges_at_once_and_twice_each_are_merged_once_each() {
    let f = Fixture::with_demo().await;
    let mut heads = Vec::new();
    for n in 0..8 {
        heads.push(f.branch_with(&format!("b{n}"), &format!("file{n}"), "x\n").await);
    }
    // Two forges share nothing in memory, as two processes do: only the lock file and git keep them apart.
    let forges = [Arc::new(forge_at(f.dir.path())), Arc::new(forge_at(f.dir.path()))];
    let mut tasks = tokio::task::JoinSet::new();
    for (n, head) in heads.iter().enumerate() {
        for forge in &forges {
            let (forge, request) = (Arc::clone(forge), request(&format!("b{n}"), head, &format!("key-{n}")));
            tasks.spawn(async move { (n, forge.merge(PROJECT, &request).await.unwrap()) });
        }
    }
    let outcomes = tasks.join_all().await;
    for n in 0..8 {
        let of_n: Vec<_> = outcomes.iter().filter(|(m, _)| *m == n).map(|(_, o)| o).collect();
        assert_eq!(merged(of_n[0]), merged(of_n[1]), "both answers name the same commit");
        assert_eq!(of_n.iter().filter(|o| matches!(o, MergeOutcome::Merged { .. })).count(), 1);
    }
    assert_eq!(f.bare_git(&["rev-list", "--count", "--merges", "--first-parent", "main"]).trim(), "8");
    let files = f.bare_git(&["ls-tree", "--name-only", "main"]);
    assert!((0..8).all(|n| files.contains(&format!("file{n}\n"))), "{files}");
}
