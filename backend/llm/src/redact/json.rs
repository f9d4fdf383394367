//! The strings of a JSON document, where they stand.

use std::borrow::Cow;

use super::{Found, Redactor};
use memchr::{memchr, memchr2};

/// Documents in strings of documents are looked into so many levels deep.
const DEEPEST: usize = 3;

/// The document with its strings redacted, names of fields included; the rest is copied as it stands. `None`: nothing was
/// found. The document is well-formed: whoever parsed its top has read all of it.
pub(super) fn redacted(redactor: &Redactor, json: &[u8]) -> (Option<Vec<u8>>, Found) {
    let mut found = Found::default();
    (walk(redactor, json, DEEPEST, &mut found), found)
}

fn walk(redactor: &Redactor, json: &[u8], deeper: usize, found: &mut Found) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    // Up to here the document is in `out`, if anything is.
    let mut copied = 0;
    let mut at = 0;
    while let Some(quote) = json.get(at..).and_then(|rest| memchr(b'"', rest)) {
        let start = at + quote + 1;
        let end = end_of_string(json, start);
        if let Some(clean) = json.get(start..end).and_then(|raw| string(redactor, raw, deeper, found)) {
            let out = out.get_or_insert_with(|| Vec::with_capacity(json.len()));
            out.extend_from_slice(json.get(copied..start).unwrap_or_default());
            out.extend_from_slice(clean.as_bytes());
            copied = end;
        }
        at = end + 1;
    }
    if let Some(out) = &mut out {
        out.extend_from_slice(json.get(copied..).unwrap_or_default());
    }
    out
}

/// Where the quote that ends it stands.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(next) = json.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += next;
        if json.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    json.len()
}

/// What is written instead of a string, without its quotes. `None`: the same.
fn string(redactor: &Redactor, raw: &[u8], deeper: usize, found: &mut Found) -> Option<String> {
    let raw = std::str::from_utf8(raw).ok()?;
    let decoded = if raw.contains('\\') { Cow::Owned(decode(raw)) } else { Cow::Borrowed(raw) };
    let clean = redactor.text(&decoded, found);
    let clean = match (within(redactor, &clean, deeper, found), clean) {
        (Some(clean), _) | (None, Cow::Owned(clean)) => clean,
        (None, Cow::Borrowed(_)) => return None,
    };
    let written = serde_json::Value::String(clean).to_string();
    written.get(1..written.len().saturating_sub(1)).map(str::to_owned)
}

/// A document that stands in a string, such as the arguments of a call: its strings have escapes of their own.
fn within(redactor: &Redactor, text: &str, deeper: usize, found: &mut Found) -> Option<String> {
    let deeper = deeper.checked_sub(1)?;
    if !text.trim_start().starts_with(['{', '[']) || !text.contains('\\') {
        return None;
    }
    String::from_utf8(walk(redactor, text.as_bytes(), deeper, found)?).ok()
}

/// A string without its escapes. Half of a surrogate pair, which is no character, becomes the sign for one.
fn decode(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(escape) = rest.find('\\') {
        out.push_str(&rest[..escape]);
        let after = &rest[escape + 1..];
        let mut chars = after.chars();
        let taken = match chars.next() {
            Some('n') => one(&mut out, '\n'),
            Some('r') => one(&mut out, '\r'),
            Some('t') => one(&mut out, '\t'),
            Some('b') => one(&mut out, '\u{8}'),
            Some('f') => one(&mut out, '\u{c}'),
            Some('u') => unicode(&mut out, after),
            Some(c) => one(&mut out, c),
            None => 0,
        };
        rest = after.get(taken..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// What is written with one byte after the backslash; what is no escape stands for itself.
fn one(out: &mut String, c: char) -> usize {
    out.push(c);
    c.len_utf8()
}

/// Reads `u` with its four digits, and the other half where it is the first of a pair. Gives back the bytes that it took.
fn unicode(out: &mut String, after: &str) -> usize {
    let unit = |at: usize| after.get(at..at + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let Some(first) = unit(1) else { return 1 };
    let second = after.get(5..7).filter(|mark| *mark == "\\u").and_then(|_| unit(7));
    let units = [first, second.unwrap_or_default()];
    let pair = second.is_some().then(|| char::decode_utf16(units).next()).flatten();
    match (char::from_u32(first.into()), pair) {
        (Some(c), _) => {
            out.push(c);
            5
        }
        (None, Some(Ok(c))) => {
            out.push(c);
            11
        }
        (None, _) => {
            out.push(char::REPLACEMENT_CHARACTER);
            5
        }
    }
}
