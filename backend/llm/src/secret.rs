//! A value that never shows itself in logs: `Debug` and `Display` are redacted and it cannot be serialised.

use std::fmt;

use serde::Deserialize;

/// An API key or another secret text.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself, for the header it belongs in.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` without the secret, for messages that a provider may have echoed it in.
    pub fn redact_in(&self, text: &str) -> String {
        // A key of a few characters would blank ordinary words; no provider issues one that short.
        const SHORTEST: usize = 8;
        if self.0.len() < SHORTEST { text.to_owned() } else { text.replace(&self.0, "[redacted]") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_in_neither_debug_nor_display() {
        let secret = Secret::new("sk-very-secret");
        assert_eq!(format!("{secret:?} {secret}"), "Secret([redacted]) [redacted]");
        assert_eq!(secret.redact_in("bad key sk-very-secret!"), "bad key [redacted]!");
    }
}
