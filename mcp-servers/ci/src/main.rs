//! The MCP server `cicd` as a process of its own.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use syndarix_mcp_ci::{
    Ci, CiConfig, DEFAULT_COMMANDS,
    sandbox::{Level, SandboxConfig, Toolchains},
    server,
};

/// Flags besides the common ones.
#[derive(Debug, Args)]
struct Flags {
    /// The weakest isolation with which a command may run: bubblewrap, namespaces, landlock or none.
    #[arg(long, env = "SYNDARIX_MCP_MINIMUM_ISOLATION", default_value = "landlock")]
    minimum_isolation: Level,
    /// Let commands use the network.
    #[arg(long, env = "SYNDARIX_MCP_ALLOW_NETWORK")]
    allow_network: bool,
    /// A program that agents may run by name; may be given several times, and replaces the usual ones.
    #[arg(long = "allow-command", env = "SYNDARIX_MCP_ALLOW_COMMANDS", value_delimiter = ',')]
    allow_commands: Vec<String>,
    /// A directory or file that commands may read besides the system and the toolchains in PATH.
    #[arg(long = "readable", env = "SYNDARIX_MCP_READABLE", value_delimiter = ',')]
    readable: Vec<PathBuf>,
    /// Longest time of a test run or a command, in seconds.
    #[arg(long, env = "SYNDARIX_MCP_TEST_TIMEOUT", default_value_t = 600)]
    test_timeout: u64,
}

impl From<Flags> for CiConfig {
    fn from(flags: Flags) -> Self {
        let usual = || DEFAULT_COMMANDS.map(str::to_owned).to_vec();
        let toolchains =
            flags.readable.into_iter().fold(Toolchains::of_this_process(), Toolchains::with_readable);
        Self {
            sandbox: SandboxConfig {
                minimum: flags.minimum_isolation,
                network: flags.allow_network,
                toolchains,
                ..SandboxConfig::default()
            },
            commands: if flags.allow_commands.is_empty() { usual() } else { flags.allow_commands },
            timeout: Duration::from_secs(flags.test_timeout.max(1)),
        }
    }
}

fn main() -> ExitCode {
    syndarix_mcp_kit::main_with("syndarix-mcp-ci", |_, flags: Flags| server(Ci::probe(flags.into())))
}
