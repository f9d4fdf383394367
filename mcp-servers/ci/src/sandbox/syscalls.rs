//! Seccomp: closes the sockets that Landlock leaves open, for one thread and all that it starts.
//!
//! Landlock knows TCP from Linux 6.7 and path sockets from 7.1 on, and UDP not at all. The socket of a database of
//! the same user is a path socket; so no socket is made here at all, but for pairs, which lead nowhere else.

use std::{
    io,
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixDatagram,
};

/// Restricts the calling thread for good: no new sockets; with `network` those of the internet alone. Then tries to
/// make some: what is not closed really is an error.
pub(super) fn close_sockets(network: bool) -> Result<(), String> {
    filter::apply(network)?;
    let mut made = vec![("a Unix socket", UnixDatagram::unbound().map(drop))];
    if !network {
        made.push(("TCP", TcpListener::bind("127.0.0.1:0").map(drop)));
        made.push(("TCP over IPv6", TcpListener::bind("[::1]:0").map(drop)));
        made.push(("UDP", UdpSocket::bind("127.0.0.1:0").map(drop)));
    }
    let open = made.into_iter().find(|(_, made)| !is_refused(made));
    open.map_or(Ok(()), |(name, made)| Err(format!("{name} is not closed ({made:?})")))
}

fn is_refused(made: &io::Result<()>) -> bool {
    made.as_ref().is_err_and(|fault| fault.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(target_os = "linux")]
mod filter {
    use rustix::io::Errno;
    use seccompiler::{
        BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule, apply_filter,
    };
    use std::collections::BTreeMap;

    /// Numbers of the calls, from the kernel's tables: those of 64-bit ARM and RISC-V are the same.
    #[cfg(target_arch = "x86_64")]
    const CALLS: Calls = Calls { socket: 41, socketpair: 53, io_uring_setup: 425 };
    #[cfg(not(target_arch = "x86_64"))]
    const CALLS: Calls = Calls { socket: 198, socketpair: 199, io_uring_setup: 425 };
    /// The second set of numbers of x86-64 kernels with the x32 interface.
    const X32: i64 = 0x4000_0000;
    /// The families of the internet: IPv4, IPv6, and netlink, which lists their addresses and routes.
    const INTERNET: [u64; 3] = [2, 10, 16];
    /// `SOCK_DGRAM`, and `SOCK_RAW`, which a Unix pair takes for the same. One of a pair of these can be sent from to
    /// any other path.
    const DATAGRAMS: [u64; 2] = [2, 3];
    /// The bits of a socket's type without its flags.
    const TYPE: u64 = 0xf;

    struct Calls {
        socket: i64,
        socketpair: i64,
        io_uring_setup: i64,
    }

    pub(super) fn apply(network: bool) -> Result<(), String> {
        let program = program(network).map_err(|fault| fault.to_string())?;
        apply_filter(&program).map_err(|fault| format!("the kernel has no seccomp filters: {fault}"))
    }

    fn program(network: bool) -> Result<BpfProgram, BackendError> {
        // A call without rules is always refused.
        let sockets = if network { vec![not_of_the_internet()?] } else { Vec::new() };
        let pairs = DATAGRAMS.map(|kind| rule(&[(1, SeccompCmpOp::MaskedEq(TYPE), kind)]));
        let pairs = pairs.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut refused = BTreeMap::new();
        for interface in if cfg!(target_arch = "x86_64") { &[0, X32][..] } else { &[0] } {
            refused.insert(CALLS.socket | interface, sockets.clone());
            refused.insert(CALLS.socketpair | interface, pairs.clone());
            // Makes sockets without asking for them by a call.
            refused.insert(CALLS.io_uring_setup | interface, Vec::new());
        }
        let errno = Errno::ACCESS.raw_os_error().unsigned_abs();
        let architecture = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(errno), architecture)?
            .try_into()
    }

    fn not_of_the_internet() -> Result<SeccompRule, BackendError> {
        rule(&INTERNET.map(|family| (0, SeccompCmpOp::Ne, family)))
    }

    fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
        let conditions = conditions
            .iter()
            .map(|(argument, op, value)| SeccompCondition::new(*argument, Dword, op.clone(), *value));
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    }
}

#[cfg(not(target_os = "linux"))]
mod filter {
    pub(super) fn apply(_network: bool) -> Result<(), String> {
        Err("only Linux has seccomp".to_owned())
    }
}
