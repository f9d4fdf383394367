use syndarix_forge::{
    BranchName, ChangeStatus, DiffLimits, EntryKind, Forge as _, ForgeError, LogQuery, RemoteSource,
    RepoPath, Revision,
};
use uuid::Uuid;

use crate::fixture::{Fixture, PROJECT, branch, demo, git};

#[tokio::test]
async fn a_demo_repository_is_made_the_same_each_time_and_only_once() {
    let (one, two) = (Fixture::with_demo().await, Fixture::with_demo().await);
    let info = one.forge.info(PROJECT).await.unwrap();
    assert_eq!(info.default_branch, branch("main"));
    assert_eq!(info, two.forge.info(PROJECT).await.unwrap(), "same files and dates, same commits");
    assert_eq!(info, one.forge.create_repository(PROJECT, &demo()[..1]).await.unwrap());
    assert_eq!(one.bare_git(&["log", "--format=%s", "main"]), "Add a test\nStart\n");
    git(&one.forge.repository_path(PROJECT), &["fsck", "--strict"]);
    let left: Vec<_> = std::fs::read_dir(one.dir.path().join("repositories")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the repository is left: {left:?}");
}

#[tokio::test]
async fn a_killed_creation_leaves_no_half_repository() {
    let f = Fixture::empty();
    let half = f.dir.path().join(format!("repositories/.new-{PROJECT}"));
    std::fs::create_dir_all(half.join("objects")).unwrap();
    std::fs::write(half.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    assert!(matches!(f.forge.info(PROJECT).await, Err(ForgeError::NoRepository)));
    f.forge.create_repository(PROJECT, &demo()).await.unwrap();
    f.forge.delete_repository(PROJECT).await.unwrap();
    f.forge.delete_repository(PROJECT).await.unwrap();
    assert!(matches!(f.forge.info(PROJECT).await, Err(ForgeError::NoRepository)));
}

#[tokio::test]
async fn an_import_copies_branches_tags_and_the_default_branch() {
    let f = Fixture::empty();
    let source = f.dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    git(&source, &["init", "-q", "-b", "trunk"]);
    std::fs::write(source.join("f"), "1\n").unwrap();
    git(&source, &["add", "f"]);
    git(&source, &["commit", "-q", "-m", "One"]);
    git(&source, &["branch", "feature/x"]);
    git(&source, &["tag", "v1"]);
    let imported = RemoteSource::parse(source.to_str().unwrap()).unwrap();
    let info = f.forge.import_repository(PROJECT, &imported).await.unwrap();
    assert_eq!(info.default_branch, branch("trunk"));
    let names: Vec<String> =
        f.forge.branches(PROJECT).await.unwrap().iter().map(|b| b.name.to_string()).collect();
    assert_eq!(names, ["feature/x", "trunk"]);
    assert_eq!(f.bare_git(&["tag"]), "v1\n");
    let config = std::fs::read_to_string(f.forge.repository_path(PROJECT).join("config")).unwrap();
    assert!(!config.contains("remote"), "no address, and so no credential, is kept");
}

#[tokio::test]
async fn an_import_that_fails_says_what_git_said_without_the_password() {
    let f = Fixture::empty();
    let not_git = f.dir.path().join("plain");
    std::fs::create_dir(&not_git).unwrap();
    let source = RemoteSource::parse(not_git.to_str().unwrap()).unwrap();
    let error = f.forge.import_repository(PROJECT, &source).await.unwrap_err().to_string();
    assert!(error.contains("does not appear to be a git repository"), "{error}");

    let nobody_listens = RemoteSource::parse("https://bob:s3cret@127.0.0.1:1/x.git").unwrap();
    let error = f.forge.import_repository(PROJECT, &nobody_listens).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1") && !error.contains("s3cret"), "{error}");

    git(&not_git, &["init", "-q"]);
    let error = f.forge.import_repository(PROJECT, &source).await.unwrap_err();
    assert!(matches!(error, ForgeError::EmptySource(_)), "{error}");
    assert!(matches!(f.forge.info(PROJECT).await, Err(ForgeError::NoRepository)));
}

#[tokio::test]
async fn a_branch_is_made_once_and_an_unrelated_one_is_not_taken_for_it() {
    let f = Fixture::with_demo().await;
    let main = f.main_head().await;
    let first = f.forge.resolve(PROJECT, &Revision::new("main~1").unwrap()).await.unwrap();
    let name = branch("syndarix/a");
    assert!(f.forge.create_branch(PROJECT, &name, &first).await.unwrap().created);
    let again = f.forge.create_branch(PROJECT, &name, &first).await.unwrap();
    assert_eq!((again.created, &again.head), (false, &first));
    let work = f.commit_on("syndarix/a", "new", "x").await;
    let again = f.forge.create_branch(PROJECT, &name, &first).await.unwrap();
    assert_eq!((again.created, again.head), (false, work), "work on it is kept");
    let error = f.forge.create_branch(PROJECT, &name, &main).await.unwrap_err();
    assert!(matches!(error, ForgeError::BranchExists { .. }), "{error}");
    let error = f.forge.create_branch(PROJECT, &branch("syndarix/a/b"), &main).await.unwrap_err();
    assert!(error.to_string().contains("syndarix/a"), "a branch cannot be a directory too: {error}");
}

#[tokio::test]
async fn a_diff_lists_files_with_counts_and_bounded_text() {
    let f = Fixture::with_demo().await;
    let base = f.main_head().await;
    let long: String = "a line of text\n".repeat(5000);
    f.branch_with("work", "long.txt", &long).await;
    f.commit_on("work", "bin", "a\0b").await;
    let head = f.commit_on("work", "-dash \"quote\" ü", "x\n").await;
    // What main does after the branch left it is no part of the branch's diff.
    let other = f.branch_with("other", "README.md", "# Other\n").await;
    f.bare_git(&["update-ref", "refs/heads/main", other.as_str()]);

    let diff = f.forge.diff(PROJECT, &other, &head, &DiffLimits::default()).await.unwrap();
    let paths: Vec<&str> = diff.files.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(paths, ["-dash \"quote\" ü", "bin", "long.txt"]);
    assert!(diff.files[1].binary && diff.files.iter().all(|c| c.status == ChangeStatus::Added));
    assert_eq!(diff.files[2].additions, 5000);
    assert!(!diff.patch_truncated && diff.patch.contains("\n+a line of text\n"));
    assert_eq!(diff, f.forge.diff(PROJECT, &base, &head, &DiffLimits::default()).await.unwrap());

    let small = DiffLimits { max_patch_bytes: 1000, max_files: 2, context_lines: 0 };
    let diff = f.forge.diff(PROJECT, &base, &head, &small).await.unwrap();
    assert!(diff.patch_truncated && diff.patch.len() <= 1000 && diff.patch.ends_with('\n'));
    assert!(diff.files_truncated && diff.files.len() == 2);
}

#[tokio::test]
async fn a_rename_is_one_change_with_both_paths() {
    let f = Fixture::with_demo().await;
    let head = f.main_head().await;
    let text: String = (10..40).flat_map(|n| [n.to_string(), "\n".into()]).collect();
    let one = f.branch_with("r", "old.txt", &text).await;
    let run = Uuid::from_u128(9);
    let target = syndarix_forge::WorktreeTarget::Branch(branch("r"));
    let tree = f.forge.add_worktree(PROJECT, run, &target).await.unwrap();
    git(&tree.path, &["mv", "old.txt", "new.txt"]);
    git(&tree.path, &["commit", "-q", "-m", "Rename"]);
    let two = f.forge.head(PROJECT, &branch("r")).await.unwrap().unwrap();
    let (files, cut) = f.forge.changed_files(PROJECT, &one, &two).await.unwrap();
    assert!(!cut && files.len() == 1);
    assert_eq!((files[0].status, files[0].old_path.as_deref()), (ChangeStatus::Renamed, Some("old.txt")));
    assert!(f.forge.changed_files(PROJECT, &head, &head).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn trees_files_and_blobs_are_read_at_a_commit() {
    let f = Fixture::with_demo().await;
    let head = f.main_head().await;
    let tree = f.forge.tree(PROJECT, &head).await.unwrap();
    let listed: Vec<_> = tree.iter().map(|e| (e.path.as_str(), e.size)).collect();
    assert_eq!(listed, [("README.md", 7), ("src/a b.py", 6), ("tests/test_a.py", 17)]);
    assert!(tree.iter().all(|e| e.kind == EntryKind::File));
    let ids: Vec<_> = tree.iter().map(|e| e.id.clone()).collect();
    let blobs = f.forge.blobs(PROJECT, &ids).await.unwrap();
    assert_eq!(blobs[1], b"a = 1\n");
    let path = RepoPath::new("README.md").unwrap();
    let file = f.forge.file(PROJECT, &head, &path, 3).await.unwrap();
    assert_eq!((file.bytes.as_slice(), file.truncated), (b"# D".as_slice(), true));
    let error = f.forge.file(PROJECT, &head, &RepoPath::new("src").unwrap(), 10).await.unwrap_err();
    assert!(error.to_string().contains("is a directory"), "{error}");
    let error = f.forge.file(PROJECT, &head, &RepoPath::new("none").unwrap(), 10).await.unwrap_err();
    assert!(error.to_string().contains("was not found"), "{error}");
}

#[tokio::test]
async fn a_log_is_paged_and_can_follow_a_path() {
    let f = Fixture::with_demo().await;
    let head = f.main_head().await;
    let all = f.forge.log(PROJECT, &head, &LogQuery { limit: 10, ..LogQuery::default() }).await.unwrap();
    assert_eq!(all.iter().map(|e| e.subject.as_str()).collect::<Vec<_>>(), ["Add a test", "Start"]);
    assert_eq!((all[1].body.as_str(), all[1].authored_at), ("The first commit.", 1_700_000_000));
    let second =
        f.forge.log(PROJECT, &head, &LogQuery { limit: 1, skip: 1, ..LogQuery::default() }).await.unwrap();
    assert_eq!(second, all[1..]);
    let paths = vec![RepoPath::new("README.md").unwrap()];
    let of_path = LogQuery { limit: 10, paths, ..LogQuery::default() };
    assert_eq!(f.forge.log(PROJECT, &head, &of_path).await.unwrap(), all[1..]);
    let new_only = LogQuery { limit: 10, not_in: Some(all[1].id.clone()), ..LogQuery::default() };
    assert_eq!(f.forge.log(PROJECT, &head, &new_only).await.unwrap(), all[..1]);
}

#[tokio::test]
async fn a_name_that_looks_like_an_option_is_refused_with_a_sentence() {
    let error = BranchName::new("--upload-pack=x").unwrap_err().to_string();
    assert!(error.contains("starts with a dash"), "{error}");
}
