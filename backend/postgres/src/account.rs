//! Which user the server runs as. PostgreSQL refuses root, so root steps down to `postgres`, else `nobody`.

use crate::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Users root steps down to, best first.
const STAND_INS: [&str; 2] = ["postgres", "nobody"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// We are root and become this user for every child.
    pub(crate) step_down: bool,
}

impl Account {
    /// The user for the data in `pgdata`: its owner when root finds it there, so that a `postgres` user created
    /// later does not lock out a server that began as `nobody`.
    pub(crate) fn choose(pgdata: &Path) -> Result<Self, Error> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        if uid != 0 {
            return Ok(Self { name: format!("uid {uid}"), uid, gid, step_down: false });
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if let Ok(owner) = fs::metadata(pgdata)
            && owner.uid() != 0
        {
            let name = name_of(&passwd, owner.uid()).unwrap_or_else(|| format!("uid {}", owner.uid()));
            return Ok(Self { name, uid: owner.uid(), gid: owner.gid(), step_down: true });
        }
        STAND_INS.iter().find_map(|name| entry(&passwd, name)).ok_or(Error::NoAccount)
    }

    /// A command that runs as this user, with an environment that says nothing about us: a stray `PGPORT` or
    /// `PGOPTIONS` would change the server, and `LC_ALL=C` keeps its messages readable for us.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs([("LC_ALL", "C"), ("TZ", "UTC"), ("PATH", "/usr/bin:/bin")]);
        command.current_dir("/");
        if self.step_down {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// The first folder on the way to and including `path` that this user may not enter.
    pub(crate) fn blocked_at(&self, path: &Path) -> Option<PathBuf> {
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        folders.into_iter().find(|folder| !self.may_enter(folder)).map(Path::to_owned)
    }

    fn may_enter(&self, folder: &Path) -> bool {
        // What is not there or cannot be looked at is reported by whoever needs it.
        let Ok(meta) = fs::metadata(folder) else { return true };
        let bit = if meta.uid() == self.uid {
            0o100
        } else if meta.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        !meta.is_dir() || meta.mode() & bit != 0
    }
}

fn entry(passwd: &str, wanted: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| *name == wanted)?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        (uid != 0).then(|| Account { name: name.to_owned(), uid, gid, step_down: true })
    })
}

/// macOS writes `nobody` as -2.
fn id(field: &str) -> Option<u32> {
    field.parse().ok().or_else(|| field.parse::<i32>().ok().map(i32::cast_unsigned))
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let line = passwd.lines().find(|line| line.split(':').nth(2).and_then(id) == Some(uid))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nnobody:*:-2:-2::/:/bin/false\npostgres:x:101:104::/:/bin/sh\n";

    #[test]
    fn users_are_read_from_passwd_including_negative_ids() {
        let postgres = entry(PASSWD, "postgres").unwrap();
        assert_eq!((postgres.uid, postgres.gid), (101, 104));
        assert_eq!(entry(PASSWD, "nobody").unwrap().uid, u32::MAX - 1);
        assert_eq!(entry(PASSWD, "root"), None);
        assert_eq!(name_of(PASSWD, 101).as_deref(), Some("postgres"));
    }

    #[test]
    fn the_folder_that_is_closed_to_the_user_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        fs::create_dir_all(closed.join("inner")).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let other = Account { name: "other".into(), uid: 4_000_000, gid: 4_000_000, step_down: true };
        assert_eq!(other.blocked_at(&closed.join("inner")), Some(closed));
        assert_eq!(other.blocked_at(dir.path()), None);
    }
}
