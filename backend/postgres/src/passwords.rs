//! The passwords of the server's roles, and the rule that nobody gets in without one.
//!
//! The socket's folder keeps other users out, but not a program that runs as the same user, such as a test that an
//! agent wrote. It can be kept from reading a file; so the secret is in a file. That file belongs to the caller, lies
//! in the home, and is written last: what it holds is what the server knows.

use crate::account::Account;
use crate::binaries::Binaries;
use crate::home::Home;
use crate::initdb::SUPERUSER;
use crate::{Error, bounded, log};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For every role and database: a password, over the socket only.
const RULES: &str = "local all all scram-sha-256\n";
/// Bytes of chance in a password.
const RANDOM_BYTES: usize = 32;
/// The first such start of a killed server replays its log, too.
const SET_LIMIT: Duration = Duration::from_secs(600);

/// What the two roles sign in with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Passwords {
    pub(crate) superuser: String,
    pub(crate) application: String,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords(..)")
    }
}

impl Passwords {
    fn random() -> io::Result<Self> {
        let mut bytes = [0_u8; RANDOM_BYTES];
        let mut source = File::open("/dev/urandom")?;
        let mut password = || {
            source.read_exact(&mut bytes)?;
            let mut text = String::new();
            for byte in bytes {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            io::Result::Ok(text)
        };
        Ok(Self { superuser: password()?, application: password()? })
    }

    fn parse(text: &str) -> Option<Self> {
        let (superuser, application) = text.trim().split_once('\n')?;
        let is_ours =
            |word: &str| word.len() == 2 * RANDOM_BYTES && word.bytes().all(|b| b.is_ascii_hexdigit());
        (is_ours(superuser) && is_ours(application))
            .then(|| Self { superuser: superuser.into(), application: application.into() })
    }
}

/// The file with the rules, for the server's `hba_file`. It holds no secret.
pub(crate) fn rules(home: &Home) -> PathBuf {
    home.dir().join("access.conf")
}

/// The passwords. Data that has none yet, new or of a version before them, gets them. The server must not run.
pub(crate) fn ensure(home: &Home, binaries: &Binaries, account: &Account) -> Result<Passwords, Error> {
    put(&rules(home), RULES, 0o644)?;
    let path = home.dir().join("passwords");
    if let Some(known) = fs::read_to_string(&path).ok().as_deref().and_then(Passwords::parse) {
        return Ok(known);
    }
    let fresh = Passwords::random().map_err(Error::io("read", "/dev/urandom"))?;
    set(home, binaries, account, &fresh.superuser)?;
    put(&path, &format!("{}\n{}\n", fresh.superuser, fresh.application), 0o600)?;
    Ok(fresh)
}

/// Sets the superuser's password in a session without a server, which needs none.
fn set(home: &Home, binaries: &Binaries, account: &Account, password: &str) -> Result<(), Error> {
    let output = home.dir().join("passwords.log");
    let file = File::create(&output).map_err(Error::io("create", &output))?;
    let both = file.try_clone().map_err(Error::io("open", &output))?;
    let input = statement(home.dir(), password).map_err(Error::io("write in", home.dir()))?;
    let mut command = account.command(&binaries.bin_dir.join("postgres"));
    command.args(["--single", "-D"]).arg(home.pgdata()).args(["-c", "exit_on_error=on"]);
    // Neither what is typed nor how long it took belongs in a log.
    command.args(["-c", "log_min_duration_statement=-1", "-c", "log_min_error_statement=panic", "postgres"]);
    command.stdin(input).stdout(file).stderr(both);
    let status = match bounded::status(&mut command, SET_LIMIT) {
        Ok(status) if status.success() => {
            let _ = fs::remove_file(&output);
            return Ok(());
        }
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    Err(Error::Passwords { status, log: log::tail(&output, 0) })
}

/// A file without a name, at its beginning.
fn statement(dir: &Path, password: &str) -> io::Result<File> {
    let path = dir.join("passwords.new");
    let mut file = create(&path, 0o600)?;
    fs::remove_file(&path)?;
    writeln!(file, "alter role {SUPERUSER} password '{password}'")?;
    file.rewind()?;
    Ok(file)
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// All or nothing, also when the power goes.
fn put(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let write = || {
        let new = path.with_extension("new");
        let mut file = create(&new, mode)?;
        // The umask may have taken bits away.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(Error::io("write", path))
}
