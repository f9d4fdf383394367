//! Escapes, tried for real, at every level this machine has.
//!
//! The table in [`TRIES`] says for each try at which levels it must fail. Levels that the machine lacks are
//! named on standard error and skipped; `landlock` and above are never all skipped on Linux 5.13 or later.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::fs::symlink,
    time::Instant,
};

use super::*;

/// What becomes of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stopped,
    Possible,
}
use Fate::{Possible, Stopped};

/// An escape: a Python program that says `ESCAPED` when it gets through (`A` is a dictionary of places),
/// and its fate: with a file tree of its own (bubblewrap, namespaces) and with Landlock, each under the server's
/// user or, when the server is root, under a user of its own.
struct Try {
    name: &'static str,
    program: &'static str,
    mounts: Fate,
    mounts_own_user: Fate,
    landlock_own_user: Fate,
    landlock: Fate,
}

const fn stopped(name: &'static str, program: &'static str) -> Try {
    Try {
        name,
        program,
        mounts: Stopped,
        mounts_own_user: Stopped,
        landlock_own_user: Stopped,
        landlock: Stopped,
    }
}

const TRIES: &[Try] = &[
    stopped("read /etc/shadow", "open('/etc/shadow').read(); escaped()"),
    stopped("read the secret beside the worktree", "open(A['secret']).read(); escaped()"),
    stopped("read the server's home", "open(A['home'] + '/private').read(); escaped()"),
    stopped("list the server's home", "os.listdir(A['home']); escaped()"),
    stopped("read another worktree", "open(A['other'] + '/file').read(); escaped()"),
    stopped("read another worktree with dots", "open('../other/file').read(); escaped()"),
    stopped("read another worktree through a planted link", "open('link-to-other/file').read(); escaped()"),
    stopped("read through /proc/self/root", "open('/proc/self/root' + A['secret']).read(); escaped()"),
    stopped(
        "read the server's environment",
        "open('/proc/%d/environ' % A['server'], 'rb').read() and escaped()",
    ),
    stopped(
        "read the environment of process 1",
        "b'HOME=/root' in open('/proc/1/environ', 'rb').read() and escaped()",
    ),
    stopped(
        "see the server's command line",
        "open('/proc/%d/cmdline' % A['server'], 'rb').read() and escaped()",
    ),
    stopped(
        "write beside the worktree",
        "open(A['root'] + '/new', 'w').write('x'); verify(A['root'] + '/new')",
    ),
    stopped("write to another worktree", "open(A['other'] + '/file', 'w').write('x'); escaped()"),
    stopped("write through a planted link", "open('link-to-other/new', 'w').write('x'); escaped()"),
    stopped(
        "write through a link of its own",
        "os.symlink(A['other'], 'own'); open('own/new', 'w').write('x'); escaped()",
    ),
    stopped("write to /usr", "open('/usr/escaped', 'w').write('x'); escaped()"),
    stopped("write to /etc", "open('/etc/escaped', 'w').write('x'); escaped()"),
    stopped(
        "write a hook",
        "os.makedirs('.git/hooks', exist_ok=True); open('.git/hooks/pre-commit', 'w').write('evil'); escaped_if_git_changed()",
    ),
    stopped("change git's configuration", "open('.git/config', 'a').write('evil'); escaped_if_git_changed()"),
    stopped(
        "move .git away",
        "os.rename('.git', 'gone'); os.mkdir('.git'); open('.git/config', 'w').write('evil'); escaped_if_git_changed()",
    ),
    stopped("delete .git", "shutil.rmtree('.git'); escaped_if_git_changed()"),
    stopped("hard link out of the other worktree", "os.link(A['other'] + '/file', 'hard'); escaped()"),
    stopped(
        "rename out of the worktree",
        "open('mine', 'w').write('x'); os.rename('mine', A['other'] + '/mine'); escaped()",
    ),
    Try {
        landlock: Possible,
        ..stopped("change the mode of a file outside", "os.chmod(A['secret'], 0o777); escaped()")
    },
    Try {
        landlock: Possible,
        ..stopped("change the time of a file outside", "os.utime(A['secret'], (0, 0)); escaped()")
    },
    Try {
        landlock_own_user: Possible,
        landlock: Possible,
        ..stopped("see that a file outside exists", "os.stat(A['secret']); escaped()")
    },
    stopped("connect by TCP", "socket.create_connection(('127.0.0.1', A['tcp']), 2); escaped()"),
    stopped(
        "listen by TCP where others can connect",
        "s = socket.socket(); s.bind(('0.0.0.0', 0)); reachable(s)",
    ),
    stopped(
        "send by UDP",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'escaped', ('127.0.0.1', A['udp'])); sent()",
    ),
    stopped(
        "connect to an abstract socket",
        "s = socket.socket(socket.AF_UNIX); s.connect('\\0' + A['abstract']); escaped()",
    ),
    stopped(
        "connect to a path socket",
        "s = socket.socket(socket.AF_UNIX); s.connect(A['socket']); escaped()",
    ),
    stopped(
        "send to a path socket from one of a pair",
        "s, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'escaped', A['letterbox']); escaped()",
    ),
    stopped(
        "make sockets without asking for them",
        "import ctypes; ctypes.CDLL(None).syscall(425, 8, ctypes.byref(ctypes.create_string_buffer(120))) >= 0 and ring()",
    ),
    stopped("signal the server", "os.kill(A['server'], 0); escaped()"),
    stopped(
        "mount",
        "subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', os.environ['TMPDIR']], check=True); escaped()",
    ),
    stopped("connect by TCP over IPv6", "socket.create_connection(('::1', A['tcp6']), 2); escaped()"),
    stopped(
        "open a raw socket",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); escaped()",
    ),
    stopped("read another run's private directory", "open(A['private'] + '/file').read(); escaped()"),
    stopped("read the server's memory", "open('/proc/%d/mem' % A['server'], 'rb'); escaped()"),
    stopped(
        "enter the server's namespaces",
        "subprocess.run(['nsenter', '-t', str(A['server']), '-m', 'true'], check=True); escaped()",
    ),
    stopped("make a device", "os.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(254, 0)); escaped()"),
    stopped(
        "leave a program that runs as root",
        "os.chown('mine', 0, 0) if os.getuid() else fail(); escaped()",
    ),
    Try {
        mounts_own_user: Possible,
        landlock_own_user: Possible,
        landlock: Possible,
        ..stopped("make a user namespace", "subprocess.run(['unshare', '-U', 'true'], check=True); escaped()")
    },
    stopped("become root", "os.setuid(0) if os.getuid() else fail(); escaped()"),
    stopped("raise a limit", "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (99999, 99999)); escaped()"),
];

