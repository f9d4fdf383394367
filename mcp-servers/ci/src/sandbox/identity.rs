//! Under which user a command runs.
//!
//! A server that is an ordinary user runs commands as itself. A server that is root gives each command a
//! user of its own, without a name and without capabilities: limits on processes hold (root is exempt),
//! no other user's file can be changed, and everything that is left over can be found and ended.
//! For that the worktree's content is handed to that user; the worktree's own directory and its `.git`
//! stay root's, and the directory is sticky, so that `.git` can be neither changed nor replaced.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io,
    os::fd::OwnedFd,
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, openat, statat};

/// First user id given to commands: above those of people, of daemons and of usual sub-id ranges.
const FIRST_UID: u32 = 1_900_000_000;
/// How many user ids there are: two runs hardly ever want the same.
const UIDS: u32 = 1_000_000;
/// Largest worktree that is handed over, in directory entries.
const MAX_ENTRIES: usize = 2_000_000;

/// A user id that no other command of this process has now. Free again when dropped.
#[derive(Debug)]
pub(super) struct OwnUser {
    /// User and group id.
    pub(super) id: u32,
    pool: Users,
}

impl Drop for OwnUser {
    fn drop(&mut self) {
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// The user ids in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Users(Arc<Mutex<BTreeSet<u32>>>);

impl Users {
    /// The same id for the same worktree whenever it is free, so that its files keep their owner.
    pub(super) fn take(&self, worktree: &Path) -> OwnUser {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(worktree);
        let start = u32::try_from(hash % u64::from(UIDS)).unwrap_or(0);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let candidates = (0..UIDS).map(|step| FIRST_UID + (start + step) % UIDS);
        let id = candidates.into_iter().find(|id| !taken.contains(id)).unwrap_or(FIRST_UID);
        taken.insert(id);
        OwnUser { id, pool: self.clone() }
    }
}

/// Whether this process is root.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether users without rights of their own can pass down to `path`.
pub(super) fn is_reachable_by_others(path: &Path) -> bool {
    path.ancestors().skip(1).all(|dir| {
        rustix::fs::stat(dir).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::XOTH))
    })
}

/// Gives a private directory to the user.
pub(super) fn give(path: &Path, user: &OwnUser) -> io::Result<()> {
    let (uid, gid) = ids(user);
    Ok(chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Hands the content of a worktree to the user, apart from anything called `.git`.
///
/// Symlinks are never followed, and files with a second name somewhere are left alone: changing their
/// owner would reach out of the worktree.
pub(super) fn hand_over(worktree: &Path, user: &OwnUser) -> io::Result<()> {
    let (uid, gid) = ids(user);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, worktree, flags, Mode::empty())?;
    let mut entries = 0_usize;
    let mut pending: Vec<(Rc<OwnedFd>, std::ffi::CString)> = Vec::new();
    list(&Rc::new(top), &mut pending)?;
    while let Some((parent, name)) = pending.pop() {
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(io::Error::other("the worktree holds too many files"));
        }
        let name = name.as_c_str();
        let Ok(stat) = statat(&*parent, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let shared = kind != FileType::Directory && stat.st_nlink > 1;
        if !shared && (stat.st_uid != user.id || stat.st_gid != user.id) {
            chownat(&*parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if kind == FileType::Directory
            && let Ok(dir) = openat(&*parent, name, flags, Mode::empty())
        {
            list(&Rc::new(dir), &mut pending)?;
        }
    }
    chownat(CWD, worktree, None, Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::RWXU | Mode::RWXG | Mode::SVTX;
    Ok(chmodat(CWD, worktree, mode, AtFlags::empty())?)
}

fn list(dir: &Rc<OwnedFd>, pending: &mut Vec<(Rc<OwnedFd>, std::ffi::CString)>) -> io::Result<()> {
    for entry in Dir::read_from(&**dir)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b".." | b".git") {
            pending.push((Rc::clone(dir), name));
        }
    }
    Ok(())
}

fn ids(user: &OwnUser) -> (Uid, Gid) {
    (Uid::from_raw(user.id), Gid::from_raw(user.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    #[test]
    fn a_user_id_is_stable_for_a_worktree_and_never_shared_at_one_time() {
        let users = Users::default();
        let first = users.take(Path::new("/w/a"));
        let id = first.id;
        let second = users.take(Path::new("/w/a"));
        assert_ne!(id, second.id);
        drop((first, second));
        assert_eq!(users.take(Path::new("/w/a")).id, id);
        assert!((FIRST_UID..FIRST_UID + UIDS).contains(&id));
    }

    #[test]
    fn handing_over_leaves_git_links_and_the_outside_alone() {
        if !is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let worktree = root.path().join("run");
        std::fs::create_dir_all(worktree.join(".git/hooks")).unwrap();
        std::fs::create_dir_all(worktree.join("src")).unwrap();
        std::fs::write(worktree.join("src/a"), "a").unwrap();
        let outside = root.path().join("outside");
        std::fs::write(&outside, "o").unwrap();
        symlink(&outside, worktree.join("link")).unwrap();
        std::fs::hard_link(&outside, worktree.join("hard")).unwrap();
        let user = Users::default().take(&worktree);
        hand_over(&worktree, &user).unwrap();
        let owner = |path: &Path| std::fs::symlink_metadata(path).unwrap().uid();
        assert_eq!(owner(&worktree.join("src/a")), user.id);
        assert_eq!(owner(&worktree.join("link")), user.id);
        for kept in [outside, worktree.join(".git"), worktree.join(".git/hooks"), worktree.clone()] {
            assert_eq!(owner(&kept), 0, "{}", kept.display());
        }
        assert_eq!(std::fs::metadata(&worktree).unwrap().mode() & 0o7777, 0o1770);
    }
}
