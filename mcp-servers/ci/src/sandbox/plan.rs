//! Turns a command into the command line that runs it at a given level.
//!
//! Everything outside the worktree and a private temporary directory is read-only or absent. Values are
//! whole arguments, never parts of a script.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
};

use super::{
    confine::Confinement,
    identity::{is_reachable_by_others, is_root},
    leftover,
    level::Level,
    limits::Limits,
    runner::Sweep,
    toolchain::Toolchains,
};

/// Where the helpers are looked for; never in a directory that a user's `PATH` names.
const HELPER_DIRS: [&str; 6] =
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];
/// The script that builds a file tree in fresh namespaces.
const NAMESPACE_SCRIPT: &str = include_str!("namespace.sh");
/// Keeps the mark of the command, which comes as standard input, open in all that it starts.
const HOLD_THE_MARK: &str = r#"exec 9<&0 0</dev/null; exec "$@""#;
/// Ends the command when the thread ends that started it, which waits for it: when the server is killed.
const END_WITH_PARENT: &str = "--pdeathsig=KILL";
/// Devices without state.
const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// The programs that commands are started with.
#[derive(Debug, Clone)]
pub(super) struct Helpers {
    prlimit: PathBuf,
    setpriv: PathBuf,
    pub(super) sh: PathBuf,
    unshare: Option<PathBuf>,
    bubblewrap: Option<PathBuf>,
}

impl Helpers {
    /// Finds them; the sentence names the one that is missing.
    pub(super) fn find(bubblewrap: Option<PathBuf>) -> Result<Self, String> {
        let find =
            |name: &str| HELPER_DIRS.map(|dir| Path::new(dir).join(name)).into_iter().find(|p| p.is_file());
        let need = |name: &str| find(name).ok_or_else(|| format!("`{name}` is not installed (util-linux)"));
        Ok(Self {
            prlimit: need("prlimit")?,
            setpriv: need("setpriv")?,
            sh: need("sh")?,
            unshare: find("unshare"),
            bubblewrap: bubblewrap.or_else(|| find("bwrap")),
        })
    }
}

/// One command and its surroundings.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) level: Level,
    pub(super) helpers: &'a Helpers,
    pub(super) limits: &'a Limits,
    pub(super) toolchains: &'a Toolchains,
    pub(super) network: bool,
    /// The user to become, when the server is root.
    pub(super) user: Option<u32>,
    pub(super) worktree: &'a Path,
    /// An empty directory `root` and a private directory `tmp`.
    pub(super) scratch: &'a Path,
    pub(super) command: &'a [OsString],
}

/// What is to be started, and how it is ended.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) argv: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) directory: PathBuf,
    pub(super) confinement: Option<Confinement>,
    pub(super) sweep: Sweep,
    /// A file that every process of the command has open.
    pub(super) mark: Option<File>,
    pub(super) output_bytes: usize,
}

/// What a command sees at a place.
#[derive(Debug)]
enum View {
    ReadOnly { source: PathBuf, target: PathBuf },
    Writable { source: PathBuf, target: PathBuf },
    Device(PathBuf),
    Link { to: OsString, at: PathBuf },
}

impl View {
    /// Readable where it is.
    fn same(path: PathBuf) -> Self {
        Self::ReadOnly { source: path.clone(), target: path }
    }

    fn target(&self) -> &Path {
        match self {
            Self::Device(path) => path,
            Self::ReadOnly { target, .. } | Self::Writable { target, .. } => target,
            Self::Link { at, .. } => at,
        }
    }
}

