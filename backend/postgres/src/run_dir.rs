//! The private folder of the socket: short, owned by the server's user, closed to everybody else. Who runs as that user
//! needs a password still.

use crate::Error;
use crate::account::Account;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// The only port number there is: a Unix socket's name carries one.
pub(crate) const PORT: u16 = 5432;
/// Bytes of a path in the operating system's socket address, without the closing zero.
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Makes `base/id` afresh. Whatever lies in it is of an earlier start: the caller holds the data directory's lock
/// and has ended every leftover. A socket's lock file with a number that another process has by now would make
/// PostgreSQL refuse to start.
pub(crate) fn prepare(base: &Path, id: &str, account: &Account) -> Result<PathBuf, Error> {
    let dir = base.join(id);
    let socket = dir.join(format!(".s.PGSQL.{PORT}"));
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_LIMIT {
        return Err(Error::SocketPathTooLong { path: socket, length, limit: SOCKET_PATH_LIMIT });
    }
    let caller = rustix::process::geteuid().as_raw();
    ensure(base, caller, if account.step_down { 0o711 } else { 0o700 })?;
    if let Some(blocked) = account.blocked_at(base) {
        return Err(Error::Unreachable { path: dir, blocked, user: account.name.clone() });
    }
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("clear the run directory", dir)(error));
        }
        _ => {}
    }
    ensure(&dir, caller, 0o700)?;
    if account.step_down {
        chown(&dir, Some(account.uid), Some(account.gid)).map_err(Error::io("hand over", &dir))?;
    }
    Ok(dir)
}

/// Makes `dir` when missing and insists that it is a real directory of `uid`: in a folder like `/tmp` somebody
/// else may have put a link there first.
fn ensure(dir: &Path, uid: u32, mode: u32) -> Result<(), Error> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.exists()) {
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    match fs::DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => {
            // The umask may have taken bits away.
            fs::set_permissions(dir, fs::Permissions::from_mode(mode)).map_err(Error::io("open up", dir))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let meta = fs::symlink_metadata(dir).map_err(Error::io("look at", dir))?;
            if meta.is_dir() && meta.uid() == uid {
                Ok(())
            } else {
                Err(Error::ForeignRunDir { path: dir.to_owned(), uid })
            }
        }
        Err(error) => Err(Error::io("create", dir)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Account {
        Account {
            name: "me".into(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            step_down: false,
        }
    }

    #[test]
    fn the_folder_is_closed_and_empty_whatever_an_earlier_start_left() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("id")).unwrap();
        fs::write(base.path().join("id/.s.PGSQL.5432.lock"), "1\n").unwrap();
        let dir = prepare(base.path(), "id", &me()).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn a_link_somebody_put_in_our_place_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let link = base.path().join("link");
        std::os::unix::fs::symlink(base.path(), &link).unwrap();
        assert!(matches!(prepare(&link, "id", &me()), Err(Error::ForeignRunDir { .. })));
    }

    #[test]
    fn a_path_that_fits_no_socket_address_is_named_with_its_length() {
        let base = PathBuf::from(format!("/{}", "x".repeat(100)));
        let error = prepare(&base, "id", &me()).unwrap_err();
        assert!(error.to_string().contains("118 bytes"), "{error}");
    }
}
