//! Merging a pull request once, whatever is killed when.
//!
//! The order is: look for the key, check the approved head, merge in memory, write the commit object, move the base
//! branch by compare-and-set. Only the last step has an effect, and it is atomic; a repeat either finds the key or does
//! the steps again, and gets the same commit as long as base, head and date are the same.

use syndarix_git::{
    Expected, FileLock, MergeTree, NewCommit, ObjectId, RefUpdate, Repository, Trailer, compose_message,
};

use crate::{ForgeError, MergeOutcome, MergeRequest};

/// Name of the trailer that holds the key.
pub(crate) const KEY_TRAILER: &str = "Syndarix-Key";
/// Merges of the base branch that are searched for the key: far more than happen between an attempt and its repeat.
const KEY_SEARCH_DEPTH: u32 = 2000;
/// Attempts when the base branch moves, which only a writer that ignores the lock can cause.
const MAX_ATTEMPTS: u32 = 5;

/// What is known before the base branch is moved.
pub(crate) enum Prepared {
    /// Nothing is to be moved.
    Ended(MergeOutcome),
    /// The base branch is to be moved from `base` to `commit`.
    Ready { base: ObjectId, commit: ObjectId },
}

pub(super) async fn merge(
    repository: &Repository,
    request: &MergeRequest,
    lock: &FileLock,
) -> Result<MergeOutcome, ForgeError> {
    for _ in 0..MAX_ATTEMPTS {
        let (base, commit) = match prepare(repository, request).await? {
            Prepared::Ended(outcome) => return Ok(outcome),
            Prepared::Ready { base, commit } => (base, commit),
        };
        let expected = Expected::At(base);
        match repository.update_branch(&request.base_branch, &commit, &expected, lock).await? {
            RefUpdate::Done => return Ok(MergeOutcome::Merged { commit }),
            RefUpdate::Moved(_) => {
                tracing::info!(base = %request.base_branch, "the base branch moved while merging; starting again");
            }
        }
    }
    Err(ForgeError::BaseBusy(request.base_branch.to_string()))
}

/// Everything up to the move of the base branch.
pub(crate) async fn prepare(repository: &Repository, request: &MergeRequest) -> Result<Prepared, ForgeError> {
    let base = repository.branch_head(&request.base_branch).await?;
    let base = base.ok_or_else(|| ForgeError::NoBranch(request.base_branch.to_string()))?;
    if let Some(commit) = find_merge(repository, request, &base).await? {
        return Ok(Prepared::Ended(MergeOutcome::AlreadyMerged { commit }));
    }
    let actual = repository.branch_head(&request.head_branch).await?;
    if actual.as_ref() != Some(&request.expected_head) {
        return Ok(Prepared::Ended(MergeOutcome::HeadMoved { actual }));
    }
    if repository.is_ancestor(&request.expected_head, &base).await? {
        let commit = repository.entry_point(&request.expected_head, &base).await?;
        return Ok(Prepared::Ended(MergeOutcome::AlreadyMerged { commit }));
    }
    let tree = match repository.merge_tree(&base, &request.expected_head).await? {
        MergeTree::Clean(tree) => tree,
        MergeTree::Conflicts(paths) => return Ok(Prepared::Ended(MergeOutcome::Conflict { paths })),
    };
    let commit = write_merge(repository, request, &base, &tree).await?;
    Ok(Prepared::Ready { base, commit })
}

/// The merge that the base branch holds already.
pub(super) async fn find(
    repository: &Repository,
    request: &MergeRequest,
) -> Result<Option<ObjectId>, ForgeError> {
    match repository.branch_head(&request.base_branch).await? {
        Some(base) => find_merge(repository, request, &base).await,
        None => Ok(None),
    }
}

/// The merge an earlier attempt made: same key, same head. The head is compared as well, so that a commit that merely
/// carries a copied trailer is not taken for it.
async fn find_merge(
    repository: &Repository,
    request: &MergeRequest,
    base: &ObjectId,
) -> Result<Option<ObjectId>, ForgeError> {
    let hits = repository.find_trailer(base, KEY_TRAILER, &request.key, KEY_SEARCH_DEPTH, true).await?;
    let is_ours = |parents: &[ObjectId]| parents.get(1) == Some(&request.expected_head);
    Ok(hits.into_iter().find(|hit| is_ours(&hit.parents)).map(|hit| hit.id))
}

