//! Makes a new data directory: `initdb` works beside the final place and the result is renamed into it, so that a
//! half-made one is never taken for data.

use crate::account::Account;
use crate::binaries::Binaries;
use crate::home::Home;
use crate::{Error, bounded, log};
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// The superuser. Its password is set before the first start.
pub(crate) const SUPERUSER: &str = "postgres";
/// 0.6 s on a quiet machine; a starved one with a slow disk needs much longer.
const INITDB_LIMIT: Duration = Duration::from_secs(180);
const NEW_PREFIX: &str = "pgdata.new-";

/// Does nothing when there is data already.
pub(crate) fn ensure(home: &Home, binaries: &Binaries, account: &Account) -> Result<(), Error> {
    remove_half_made(home)?;
    let pgdata = home.pgdata();
    if pgdata.join("PG_VERSION").exists() {
        return Ok(());
    }
    let new = home.dir().join(format!("{NEW_PREFIX}{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&new).map_err(Error::io("create", &new))?;
    if account.step_down {
        chown(&new, Some(account.uid), Some(account.gid)).map_err(Error::io("hand over", &new))?;
    }
    let result = run(home, binaries, account, &new).and_then(|()| {
        fs::rename(&new, &pgdata).map_err(Error::io("put in place", &pgdata))?;
        File::open(home.dir()).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", home.dir()))
    });
    if result.is_err() {
        // A full disk should not stay full because of us; what cannot be removed is removed at the next start.
        let _ = fs::remove_dir_all(&new);
    }
    result
}

fn remove_half_made(home: &Home) -> Result<(), Error> {
    for entry in fs::read_dir(home.dir()).map_err(Error::io("list", home.dir()))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(NEW_PREFIX) {
            fs::remove_dir_all(entry.path()).map_err(Error::io("remove the half-made", entry.path()))?;
        }
    }
    Ok(())
}

fn run(home: &Home, binaries: &Binaries, account: &Account, into: &Path) -> Result<(), Error> {
    let output = home.dir().join("initdb.log");
    let file = File::create(&output).map_err(Error::io("create", &output))?;
    let both = file.try_clone().map_err(Error::io("open", &output))?;
    let mut command = account.command(&binaries.bin_dir.join("initdb"));
    command.arg("--pgdata").arg(into).args([
        "--username",
        SUPERUSER,
        "--encoding",
        "UTF8",
        "--data-checksums",
    ]);
    // Nobody is asked: the server gets rules of its own, and roles get passwords, before it runs.
    command.args(["--auth-local", "reject", "--auth-host", "reject"]);
    // One sort order on every machine and libc, or an index made here is corrupt after a move.
    command.args(["--locale", "C"]);
    if binaries.major >= 17 {
        command.args(["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]);
    }
    command.stdin(Stdio::null()).stdout(file).stderr(both);
    let status = match bounded::status(&mut command, INITDB_LIMIT) {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    Err(Error::Initdb { status, log: log::tail(&output, 0) })
}