const PRELUDE: &str = r"
import json, os, shutil, socket, stat, subprocess, sys
A = json.loads(sys.argv[1])
def escaped(): print('ESCAPED')
def sent(): print('SENT')
def ring(): print('RING')
def fail(): raise SystemExit('as expected')
def escaped_if_git_changed(): print('GIT')
def verify(path): print('WROTE')
def reachable(s):
    s.listen(); print('LISTENING', s.getsockname()[1], flush=True)
    s.settimeout(1); s.accept(); print('ESCAPED')
";

/// A project with two worktrees and something to lose.
struct Place {
    _dir: TempDir,
    root: PathBuf,
    worktree: PathBuf,
    home: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::with_prefix("syndarix-test-").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (worktree, home) = (root.join("run"), root.join("home"));
        for path in [worktree.join(".git/hooks"), root.join("other"), home.clone()] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(worktree.join(".git/config"), "[core]\n").unwrap();
        fs::write(root.join("secret"), "secret").unwrap();
        fs::write(root.join("other/file"), "other").unwrap();
        fs::write(home.join("private"), "private").unwrap();
        symlink(root.join("other"), worktree.join("link-to-other")).unwrap();
        Self { _dir: dir, root, worktree, home }
    }

    fn job(&self, command: &[&str]) -> Job {
        Job {
            worktree: self.worktree.clone(),
            command: command.iter().map(OsString::from).collect(),
            timeout: Duration::from_secs(20),
        }
    }

    fn git_is_intact(&self) -> bool {
        let git = self.worktree.join(".git");
        fs::read_to_string(git.join("config")).is_ok_and(|text| text == "[core]\n")
            && fs::read_dir(git.join("hooks")).is_ok_and(|mut hooks| hooks.next().is_none())
    }
}

fn config(level: Level) -> SandboxConfig {
    SandboxConfig {
        strongest: level,
        minimum: Level::None,
        toolchains: Toolchains::of_this_process(),
        bubblewrap: std::env::var_os("SYNDARIX_TEST_BWRAP").map(PathBuf::from),
        ..SandboxConfig::default()
    }
}

