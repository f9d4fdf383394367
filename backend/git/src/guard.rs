//! Refuses a repository whose own configuration could start a program.
//!
//! Command-line settings switch hooks and fsmonitor off, but filters, text converters and merge drivers carry names of
//! the configuration's choice and cannot be switched off without knowing them. So the configuration is read here, and
//! anything but the few harmless keys that `git init` and `git remote` write is refused.

use std::path::Path;

use crate::GitError;

/// Larger than any configuration that passes.
const MAX_BYTES: u64 = 64 * 1024;
const CORE_KEYS: &[&str] = &[
    "repositoryformatversion",
    "filemode",
    "bare",
    "ignorecase",
    "precomposeunicode",
    "symlinks",
    "logallrefupdates",
    "sharedrepository",
];
const REMOTE_KEYS: &[&str] = &["url", "fetch", "pushurl", "push", "mirror", "tagopt", "prune"];
const EXTENSION_KEYS: &[&str] = &["objectformat"];

/// Reads `<dir>/config` and refuses what is not known to be harmless.
pub(crate) fn check_config(dir: &Path) -> Result<(), GitError> {
    let path = dir.join("config");
    let size =
        std::fs::metadata(&path).map_err(GitError::io("reading the repository's configuration"))?.len();
    if size > MAX_BYTES {
        return Err(GitError::UntrustedConfig("it is larger than 64 KiB".into()));
    }
    let text =
        std::fs::read_to_string(&path).map_err(GitError::io("reading the repository's configuration"))?;
    check_text(&text).map_err(GitError::UntrustedConfig)
}

fn check_text(text: &str) -> Result<(), String> {
    let mut keys: &[&str] = &[];
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') {
            keys = section_keys(line)?;
            continue;
        }
        let key = line.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !keys.contains(&key.as_str()) || line.ends_with('\\') {
            return Err(format!("the key {:?} is not on the list of harmless ones", cut(&key)));
        }
    }
    Ok(())
}

/// The keys a section may hold. The header must fill its line: `[core] fsmonitor = x` is legal for git.
fn section_keys(line: &str) -> Result<&'static [&'static str], String> {
    let inner =
        line.strip_prefix('[').and_then(|l| l.strip_suffix(']')).unwrap_or_default().to_ascii_lowercase();
    if inner == "core" {
        return Ok(CORE_KEYS);
    }
    if inner == "extensions" {
        return Ok(EXTENSION_KEYS);
    }
    let name = inner.strip_prefix("remote \"").and_then(|rest| rest.strip_suffix('"'));
    if name.is_some_and(|n| n.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))) {
        return Ok(REMOTE_KEYS);
    }
    Err(format!("the section {:?} is not on the list of harmless ones", cut(line)))
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::check_text;

    #[test]
    fn what_init_and_remote_write_passes() {
        let text = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n[remote \"origin\"]\n\turl = /x\n";
        assert!(check_text(text).is_ok());
    }

    #[test]
    fn whatever_could_start_a_program_is_refused() {
        for text in [
            "[core]\n\tfsmonitor = /tmp/x\n",
            "[core] fsmonitor = /tmp/x\n",
            "[filter \"x\"]\n\tclean = /tmp/x\n",
            "[FILTER \"x\"]\nclean=/tmp/x",
            "[include]\n\tpath = /tmp/x\n",
            "[diff \"x\"]\n\ttextconv = /tmp/x\n",
            "[merge \"x\"]\n\tdriver = /tmp/x\n",
            "[core]\n\tsshCommand = /tmp/x\n",
            "[core]\n\tbare = \\\n true\n\tfsmonitor = x",
            "[alias]\n\tlog = !/tmp/x\n",
            "[remote \"o\"]\n\tuploadpack = /tmp/x\n",
            "[remote \"o\"]\n\tvcs = ext\n",
            "[remote \"o\\\"]\n\tvcs = ext\n",
            "[extensions]\n\tworktreeConfig = true\n",
            "fsmonitor = x",
        ] {
            assert!(check_text(text).is_err(), "accepted: {text}");
        }
    }
}
