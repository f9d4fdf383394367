//! Where a repository is imported from.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{GitError, redact_urls};

/// A checked address: an absolute local directory, an `https` or `ssh` URL, or the short form `user@host:path`.
/// Every other transport, above all `ext::`, which runs a command, is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSource(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Local(PathBuf),
    Https(String),
    Ssh(String),
}

impl RemoteSource {
    /// Checks an address as a person writes it.
    pub fn parse(text: &str) -> Result<Self, GitError> {
        let text = text.trim();
        if text.starts_with('/') {
            return Self::local(Path::new(text));
        }
        if text.is_empty()
            || text.starts_with('-')
            || text.contains("::")
            || text.chars().any(char::is_control)
        {
            return Err(refused(text));
        }
        if is_scp_form(text) {
            return Ok(Self(Kind::Ssh(text.to_owned())));
        }
        let url = url::Url::parse(text).map_err(|_| refused(text))?;
        let host_fits = url.host_str().is_some_and(|host| !host.is_empty() && !host.starts_with('-'));
        match url.scheme() {
            "https" if host_fits => Ok(Self(Kind::Https(url.into()))),
            "ssh" if host_fits && !url.username().starts_with('-') => Ok(Self(Kind::Ssh(url.into()))),
            _ => Err(refused(text)),
        }
    }

    /// Takes a local directory.
    pub fn local(path: &Path) -> Result<Self, GitError> {
        let not_there = || GitError::NotFound(format!("the directory {}", path.display()));
        if !path.is_absolute() {
            return Err(GitError::Invalid("a local repository is named by an absolute path".into()));
        }
        let path = path.canonicalize().map_err(|_| not_there())?;
        if path.is_dir() { Ok(Self(Kind::Local(path))) } else { Err(not_there()) }
    }

    /// The host it is fetched from; none for a directory.
    pub fn host(&self) -> Option<String> {
        let (Kind::Https(text) | Kind::Ssh(text)) = &self.0 else { return None };
        if is_scp_form(text) {
            let host = text.split_once(':').and_then(|(who, _)| who.split_once('@'));
            return host.map(|(_, host)| host.to_owned());
        }
        let url = url::Url::parse(text).ok()?;
        Some(match url.host()? {
            url::Host::Ipv6(address) => address.to_string(),
            other => other.to_string(),
        })
    }

    pub(crate) fn argument(&self) -> std::ffi::OsString {
        match &self.0 {
            Kind::Local(path) => path.into(),
            Kind::Https(url) | Kind::Ssh(url) => url.into(),
        }
    }

    pub(crate) fn protocol(&self) -> &'static str {
        match &self.0 {
            Kind::Local(_) => "file",
            Kind::Https(_) => "https",
            Kind::Ssh(_) => "ssh",
        }
    }
}

impl fmt::Display for RemoteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_urls(&self.argument().to_string_lossy()))
    }
}

fn refused(text: &str) -> GitError {
    let shown: String = redact_urls(text).chars().take(100).collect();
    GitError::Invalid(format!(
        "{shown:?} is not an address a repository can be imported from: give an https or ssh URL, \
         user@host:path, or an absolute path on this machine"
    ))
}

/// `user@host:path`, with nothing in user and host that ssh could read as an option.
fn is_scp_form(text: &str) -> bool {
    let Some((who, path)) = text.split_once(':') else { return false };
    let Some((user, host)) = who.split_once('@') else { return false };
    let fits = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    fits(user) && fits(host) && !path.is_empty() && !path.starts_with(['-', ':']) && !path.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_ssh_and_existing_directories_are_addresses() {
        for good in
            ["https://git.example/a/b.git", "ssh://git@host/a.git", "git@host.example:a/b.git", "/tmp"]
        {
            assert!(RemoteSource::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "--upload-pack=x",
            "ext::sh -c id",
            "file:///etc",
            "http://host/x",
            "git://host/x",
            "fd::3",
            "-oProxyCommand=x@host:y",
            "a@-oProxyCommand=x:y",
            "ssh://-oProxyCommand=x/y",
            "relative/path",
            "/no/such/directory",
            "git@host:-x",
        ] {
            assert!(RemoteSource::parse(bad).is_err(), "accepted {bad}");
        }
    }

    #[test]
    fn the_host_is_what_git_connects_to() {
        for (text, host) in [
            ("https://u:p@git.example:8443/a", Some("git.example")),
            ("ssh://git@10.0.0.1/a.git", Some("10.0.0.1")),
            ("https://[fd00:0:0:0:0:0:0:1]/a", Some("fd00::1")),
            ("git@host.example:a/b.git", Some("host.example")),
            ("https://2130706433/a", Some("127.0.0.1")),
            ("/tmp", None),
        ] {
            assert_eq!(RemoteSource::parse(text).unwrap().host().as_deref(), host, "{text}");
        }
    }

    #[test]
    fn an_error_and_a_display_hide_the_password() {
        assert!(!RemoteSource::parse("http://u:secret@h/x").unwrap_err().to_string().contains("secret"));
        assert!(!RemoteSource::parse("https://u:secret@h/x").unwrap().to_string().contains("secret"));
    }
}
