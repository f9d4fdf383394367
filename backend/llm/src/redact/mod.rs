//! Finds credentials in what is about to be said to a model, and takes them out.
//!
//! Invariants: every string of a request is looked at, names of fields and fields that nobody here knows included, with
//! its escapes undone; a request without a credential is passed on as the very bytes that came; the time is linear in the
//! request's length; what was found is told as counts by kind, never as the values.
//!
//! Not found: what has no form of its own (most passwords), what is split between strings, and what is encoded once more
//! (base64 of a key). The pictures of a request are looked at as text.

mod json;
mod patterns;

use std::borrow::Cow;
use std::collections::BTreeMap;

use regex::Regex;
use serde::Serialize;

use crate::ask::Native;
use crate::inbound::WireError;
use crate::secret::Secret;
use crate::types::ChatRequest;

/// A known secret shorter than this would be taken for ordinary words.
const SHORTEST: usize = 8;
/// What a secret that the platform itself knows is called.
const KNOWN: &str = "model provider key";

/// How often each kind was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Found(BTreeMap<&'static str, u32>);

impl Found {
    /// Nothing was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All kinds together.
    pub fn total(&self) -> u32 {
        self.0.values().sum()
    }

    /// By kind.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }
}

/// The patterns cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the patterns of credentials cannot be used: {0}")]
pub struct RedactError(String);

/// Takes credentials out of requests.
pub struct Redactor {
    patterns: &'static patterns::Patterns,
    known: Option<Regex>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// Finds credentials of well-known forms, and these secrets, whatever they look like.
    pub fn new<'s>(known: impl IntoIterator<Item = &'s Secret>) -> Result<Self, RedactError> {
        let patterns = patterns::all().map_err(RedactError)?;
        let long = known.into_iter().map(Secret::expose).filter(|secret| secret.len() >= SHORTEST);
        let mut long: Vec<&str> = long.collect();
        // Of two that begin alike, the longer one is found.
        long.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then(one.cmp(other)));
        long.dedup();
        let either = long.into_iter().map(regex::escape).collect::<Vec<_>>().join("|");
        let known = (!either.is_empty()).then(|| Regex::new(&either)).transpose();
        // The error would repeat the secrets.
        let known = known.map_err(|_| RedactError("a known secret".into()))?;
        Ok(Self { patterns, known })
    }

    /// A text, with `[redacted: KIND]` in the place of each credential.
    pub fn text<'t>(&self, text: &'t str, found: &mut Found) -> Cow<'t, str> {
        let mut spans = self.patterns.find(text);
        if let Some(known) = &self.known {
            spans.extend(known.find_iter(text).map(|hit| (hit.range(), KNOWN)));
        }
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        spans.sort_unstable_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for (range, kind) in spans {
            if range.start < at {
                // It overlaps with the one before: what of it is left goes, too.
                at = at.max(range.end);
                continue;
            }
            out.push_str(text.get(at..range.start).unwrap_or_default());
            for part in ["[redacted: ", kind, "]"] {
                out.push_str(part);
            }
            *found.0.entry(kind).or_default() += 1;
            at = range.end;
        }
        out.push_str(text.get(at..).unwrap_or_default());
        Cow::Owned(out)
    }

    /// A request in the neutral vocabulary. `None`: there is nothing in it.
    pub fn request(&self, request: &ChatRequest) -> Result<(Option<ChatRequest>, Found), WireError> {
        let wrong = |error: serde_json::Error| WireError(error.to_string());
        let written = serde_json::to_vec(request).map_err(wrong)?;
        let (clean, found) = json::redacted(self, &written);
        let clean = clean.map(|clean| serde_json::from_slice(&clean)).transpose().map_err(wrong)?;
        Ok((clean, found))
    }

    /// A request as a client wrote it. `None`: there is nothing in it.
    pub fn native(&self, native: &Native) -> Result<(Option<Native>, Found), WireError> {
        let (clean, found) = json::redacted(self, native.body());
        Ok((clean.map(|clean| native.with_body(clean.into())).transpose()?, found))
    }
}

#[cfg(test)]
mod tests;