async fn write_merge(
    repository: &Repository,
    request: &MergeRequest,
    base: &ObjectId,
    tree: &ObjectId,
) -> Result<ObjectId, ForgeError> {
    let trailer = |name, value: &Option<_>| value.clone().map(|value| Trailer { name, value });
    let mut trailers: Vec<Trailer> =
        [trailer("Story", &request.story), trailer("Pull-Request", &request.pull_request)]
            .into_iter()
            .flatten()
            .collect();
    trailers.push(Trailer { name: KEY_TRAILER, value: request.key.clone() });
    let commit = NewCommit {
        tree,
        parents: &[base.clone(), request.expected_head.clone()],
        message: &compose_message(&request.title, &request.body, &trailers),
        author: &request.author,
        committer: &request.committer,
        at: request.at,
    };
    Ok(repository.write_commit(&commit).await?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use syndarix_git::{BranchName, Git, Identity, Key, NewFiles, RepoPath};

    use super::*;

    async fn repository_with_work(dir: &Path) -> (Repository, MergeRequest) {
        let git = Git::new(&dir.join("home")).unwrap();
        let main = BranchName::new("main").unwrap();
        let work = BranchName::new("work").unwrap();
        let repository = Repository::init(&git, &dir.join("r.git"), &main).await.unwrap();
        let base = add_commit(&repository, &main, None, "a").await;
        let head = add_commit(&repository, &work, Some(&base), "b").await;
        let who = Identity::new("A", "a@b").unwrap();
        let request = MergeRequest {
            base_branch: main,
            head_branch: work,
            expected_head: head,
            title: "T".into(),
            body: String::new(),
            story: None,
            pull_request: None,
            author: who.clone(),
            committer: who,
            at: 1_700_000_000,
            key: Key::new("k").unwrap(),
        };
        (repository, request)
    }

    async fn add_commit(
        repository: &Repository,
        branch: &BranchName,
        parent: Option<&ObjectId>,
        file: &str,
    ) -> ObjectId {
        let files = [(RepoPath::new(file).unwrap(), b"x\n".to_vec())];
        let author = &Identity::new("A", "a@b").unwrap();
        let new = NewFiles { parent, files: &files, message: "M\n", author, at: 1_700_000_000 };
        let scratch = repository.dir().join("scratch");
        let commit = repository.write_commit_of_files(&new, &scratch).await.unwrap();
        let lock = repository.lock().await.unwrap();
        let old = repository.branch_head(branch).await.unwrap().map_or(Expected::Missing, Expected::At);
        repository.update_branch(branch, &commit, &old, &lock).await.unwrap();
        commit
    }

    #[tokio::test]
    async fn a_kill_before_the_base_moves_and_a_repeat_give_the_same_single_commit() {
        let dir = tempfile::tempdir().unwrap();
        let (repository, request) = repository_with_work(dir.path()).await;
        // Killed after the commit object was written, twice.
        let mut prepared = Vec::new();
        for _ in 0..2 {
            let Prepared::Ready { commit, .. } = prepare(&repository, &request).await.unwrap() else {
                panic!("not ready")
            };
            prepared.push(commit);
        }
        let lock = repository.lock().await.unwrap();
        let outcome = merge(&repository, &request, &lock).await.unwrap();
        assert_eq!(outcome, MergeOutcome::Merged { commit: prepared[0].clone() });
        assert_eq!(prepared[0], prepared[1]);
    }

    #[tokio::test]
    async fn a_kill_after_the_base_moved_is_found_by_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let (repository, request) = repository_with_work(dir.path()).await;
        let Prepared::Ready { base, commit } = prepare(&repository, &request).await.unwrap() else {
            panic!("not ready")
        };
        let lock = repository.lock().await.unwrap();
        repository.update_branch(&request.base_branch, &commit, &Expected::At(base), &lock).await.unwrap();
        let outcome = merge(&repository, &request, &lock).await.unwrap();
        assert_eq!(outcome, MergeOutcome::AlreadyMerged { commit });
    }

    #[tokio::test]
    async fn a_base_that_moved_meanwhile_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (repository, request) = repository_with_work(dir.path()).await;
        let Prepared::Ready { base, commit } = prepare(&repository, &request).await.unwrap() else {
            panic!("not ready")
        };
        let newer = add_commit(&repository, &request.base_branch, Some(&base), "c").await;
        let lock = repository.lock().await.unwrap();
        let update =
            repository.update_branch(&request.base_branch, &commit, &Expected::At(base), &lock).await;
        assert_eq!(update.unwrap(), RefUpdate::Moved(Some(newer.clone())));
        let outcome = merge(&repository, &request, &lock).await.unwrap();
        let MergeOutcome::Merged { commit } = outcome else { panic!("{outcome:?}") };
        assert!(repository.is_ancestor(&newer, &commit).await.unwrap());
    }
}
