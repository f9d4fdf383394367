//! Commit messages: identities, trailers, and the keys by which a repeated effect is recognised.

use serde::{Deserialize, Serialize};

use crate::GitError;

/// Longest name or e-mail address of an identity, in characters.
const IDENTITY_MAX_CHARS: usize = 200;
/// Longest key or trailer value, in bytes.
const VALUE_MAX_BYTES: usize = 200;
/// Longest subject line, in characters; the rest is cut.
const SUBJECT_MAX_CHARS: usize = 200;
/// Longest message body, in characters; the rest is cut.
const BODY_MAX_CHARS: usize = 64 * 1024;

/// Who wrote or committed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    name: String,
    email: String,
}

impl Identity {
    /// Takes a name and an e-mail address; characters that git cannot store in them are dropped.
    pub fn new(name: &str, email: &str) -> Result<Self, GitError> {
        let (name, email) = (clean(name), clean(email));
        if name.is_empty() || email.is_empty() {
            return Err(GitError::Invalid("an author has a name and an e-mail address".into()));
        }
        Ok(Self { name, email })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The e-mail address.
    pub fn email(&self) -> &str {
        &self.email
    }
}

fn clean(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_control() && !"<>".contains(*c)).collect();
    // git strips this punctuation from both ends and refuses what is then empty.
    kept.trim_matches(|c: char| c.is_whitespace() || ".,:;\"\\'".contains(c))
        .chars()
        .take(IDENTITY_MAX_CHARS)
        .collect()
}

/// A value that a trailer can hold and that can be searched for: 1 to 200 of `A-Z a-z 0-9 . _ : / # -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// Checks and takes a key.
    pub fn new(value: impl Into<String>) -> Result<Self, GitError> {
        let value = value.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/#-".contains(&b);
        if !value.is_empty() && value.len() <= VALUE_MAX_BYTES && value.bytes().all(allowed) {
            Ok(Self(value))
        } else {
            Err(GitError::Invalid("a key has 1 to 200 letters, digits and . _ : / # -".into()))
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Key {
    type Error = GitError;
    fn try_from(value: String) -> Result<Self, GitError> {
        Self::new(value)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

/// A `Name: value` line at the end of a commit message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// The name, of this code's own choice.
    pub name: &'static str,
    /// The value.
    pub value: Key,
}

/// Builds a commit message of subject, body and trailers. Text that could be read as one of our trailers is indented
/// in subject and body, so that what a person or a model writes cannot pose as the mark of a finished effect.
pub fn compose_message(subject: &str, body: &str, trailers: &[Trailer]) -> String {
    let one_line: String = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    let subject: String = one_line.chars().filter(|c| !c.is_control()).take(SUBJECT_MAX_CHARS).collect();
    let mut message = if subject.is_empty() { "Untitled change".to_owned() } else { subject };
    let body: String =
        body.chars().filter(|c| !c.is_control() || "\n\t".contains(*c)).take(BODY_MAX_CHARS).collect();
    let body = body.trim();
    if !body.is_empty() {
        message.push_str("\n\n");
        message.push_str(&body.lines().map(defuse).collect::<Vec<_>>().join("\n"));
    }
    if !trailers.is_empty() {
        message.push_str("\n\n");
        message.push_str(
            &trailers
                .iter()
                .map(|t| format!("{}: {}", t.name, t.value.as_str()))
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    message.push('\n');
    message
}

fn defuse(line: &str) -> String {
    let reserved = ["syndarix-", "story:", "pull-request:"];
    let lower = line.to_ascii_lowercase();
    let line = line.trim_end();
    if reserved.iter().any(|r| lower.starts_with(r)) { format!("  | {line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cannot_pose_as_a_trailer() {
        let trailer = Trailer { name: "Syndarix-Key", value: Key::new("real").unwrap() };
        let message = compose_message("Add\nthing", "Why.\n\nSyndarix-Key: forged", &[trailer]);
        assert_eq!(message, "Add thing\n\nWhy.\n\n  | Syndarix-Key: forged\n\nSyndarix-Key: real\n");
    }

    #[test]
    fn an_identity_drops_what_git_cannot_store() {
        let who = Identity::new("Ann <x>\n.", "a@b>").unwrap();
        assert_eq!((who.name(), who.email()), ("Ann x", "a@b"));
        assert!(Identity::new("..", "a@b").is_err());
    }

    #[test]
    fn a_key_holds_no_line_break() {
        assert!(Key::new("a\nSyndarix-Key: b").is_err());
        assert!(Key::new("run:1/step#2").is_ok());
    }
}