impl Order<'_> {
    /// The plan, or why this machine cannot carry it out.
    pub(super) fn plan(&self) -> Result<Plan, String> {
        let argv = match self.level {
            Level::Bubblewrap => self.bubblewrap()?,
            Level::Namespaces => self.namespaces()?,
            Level::Landlock | Level::None => self.inner(),
        };
        let readable = || self.toolchains.readable(self.worktree);
        let confinement = (self.level == Level::Landlock)
            .then(|| Confinement::new(readable(), self.worktree, &self.tmp(), self.network));
        Ok(Plan {
            argv: self.bound_to_parent(argv),
            env: self.environment(),
            directory: if self.level.has_mounts() { "/".into() } else { self.worktree.to_owned() },
            confinement,
            sweep: self.sweep(),
            mark: None,
            output_bytes: self.limits.output_bytes,
        })
    }

    fn tmp(&self) -> PathBuf {
        self.scratch.join("tmp")
    }

    /// Whether the command gets a user namespace: an ordinary user needs one for the others.
    fn owns_user_namespace(&self) -> bool {
        self.level.has_mounts() && self.user.is_none()
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let tmp = if self.level.has_mounts() { "/tmp".into() } else { self.tmp() };
        // What another user cannot enter would only give confusing errors in place of "not found".
        let in_reach = |dir: &&PathBuf| {
            self.level.has_mounts() || self.user.is_none() || is_reachable_by_others(&dir.join("program"))
        };
        let path = std::env::join_paths(self.toolchains.path.iter().filter(in_reach));
        let path = path.unwrap_or_else(|_| "/usr/bin:/bin".into());
        let mut env: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), path),
            ("HOME".into(), tmp.clone().into()),
            ("TMPDIR".into(), tmp.into()),
            ("LANG".into(), "C.UTF-8".into()),
            // Python takes bytecode for fresh by second and size: an edit within a second would be tested as it was.
            ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
        ];
        env.extend(self.toolchains.variables.iter().map(|(name, path)| (name.into(), path.into())));
        if self.level == Level::Namespaces && self.owns_user_namespace() {
            env.push(("SYNDARIX_OWN_USER_NAMESPACE".into(), "1".into()));
        }
        env
    }

    fn sweep(&self) -> Sweep {
        match self.user {
            // The namespace ends with its first process.
            _ if self.level.has_mounts() => Sweep::Namespace,
            Some(id) => Sweep::User {
                argv: [&[self.helpers.setpriv.clone().into()], become_user(id).as_slice()].concat(),
                sh: self.helpers.sh.clone(),
            },
            None => Sweep::Domain { sh: self.helpers.sh.clone(), marker: leftover::variable(self.scratch) },
        }
    }

    fn bound_to_parent(&self, argv: Vec<OsString>) -> Vec<OsString> {
        let mut bound: Vec<OsString> =
            vec![self.helpers.setpriv.clone().into(), END_WITH_PARENT.into(), "--".into()];
        bound.extend([self.helpers.sh.clone().into(), "-c".into(), HOLD_THE_MARK.into()]);
        bound.push("syndarix-sandbox".into());
        bound.extend(argv);
        bound
    }

    /// Limits, then privileges, then the command.
    fn inner(&self) -> Vec<OsString> {
        // Without a user or a user namespace of its own the command shares its limit with all tasks of
        // the server's user.
        let shares = self.user.is_none() && !self.owns_user_namespace();
        let mut argv: Vec<OsString> = vec![self.helpers.prlimit.clone().into()];
        argv.extend(self.limits.prlimit_args(if shares { tasks_of_the_machine() } else { 0 }));
        argv.push("--".into());
        argv.push(self.helpers.setpriv.clone().into());
        match self.user {
            Some(id) => argv.extend(become_user(id)),
            None if self.level == Level::Namespaces || (is_root() && !self.level.has_mounts()) => {
                argv.extend(NO_CAPABILITIES.map(OsString::from));
            }
            None => {}
        }
        // The kernel forgets it when the user changes.
        argv.extend([END_WITH_PARENT, "--no-new-privs", "--"].map(OsString::from));
        argv.extend(self.command.iter().cloned());
        argv
    }

    fn namespaces(&self) -> Result<Vec<OsString>, String> {
        let unshare = self.helpers.unshare.clone().ok_or("`unshare` is not installed (util-linux)")?;
        let mut argv: Vec<OsString> = vec![unshare.into()];
        if self.owns_user_namespace() {
            argv.extend(["--user", "--map-root-user"].map(OsString::from));
        }
        argv.extend(
            ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL"].map(OsString::from),
        );
        if !self.network {
            argv.push("--net".into());
        }
        argv.extend(["--".into(), self.helpers.sh.clone().into(), "-c".into(), NAMESPACE_SCRIPT.into()]);
        argv.extend(["syndarix-sandbox".into(), self.scratch.join("root").into(), self.worktree.into()]);
        let devices = DEVICES.map(|device| View::Device(device.into()));
        let streams = ["fd", "fd/0 stdin", "fd/1 stdout", "fd/2 stderr"].map(|stream| {
            let (of, name) = stream.split_once(' ').unwrap_or((stream, stream));
            View::Link { to: format!("/proc/self/{of}").into(), at: Path::new("/dev").join(name) }
        });
        for view in self.views().into_iter().chain(devices).chain(streams) {
            let (kind, source, target): (_, OsString, OsString) = match view {
                View::ReadOnly { source, target } => ("ro", source.into(), target.into()),
                View::Writable { source, target } => ("rw", source.into(), target.into()),
                View::Device(path) => ("dev", path.clone().into(), path.into()),
                View::Link { to, at } => ("link", to, at.into()),
            };
            argv.extend([kind.into(), source, target]);
        }
        argv.push("--".into());
        argv.extend(self.inner());
        Ok(argv)
    }

    fn bubblewrap(&self) -> Result<Vec<OsString>, String> {
        let bwrap = self.helpers.bubblewrap.clone().ok_or("`bwrap` is not installed")?;
        let mut argv: Vec<OsString> = vec![bwrap.into()];
        let mut add = |args: &[&str]| argv.extend(args.iter().map(OsString::from));
        add(&["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
        add(&["--new-session", "--die-with-parent", "--cap-drop", "ALL"]);
        if self.owns_user_namespace() {
            add(&["--unshare-user", "--disable-userns"]);
        } else {
            // What bubblewrap needs to enter directories of that user, and setpriv to become it; setpriv
            // gives all of it up.
            let kept = ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_READ_SEARCH"];
            for capability in kept {
                add(&["--cap-add", capability]);
            }
        }
        if !self.network {
            add(&["--unshare-net"]);
        }
        add(&["--proc", "/proc", "--dev", "/dev"]);
        let mut made = BTreeSet::new();
        for view in self.views() {
            // Left to itself, bubblewrap closes the directories above to other users.
            let above: Vec<PathBuf> = view.target().ancestors().skip(1).map(Path::to_owned).collect();
            for dir in above.into_iter().rev().filter(|dir| dir.parent().is_some()) {
                if made.insert(dir.clone()) {
                    argv.extend(["--dir".into(), dir.into()]);
                }
            }
            let (kind, source, target): (_, OsString, OsString) = match view {
                View::ReadOnly { source, target } => ("--ro-bind", source.into(), target.into()),
                View::Writable { source, target } => ("--bind", source.into(), target.into()),
                View::Device(path) => ("--dev-bind", path.clone().into(), path.into()),
                View::Link { to, at } => ("--symlink", to, at.into()),
            };
            argv.extend([kind.into(), source, target]);
        }
        argv.extend(["--remount-ro".into(), "/".into(), "--chdir".into(), self.worktree.into(), "--".into()]);
        argv.extend(self.inner());
        Ok(argv)
    }

    /// The file tree, parents before what is mounted inside them.
    fn views(&self) -> Vec<View> {
        let mut views = vec![View::Writable { source: self.tmp(), target: "/tmp".into() }];
        // Programs that ask for their user's name fail where there is none; the machine's users are nobody's
        // business.
        for (name, target) in [("passwd", "/etc/passwd"), ("group", "/etc/group")] {
            views.push(View::ReadOnly { source: self.scratch.join(name), target: target.into() });
        }
        let mut readable = self.toolchains.readable(self.worktree);
        readable.retain(|path| path != Path::new("/etc/passwd") && path != Path::new("/etc/group"));
        if self.network {
            readable.extend([PathBuf::from("/etc/resolv.conf")].into_iter().filter(|path| path.exists()));
        }
        readable.push("/sys/devices/system/cpu".into());
        for path in readable {
            // On a merged /usr, /bin and its like are links, and programs may depend on that.
            match (path.parent(), path.read_link()) {
                (Some(parent), Ok(to)) if parent == Path::new("/") => {
                    views.push(View::Link { to: to.into(), at: path });
                }
                _ => views.push(View::same(path)),
            }
        }
        let worktree = self.worktree.to_owned();
        views.push(View::Writable { source: worktree.clone(), target: worktree });
        let git = self.worktree.join(".git");
        // A link would be followed to what it names; it cannot be a repository of ours.
        if git.symlink_metadata().is_ok_and(|meta| !meta.is_symlink()) {
            views.push(View::same(git));
        }
        views
    }
}

const NO_CAPABILITIES: [&str; 2] = ["--bounding-set=-all", "--inh-caps=-all"];

fn become_user(id: u32) -> Vec<OsString> {
    let ids = [format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".to_owned()];
    ids.into_iter().map(OsString::from).chain(NO_CAPABILITIES.map(OsString::from)).collect()
}

/// Processes and threads of the whole machine: no user has more.
fn tasks_of_the_machine() -> u64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let total = load.split_whitespace().nth(3).and_then(|field| field.split_once('/'));
    total.and_then(|(_, total)| total.parse().ok()).unwrap_or(0)
}
