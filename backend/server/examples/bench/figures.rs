//! Where figures go: the terminal, and a file of JSON lines.

use crate::Failure;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::Duration,
};

/// What decides whether a commit is on the disk when it is answered.
const DURABILITY: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// The settings of a figure, with what the server says of its own: what was asked for need not be what it does.
pub(crate) async fn as_served(pool: &PgPool, mut settings: Value) -> Result<Value, Failure> {
    for name in DURABILITY {
        let said: String =
            sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(pool).await?;
        settings[name] = json!(said);
    }
    Ok(settings)
}

/// Collects figures.
pub(crate) struct Figures {
    file: File,
    name: String,
}

impl Figures {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        Ok(Self { file: File::create(path)?, name: path.display().to_string() })
    }

    /// One figure. `per_cpu_second` is the rate per second of CPU time, ours and PostgreSQL's together: it can be read
    /// on a busy machine, too.
    pub(crate) fn add(
        &mut self,
        name: &str,
        (value, unit): (f64, &str),
        per_cpu_second: Option<f64>,
        settings: &Value,
    ) -> Result<(), Failure> {
        let mut line = json!({ "name": name, "value": rounded(value), "unit": unit, "settings": settings });
        if let Some(rate) = per_cpu_second {
            line["per_cpu_second"] = json!(rounded(rate));
        }
        writeln!(self.file, "{line}")?;
        let cpu = per_cpu_second.map(|rate| format!("  ({rate:.0} per CPU second)")).unwrap_or_default();
        writeln!(std::io::stdout().lock(), "{name:<44} {value:>12.2} {unit}{cpu}  {settings}")?;
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), Failure> {
        writeln!(std::io::stdout().lock(), "written to {}", self.name)?;
        Ok(())
    }
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The value below which this share of the sorted samples lies, in milliseconds.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(index).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1000.0)
}

/// CPU seconds used so far by this process and by the processes of a PostgreSQL.
pub(crate) fn cpu_seconds(postmaster: u32) -> f64 {
    cpu_seconds_of(&[std::process::id()], Some(postmaster))
}

/// CPU seconds used so far by these processes and by those of a PostgreSQL.
pub(crate) fn cpu_seconds_of(pids: &[u32], postmaster: Option<u32>) -> f64 {
    let mut total = 0.0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some((parent, seconds)) = stat(pid) else { continue };
        if pids.contains(&pid) || postmaster.is_some_and(|postmaster| [pid, parent].contains(&postmaster)) {
            total += seconds;
        }
    }
    total
}

/// Parent and CPU seconds of a process, its ended children included.
fn stat(pid: u32) -> Option<(u32, f64)> {
    /// Ticks of a second in /proc on Linux.
    const TICKS: f64 = 100.0;
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks / TICKS))
}
