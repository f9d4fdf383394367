//! What credentials look like.
//!
//! Each pattern decides within a few characters after what it finds, or at the first character that cannot belong to it, so
//! that looking for all of them stays linear. Where a pattern has a group, the group is the credential.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex, RegexSet};

const URL_PASSWORD: &str = "password in a URL";
const PRIVATE_KEY: &str = "private key";
const END_OF_KEY: &str = "-----END ";
const DASHES: &str = "-----";

/// Before what has no unmistakable beginning: no letter or digit, or an escape of JSON within JSON.
macro_rules! alone {
    ($pattern:literal) => {
        concat!(r"(?:^|[^A-Za-z0-9]|\\[nrtbf])", $pattern)
    };
}

const PATTERNS: &[(&str, &str)] = &[
    ("AWS key", r"(?:^|[^A-Z0-9])((?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})"),
    ("AWS key", r#"(?i:aws_?secret_?(?:access_?)?key)["'\\]*\s*(?:=>|[:=])\s*["'\\]*([A-Za-z0-9/+]{40})"#),
    ("GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    ("GitHub token", r"github_pat_[A-Za-z0-9_]{22,}"),
    ("GitLab token", r"gl(?:pat|ptt|rt|dt|soat|cbt|ft|imt|agent|oas|ffct)-[A-Za-z0-9_.-]{20,}"),
    ("Slack token", r"xox[abceoprs](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}"),
    ("Slack token", r"xapp-[0-9]-[A-Za-z0-9-]{10,}"),
    ("Slack token", r"hooks\.slack\.com\\?/(?:services|workflows|triggers)\\?/([A-Za-z0-9_/\\-]{20,})"),
    ("Anthropic key", r"sk-ant-[A-Za-z0-9_-]{20,}"),
    ("OpenAI key", r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}"),
    ("OpenAI key", alone!(r"(sk-[A-Za-z0-9]{32,})")),
    ("API key", alone!(r"(sk-(?:or|live|test|lf)-[A-Za-z0-9_-]{20,})")),
    ("API key", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("Syndarix key", r"sk-sdx-[A-Za-z0-9_-]{40,}"),
    ("Google key", r"AIza[A-Za-z0-9_-]{35}"),
    ("Google key", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
    ("Google key", alone!(r"(ya29\.[A-Za-z0-9_-]{20,})")),
    (PRIVATE_KEY, r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    ("JSON web token", r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{10,}"),
    (URL_PASSWORD, r#"[A-Za-z][A-Za-z0-9+.-]*:(?:\\?/){2}[^\s/@:"'<>\\]*:([^\s/"'<>\\]+)@"#),
];

/// All of them, compiled.
pub(super) struct Patterns {
    any: RegexSet,
    each: Vec<(Regex, &'static str)>,
}

/// Compiled once.
pub(super) fn all() -> Result<&'static Patterns, String> {
    static ALL: LazyLock<Result<Patterns, String>> =
        LazyLock::new(|| compile().map_err(|error| error.to_string()));
    ALL.as_ref().map_err(Clone::clone)
}

fn compile() -> Result<Patterns, regex::Error> {
    let any = RegexSet::new(PATTERNS.iter().map(|(_, pattern)| pattern))?;
    let each: Result<_, regex::Error> =
        PATTERNS.iter().map(|(kind, pattern)| Ok((Regex::new(pattern)?, *kind))).collect();
    Ok(Patterns { any, each: each? })
}

impl Patterns {
    /// Where credentials are, in no order, and what they are.
    pub(super) fn find(&self, text: &str) -> Vec<(Range<usize>, &'static str)> {
        let mut found = Vec::new();
        for (pattern, kind) in self.any.matches(text).iter().filter_map(|at| self.each.get(at)) {
            match *kind {
                PRIVATE_KEY => found.extend(private_keys(pattern, text)),
                URL_PASSWORD => found.extend(
                    hits(pattern, text)
                        .filter(|range| !is_variable(&text[range.clone()]))
                        .map(|range| (range, *kind)),
                ),
                kind => found.extend(hits(pattern, text).map(|range| (range, kind))),
            }
        }
        found
    }
}

fn hits<'t>(pattern: &'t Regex, text: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
    let credential = |hit: Captures<'t>| hit.get(1).or_else(|| hit.get(0)).map(|found| found.range());
    pattern.captures_iter(text).filter_map(credential)
}

/// From the first line to the last. Of one that is cut off, all that could belong to it. Each part of the text is looked at
/// once, however many keys begin in it.
fn private_keys(begin: &Regex, text: &str) -> Vec<(Range<usize>, &'static str)> {
    let mut found: Vec<(Range<usize>, &'static str)> = Vec::new();
    let starts: Vec<Range<usize>> = begin.find_iter(text).map(|hit| hit.range()).collect();
    for (at, start) in starts.iter().enumerate() {
        let next = starts.get(at + 1).map_or(text.len(), |next| next.start);
        let within = text.get(start.end..next).unwrap_or_default();
        let length =
            ended(within).unwrap_or_else(|| within.find(|c: char| !may_belong(c)).unwrap_or(within.len()));
        found.push((start.start..start.end + length, PRIVATE_KEY));
    }
    found
}

/// Where the last line of a key ends.
fn ended(text: &str) -> Option<usize> {
    let last = text.find(END_OF_KEY)? + END_OF_KEY.len();
    let rest = text.get(last..)?;
    Some(last + rest.find(DASHES).map_or(0, |dashes| dashes + DASHES.len()))
}

/// Base64, its lines, and the headers of encrypted keys; a backslash, where the line breaks are escaped.
fn may_belong(c: char) -> bool {
    c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "+/=\\-:,".contains(c)
}

/// Whether it only says where a password is to be written.
fn is_variable(text: &str) -> bool {
    let name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let braced = text.strip_prefix('$').unwrap_or(text);
    let is_braced = braced.starts_with(['{', '(']) && braced.ends_with(['}', ')']);
    is_braced || text.strip_prefix('$').is_some_and(name) || text.chars().all(|c| c == '*')
}
