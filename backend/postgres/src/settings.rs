//! The server's settings, as command-line arguments: they hold for every start and cannot drift from the code.

use crate::options::EmbeddedOptions;
use crate::run_dir::PORT;
use std::path::Path;

/// Arguments for `postgres`. `rules` says who may sign in how; `cluster` marks the processes of this home in the process
/// list.
pub(crate) fn arguments(
    options: &EmbeddedOptions,
    run_dir: &Path,
    rules: &Path,
    cluster: &str,
) -> Vec<String> {
    let sized = [
        ("max_connections", options.max_connections.to_string()),
        ("shared_buffers", format!("{}MB", options.shared_buffers_mb)),
        ("unix_socket_directories", quoted(&run_dir.display().to_string())),
        ("port", PORT.to_string()),
        ("cluster_name", cluster.to_owned()),
        ("hba_file", rules.display().to_string()),
    ];
    let fixed = FIXED.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let extra = options.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
    // PostgreSQL takes the last of equal names, so the caller's win.
    fixed
        .chain(sized)
        .chain(extra)
        .flat_map(|(name, value)| ["-c".into(), format!("{name}={value}")])
        .collect()
}

const FIXED: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("password_encryption", "scram-sha-256"),
    // Durability is the product: none of these is for sale.
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    // Longer between checkpoints: fewer full pages in the log. Recovery of 2 GiB takes seconds.
    ("checkpoint_timeout", "15min"),
    ("max_wal_size", "2GB"),
    ("min_wal_size", "128MB"),
    // The bundled build has no lz4.
    ("wal_compression", "pglz"),
    // Queue tables die fast; and a forgotten transaction keeps every dead row alive.
    ("autovacuum_naptime", "10s"),
    ("idle_in_transaction_session_timeout", "10s"),
    // A statement that waits for a lock does not notice that its process was killed, and keeps what it has locked itself.
    ("client_connection_check_interval", "1s"),
    // Short statements on few cores: neither parallel workers (whose shared memory is 64 MiB in a container) nor
    // just-in-time compilation pay.
    ("max_parallel_workers_per_gather", "0"),
    ("max_parallel_maintenance_workers", "0"),
    ("jit", "off"),
    ("maintenance_work_mem", "128MB"),
    ("random_page_cost", "1.1"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] %q%a "),
    ("log_min_duration_statement", "1s"),
    ("log_lock_waits", "on"),
    ("log_checkpoints", "off"),
];

/// The value is a list of folders, in which a comma separates.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_settings_come_last_and_so_win() {
        let mut options = EmbeddedOptions::platform_default(|_| None);
        options.settings = vec![("jit".into(), "on".into())];
        let arguments =
            arguments(&options, Path::new("/run/a,b"), Path::new("/data/access.conf"), "syndarix-1");
        assert_eq!(arguments.last().unwrap(), "jit=on");
        assert!(arguments.contains(&"unix_socket_directories=\"/run/a,b\"".to_owned()));
        assert!(
            arguments.contains(&"fsync=on".to_owned()) && arguments.contains(&"listen_addresses=".to_owned())
        );
    }
}