/// A sandbox for each level above `none` that this machine has.
fn sandboxes(change: impl Fn(&mut SandboxConfig)) -> Vec<Sandbox> {
    let levels = [Level::Bubblewrap, Level::Namespaces, Level::Landlock];
    let probe = |level| {
        let mut config = config(level);
        change(&mut config);
        config.minimum = level;
        let sandbox = Sandbox::probe(config);
        let has = sandbox.isolation().level == level;
        if let Some(refusal) = sandbox.refusal() {
            eprintln!("skipped: {refusal}");
        }
        has.then_some(sandbox)
    };
    let found: Vec<Sandbox> = levels.into_iter().filter_map(probe).collect();
    assert!(!found.is_empty(), "no isolation level works on this machine");
    found
}

async fn run(sandbox: &Sandbox, job: Job) -> Finished {
    sandbox.run(job, &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn no_escape_gets_further_than_the_table_says() {
    use std::os::linux::net::SocketAddrExt as _;
    let place = Place::new();
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    udp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let name = format!("syndarix-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let socket = place.root.join("socket");
    let _path = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let letterbox = place.root.join("letterbox");
    let _letterbox = std::os::unix::net::UnixDatagram::bind(&letterbox).unwrap();
    fs::set_permissions(&letterbox, fs::Permissions::from_mode(0o777)).unwrap();
    let tcp6 = TcpListener::bind("[::1]:0").ok();
    let private = TempDir::with_prefix("syndarix-run-").unwrap();
    fs::set_permissions(private.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(private.path().join("file"), "private").unwrap();
    let arguments = serde_json::json!({
        "private": private.path(), "tcp6": tcp6.map_or(0, |tcp6| tcp6.local_addr().unwrap().port()),
        "root": place.root, "secret": place.root.join("secret"), "other": place.root.join("other"),
        "home": place.home, "server": std::process::id(), "socket": socket, "abstract": name,
        "letterbox": letterbox, "tcp": tcp.local_addr().unwrap().port(), "udp": udp.local_addr().unwrap().port(),
    });
    // The system's own where there is one: a version manager's wrapper takes a second to start.
    let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    let mut wrong = Vec::new();
    for sandbox in sandboxes(|_| {}) {
        let level = sandbox.isolation().level;
        for attempt in TRIES {
            let program = format!("{PRELUDE}{}\n", attempt.program);
            let job = place.job(&[python, "-c", &program, &arguments.to_string()]);
            let finished = run(&sandbox, job).await;
            let text = &finished.output.text;
            let mut buffer = [0_u8; 16];
            let got_through = text.contains("ESCAPED")
                || (text.contains("SENT") && udp.recv(&mut buffer).is_ok())
                // Within a network of its own a ring leads nowhere.
                || (text.contains("RING") && !level.has_mounts())
                || (text.contains("WROTE") && place.root.join("new").exists())
                || !place.git_is_intact();
            let fate = if got_through { Possible } else { Stopped };
            let expected = match (level.has_mounts(), identity::is_root()) {
                (true, false) => attempt.mounts,
                (true, true) => attempt.mounts_own_user,
                (false, true) => attempt.landlock_own_user,
                (false, false) => attempt.landlock,
            };
            if fate != expected {
                wrong.push(format!("{level}: {}: {fate:?}, expected {expected:?}: {text}", attempt.name));
            }
            if text.contains("SyntaxError") || text.contains("NameError") {
                wrong.push(format!("{level}: {}: the test is wrong: {text}", attempt.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_worktree_and_the_private_directory_are_writable_and_programs_run() {
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        fs::create_dir(place.worktree.join("old")).unwrap();
        fs::write(place.worktree.join("old/file"), "old").unwrap();
        let script = "set -e; echo changed > old/file; mkdir new; echo made > new/file; rm -r link-to-other
            mv old/file moved; echo t > \"$TMPDIR/t\"; echo t > \"$HOME/h\"; pwd; echo x > /dev/null; cat /etc/passwd > /dev/null";
        let finished = run(&sandbox, place.job(&["sh", "-c", script])).await;
        assert_eq!(finished.exit_code, 0, "{finished:?}");
        assert_eq!(finished.output.text.trim(), place.worktree.to_str().unwrap());
        assert_eq!(fs::read_to_string(place.worktree.join("moved")).unwrap(), "changed\n");
        assert_eq!(fs::read_to_string(place.worktree.join("new/file")).unwrap(), "made\n");
        assert!(place.git_is_intact());
        assert_eq!(fs::read_dir(place.root).unwrap().count(), 4, "nothing is left beside the worktree");
    }
}

#[tokio::test]
async fn a_linked_worktree_stays_clean_and_in_use_for_git() {
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        let worktree = place.root.join("linked");
        let git = |dir: &Path, args: &[&str]| {
            let config =
                ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"];
            let done =
                std::process::Command::new("git").args(config).args(args).current_dir(dir).output().unwrap();
            assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap()
        };
        let repository = place.root.join("repository");
        fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "-q"]);
        fs::write(repository.join("run.sh"), "echo run > made.txt\n").unwrap();
        fs::set_permissions(repository.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        git(&repository, &["add", "."]);
        git(&repository, &["commit", "-q", "-m", "One"]);
        git(&repository, &["worktree", "add", "-q", worktree.to_str().unwrap()]);
        let job =
            Job { worktree: worktree.clone(), ..place.job(&["sh", "-c", "./run.sh; echo evil > .git"]) };
        let finished = run(&sandbox, job).await;
        let level = sandbox.isolation().level;
        assert_eq!(git(&worktree, &["status", "--porcelain"]), "?? made.txt\n", "{level}: {finished:?}");
        git(&worktree, &["add", "."]);
        git(&worktree, &["commit", "-q", "-m", "Two"]);
        assert_eq!(git(&repository, &["log", "--format=%s", "linked"]), "Two\nOne\n");
    }
}

#[tokio::test]
async fn the_commands_user_has_a_name_in_its_own_file_tree() {
    for sandbox in sandboxes(|_| {}).into_iter().filter(|sandbox| sandbox.isolation().level.has_mounts()) {
        let place = Place::new();
        let finished = run(&sandbox, place.job(&["sh", "-c", "whoami; wc -l < /etc/passwd"])).await;
        assert_eq!(finished.exit_code, 0, "{finished:?}");
        assert!(finished.output.text.starts_with("sandbox") || finished.output.text.starts_with("root"));
    }
}

#[tokio::test]
async fn the_walls_cost_less_than_a_second() {
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        let fastest = {
            let mut times = Vec::new();
            for _ in 0..5 {
                times.push(run(&sandbox, place.job(&["true"])).await.duration);
            }
            times.into_iter().min().unwrap()
        };
        eprintln!("{}: {fastest:?}", sandbox.isolation().level);
        assert!(fastest < Duration::from_secs(1), "{}: {fastest:?}", sandbox.isolation().level);
    }
}

#[tokio::test]
async fn nothing_of_the_servers_environment_is_passed_on() {
    let known = [
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "PYTHONDONTWRITEBYTECODE",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "PYENV_ROOT",
        "PWD",
    ];
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        let finished = run(&sandbox, place.job(&["env"])).await;
        for line in finished.output.text.lines() {
            let name = line.split_once('=').unwrap().0;
            assert!(known.contains(&name), "{}: {line}", sandbox.isolation().level);
        }
        assert!(finished.output.text.contains("LANG=C.UTF-8"));
    }
}

#[tokio::test]
async fn the_exit_code_is_the_commands_own_and_output_keeps_its_order() {
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        let finished = run(&sandbox, place.job(&["sh", "-c", "echo 1; echo 2 >&2; echo 3; exit 7"])).await;
        assert_eq!((finished.exit_code, finished.output.text.as_str()), (7, "1\n2\n3\n"));
        assert!(!finished.timed_out);
        let killed = run(&sandbox, place.job(&["sh", "-c", "kill -TERM $$"])).await;
        assert_eq!(killed.exit_code, 128 + 15, "{killed:?}");
        let missing = run(&sandbox, place.job(&["no-such-program"])).await;
        assert_eq!(missing.exit_code, 127, "{missing:?}");
    }
}

#[tokio::test]
async fn a_command_out_of_time_ends_with_everything_it_started() {
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        // Leaves the group, the session and its environment.
        let script = "echo started; (setsid env -i sh -c 'while :; do date +%s%N >> beat; sleep 0.05; done' &) ; sleep 60";
        let mut job = place.job(&["sh", "-c", script]);
        job.timeout = Duration::from_millis(1500);
        let before = Instant::now();
        let finished = run(&sandbox, job).await;
        assert!(finished.timed_out, "{finished:?}");
        assert!(finished.output.text.contains("started"));
        assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
        stays_silent(&place, sandbox.isolation().level).await;
    }
}

#[tokio::test]
async fn a_daemon_does_not_outlive_its_command() {
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        let script =
            "setsid env -i sh -c 'while :; do date +%s%N >> beat; sleep 0.05; done' > /dev/null 2>&1 &
            while [ ! -s beat ]; do sleep 0.02; done";
        let finished = run(&sandbox, place.job(&["sh", "-c", script])).await;
        assert_eq!((finished.exit_code, finished.timed_out), (0, false), "{finished:?}");
        stays_silent(&place, sandbox.isolation().level).await;
    }
}

/// The daemon wrote, and writes no more.
async fn stays_silent(place: &Place, level: Level) {
    let beat = || fs::read_to_string(place.worktree.join("beat")).unwrap();
    let first = beat();
    assert!(!first.is_empty(), "{level}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(beat(), first, "{level}: a process is still alive");
}

#[tokio::test]
async fn cancelling_or_dropping_ends_the_command_and_frees_the_worktree() {
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        let job = || place.job(&["sh", "-c", "while :; do date +%s%N >> beat; sleep 0.05; done"]);
        let cancel = CancellationToken::new();
        let running = sandbox.run(job(), &cancel);
        let beats = async || {
            while fs::read_to_string(place.worktree.join("beat")).is_ok_and(|beat| beat.is_empty())
                || !place.worktree.join("beat").exists()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let stop = async {
            beats().await;
            let busy = sandbox.run(job(), &cancel).await;
            assert!(matches!(busy, Err(SandboxError::Busy)), "{busy:?}");
            cancel.cancel();
        };
        let (ended, ()) = tokio::join!(running, stop);
        assert!(matches!(ended, Err(SandboxError::Cancelled)), "{ended:?}");
        stays_silent(&place, sandbox.isolation().level).await;
        let fresh = CancellationToken::new();
        fs::remove_file(place.worktree.join("beat")).unwrap();
        tokio::select! {
            _ = sandbox.run(job(), &fresh) => panic!("it ended by itself"),
            () = beats() => {}
        }
        while matches!(sandbox.run(place.job(&["true"]), &fresh).await, Err(SandboxError::Busy)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stays_silent(&place, sandbox.isolation().level).await;
        assert!(place.git_is_intact());
    }
}

#[tokio::test]
async fn bombs_stay_inside() {
    let small = |config: &mut SandboxConfig| {
        config.limits.processes = 60;
        config.limits.memory_bytes = 200 * 1024 * 1024;
        config.limits.file_bytes = 10 * 1024 * 1024;
    };
    for sandbox in sandboxes(small) {
        let place = Place::new();
        let level = sandbox.isolation().level;
        let forks = "import os, time
n = 0
try:
    while n < 5000:
        if os.fork() == 0: time.sleep(30); os._exit(0)
        n += 1
except OSError as e: print('bounded', n, flush=True)
os._exit(0)";
        let finished = run(&sandbox, place.job(&["python3", "-c", forks])).await;
        assert!(finished.output.text.contains("bounded"), "{level}: {finished:?}");
        let memory = "try: x = bytearray(1 << 30)\nexcept MemoryError: print('bounded')";
        let finished = run(&sandbox, place.job(&["python3", "-c", memory])).await;
        assert!(finished.output.text.contains("bounded"), "{level}: {finished:?}");
        let file = "try: open('big', 'wb').write(b'x' * (20 << 20))\nexcept OSError: print('bounded')";
        let finished = run(&sandbox, place.job(&["python3", "-c", file])).await;
        assert!(
            finished.output.text.contains("bounded") || finished.exit_code > 128,
            "{level}: {finished:?}"
        );
        assert!(fs::metadata(place.worktree.join("big")).unwrap().len() <= 10 << 20);
        // A real bomb: each child forks on, and the time is short.
        let mut bomb = place.job(&["sh", "-c", "b() { b | b & b; }; b"]);
        bomb.timeout = Duration::from_secs(2);
        let before = Instant::now();
        run(&sandbox, bomb).await;
        assert!(before.elapsed() < Duration::from_secs(10), "{level}");
    }
}

#[tokio::test]
async fn a_flood_of_output_is_read_and_mostly_dropped() {
    for sandbox in sandboxes(|config| config.limits.output_bytes = 4096) {
        let place = Place::new();
        let flood =
            place.job(&["sh", "-c", "echo first; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo last"]);
        let finished = run(&sandbox, flood).await;
        let output = finished.output;
        assert!(output.truncated && output.total_bytes > 50_000_000);
        assert!(output.text.len() < 5000);
        assert!(output.text.starts_with("first\n") && output.text.ends_with("\nlast\n"));
    }
}

#[tokio::test]
async fn the_languages_own_test_runners_work() {
    for sandbox in sandboxes(|_| {}) {
        let level = sandbox.isolation().level;
        let place = Place::new();
        fs::remove_file(place.worktree.join("link-to-other")).unwrap();
        fs::write(
            place.worktree.join("test_sum.py"),
            "import unittest, tempfile, threading\nclass T(unittest.TestCase):\n    def test_sum(self):\n        with tempfile.TemporaryFile() as f: f.write(b'x')\n        self.assertEqual(1 + 1, 2)\n",
        )
        .unwrap();
        let python = run(&sandbox, place.job(&["sh", "-c", "python3 -m unittest"])).await;
        assert!(
            python.exit_code == 0 && python.output.text.contains("OK"),
            "{level}: {}",
            python.output.text
        );
        if has("node") {
            let test = "const t = require('node:test'); const a = require('node:assert'); t('sum', () => a.equal(1 + 1, 2));";
            fs::write(place.worktree.join("sum.test.js"), test).unwrap();
            let node = run(&sandbox, place.job(&["sh", "-c", "node --test"])).await;
            assert!(
                node.exit_code == 0 && node.output.text.contains("pass 1"),
                "{level}: {}",
                node.output.text
            );
        }
        let dropped = identity::is_root() && !level.has_mounts();
        let toolchain =
            Toolchains::of_this_process().variables.into_iter().find(|(name, _)| *name == "RUSTUP_HOME");
        let in_reach = toolchain.is_some_and(|(_, path)| !dropped || identity::is_reachable_by_others(&path));
        if in_reach {
            fs::create_dir(place.worktree.join("src")).unwrap();
            fs::write(
                place.worktree.join("Cargo.toml"),
                "[package]\nname = \"sum\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            )
            .unwrap();
            fs::write(place.worktree.join("src/lib.rs"), "#[test]\nfn sum() { assert_eq!(1 + 1, 2) }\n")
                .unwrap();
            let mut job = place.job(&["sh", "-c", "cargo test --offline"]);
            job.timeout = Duration::from_secs(120);
            let cargo = run(&sandbox, job).await;
            assert!(
                cargo.exit_code == 0 && cargo.output.text.contains("1 passed"),
                "{level}: {}",
                cargo.output.text
            );
        } else {
            eprintln!("{level}: the Rust toolchain is out of reach of the commands' user");
        }
    }
}

fn has(program: &str) -> bool {
    Toolchains::of_this_process().path.iter().any(|dir| dir.join(program).is_file())
}

#[tokio::test]
async fn below_the_minimum_nothing_runs_and_the_reason_helps() {
    let place = Place::new();
    let weak = SandboxConfig { strongest: Level::None, ..config(Level::None) };
    let sandbox = Sandbox::probe(SandboxConfig { minimum: Level::Landlock, ..weak.clone() });
    let refused = sandbox.run(place.job(&["touch", "ran"]), &CancellationToken::new()).await.unwrap_err();
    let sentence = refused.to_string();
    assert!(matches!(refused, SandboxError::TooWeak(_)));
    assert!(sentence.contains("`landlock`") && sentence.contains("minimum_isolation"), "{sentence}");
    assert!(!place.worktree.join("ran").exists());
    let allowed = Sandbox::probe(weak);
    let finished = run(&allowed, place.job(&["touch", "ran"])).await;
    assert_eq!((finished.exit_code, finished.isolation.level), (0, Level::None), "{finished:?}");
}

#[tokio::test]
async fn pairs_of_sockets_work_for_programs_that_talk_to_their_children() {
    let program = "import multiprocessing, subprocess, socket
a, b = socket.socketpair(); a.send(b'x'); b.recv(1)
p, c = multiprocessing.Pipe(); p.send('y'); c.recv()
print(subprocess.run(['echo', 'talked'], capture_output=True, text=True).stdout)";
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        let finished = run(&sandbox, place.job(&["python3", "-c", program])).await;
        assert!(finished.output.text.contains("talked"), "{finished:?}");
    }
}

#[tokio::test]
async fn with_the_network_allowed_the_internet_is_open_and_the_machines_own_sockets_are_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = format!(
        "import socket
socket.create_connection(('127.0.0.1', {})); print('connected')
try: socket.socket(socket.AF_UNIX); print('unix')
except PermissionError: print('closed')",
        listener.local_addr().unwrap().port()
    );
    for sandbox in sandboxes(|config| config.network = true) {
        let place = Place::new();
        let finished = run(&sandbox, place.job(&["python3", "-c", &program])).await;
        assert!(finished.output.text.contains("connected"), "{finished:?}");
        let expected = if sandbox.isolation().level.has_mounts() { "unix" } else { "closed" };
        assert!(finished.output.text.contains(expected), "{finished:?}");
        assert!(sandbox.isolation().detail.contains("network allowed"));
    }
}

/// Begins once another command has the only place.
async fn with_the_only_place_taken(queue_limit: Duration, job: &[&str]) -> Result<Finished, SandboxError> {
    let sandbox = sandboxes(|config| {
        config.max_jobs = 1;
        config.queue_limit = queue_limit;
    });
    let (first, second) = (Place::new(), Place::new());
    let queued = async {
        while !first.worktree.join("begun").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let job = Job { timeout: Duration::from_millis(1500), ..second.job(job) };
        sandbox[0].run(job, &CancellationToken::new()).await
    };
    let (_, ended) = tokio::join!(run(&sandbox[0], first.job(&["sh", "-c", "touch begun; sleep 2"])), queued);
    ended
}

#[tokio::test]
async fn a_command_that_finds_no_place_is_told_so() {
    let refused = with_the_only_place_taken(Duration::from_millis(500), &["true"]).await;
    assert!(matches!(refused, Err(SandboxError::Full { places: 1, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_commands_own_time_begins_with_its_place() {
    let finished = with_the_only_place_taken(Duration::from_secs(60), &["true"]).await.unwrap();
    assert!(!finished.timed_out && finished.exit_code == 0, "{finished:?}");
}

/// Not a test: the server that the next one kills.
#[test]
#[ignore = "started by the test of a killed server"]
fn a_server_that_runs_a_command_until_it_is_killed() {
    let Some((level, worktree)) = std::env::var_os("SYNDARIX_TEST_KILLED").and_then(|asked| {
        let asked = asked.into_string().ok()?;
        let (level, worktree) = asked.split_once(' ')?;
        Some((level.parse::<Level>().ok()?, PathBuf::from(worktree)))
    }) else {
        return;
    };
    let script = "(setsid env -i sh -c 'while :; do date +%s%N >> beat; sleep 0.05; done' &)
        while :; do date +%s%N >> beat; sleep 0.05; done";
    let command = ["sh", "-c", script].map(OsString::from).to_vec();
    let job = Job { worktree, command, timeout: Duration::from_secs(60) };
    let sandbox = Sandbox::probe(config(level));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _ = runtime.block_on(sandbox.run(job, &CancellationToken::new()));
}

#[tokio::test]
async fn what_a_killed_server_was_running_ends_before_the_next_command_of_the_worktree_begins() {
    for sandbox in sandboxes(|_| {}) {
        let place = Place::new();
        let level = sandbox.isolation().level;
        let me = std::env::current_exe().unwrap();
        let mut server = std::process::Command::new(me)
            .args(["--exact", "sandbox::tests::a_server_that_runs_a_command_until_it_is_killed", "--ignored"])
            .env("SYNDARIX_TEST_KILLED", format!("{level} {}", place.worktree.display()))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let beat = place.worktree.join("beat");
        let deadline = Instant::now() + Duration::from_secs(30);
        while fs::read_to_string(&beat).unwrap_or_default().lines().count() < 4 {
            assert!(Instant::now() < deadline, "{level}: it does not begin");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let busy = sandbox.run(place.job(&["true"]), &CancellationToken::new()).await;
        assert!(matches!(busy, Err(SandboxError::Busy)), "{level}: {busy:?}");

        server.kill().unwrap();
        server.wait().unwrap();

        let finished = run(&sandbox, place.job(&["sh", "-c", "rm beat; sleep 0.5; ls"])).await;
        assert!(!finished.output.text.contains("beat"), "{level}: it runs on: {finished:?}");
        assert_eq!(fs::read_dir(&place.root).unwrap().count(), 4, "nothing is left beside the worktree");
        assert!(place.git_is_intact());
    }
}
