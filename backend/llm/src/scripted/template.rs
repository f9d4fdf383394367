//! `{{placeholders}}` in texts and arguments.
//!
//! - `{{name}}`: a capture of the rule or the file;
//! - `{{last_tool}}`, `{{last_tool.a.b.0}}`: the last tool result as text, or a field of its JSON;
//! - `{{results.NAME}}`, `{{results.NAME.a.b}}`: the same of the last result of a named tool;
//! - `{{turn}}`: assistant messages so far.
//!
//! A text that is one placeholder and nothing else keeps the type of the field; `{{name|number}}` makes a captured
//! text a number. What does not look like a placeholder (`{{ a: 1 }}`) stays as it is. What looks like one and has
//! no value is an error: a script that guesses would hide a broken product.

use regex::Regex;
use serde_json::{Map, Value};

use super::matching::View;
use super::scenario::Rule;

/// The values for one conversation.
pub(super) struct Values<'a> {
    captures: Map<String, Value>,
    results: Vec<(&'a str, &'a str)>,
    turn: usize,
    placeholder: Regex,
}

impl<'a> Values<'a> {
    pub(super) fn of(rule: &Rule, view: &View<'a>) -> Result<Self, String> {
        let placeholder = Regex::new(r"\{\{\s*([A-Za-z_][\w.\-]*)\s*(?:\|\s*(number)\s*)?\}\}")
            .map_err(|e| e.to_string())?;
        let sources = view.sources();
        let mut captures = Map::new();
        for (name, regex) in &rule.captures {
            let found = sources.iter().find_map(|text| regex.captures(text));
            // The first group if there is one, else all that matched.
            if let Some(value) =
                found.and_then(|found| found.get(1).or_else(|| found.get(0)).map(|m| m.as_str().to_owned()))
            {
                captures.insert(name.clone(), Value::String(value));
            }
        }
        Ok(Self { captures, results: view.results(), turn: view.turn, placeholder })
    }

    /// A text with its placeholders filled in.
    pub(super) fn text(&self, template: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = 0;
        for found in self.placeholder.captures_iter(template) {
            let (Some(whole), Some(path)) = (found.get(0), found.get(1)) else { continue };
            out.push_str(&template[rest..whole.start()]);
            match self.value(path.as_str())? {
                Value::String(text) => out.push_str(&text),
                other => out.push_str(&other.to_string()),
            }
            rest = whole.end();
        }
        out.push_str(&template[rest..]);
        Ok(out)
    }

    /// Arguments with their placeholders filled in, at any depth.
    pub(super) fn json(&self, template: &Value) -> Result<Value, String> {
        Ok(match template {
            Value::String(text) => self.leaf(text)?,
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.json(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let filled = fields.iter().map(|(name, value)| Ok((name.clone(), self.json(value)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }

    fn leaf(&self, text: &str) -> Result<Value, String> {
        let alone =
            self.placeholder.captures(text).filter(|found| found.get(0).is_some_and(|m| m.as_str() == text));
        let Some((path, filter)) = alone.and_then(|found| Some((found.get(1)?, found.get(2)))) else {
            return self.text(text).map(Value::String);
        };
        let value = self.value(path.as_str())?;
        match (filter, &value) {
            (Some(_), Value::String(text)) => {
                let number = serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
                number.ok_or_else(|| format!("{{{{{}}}}} is \"{text}\", no number", path.as_str()))
            }
            _ => Ok(value),
        }
    }

    fn value(&self, path: &str) -> Result<Value, String> {
        let missing = || format!("{{{{{path}}}}} has no value in this conversation");
        if let Some(value) = self.captures.get(path) {
            return Ok(value.clone());
        }
        if path == "turn" {
            return Ok(Value::from(self.turn));
        }
        if let Some(field) = below(path, "last_tool") {
            let (_, content) = self.results.last().ok_or_else(missing)?;
            return field_of(content, field).ok_or_else(missing);
        }
        let named = path.strip_prefix("results.").ok_or_else(missing)?;
        // Tool names may hold dots, so that the names that were called decide where the field begins.
        let mut candidates: Vec<_> = self
            .results
            .iter()
            .filter_map(|(name, content)| Some((name.len(), *content, below(named, name)?)))
            .collect();
        candidates.sort_by_key(|(length, ..)| *length);
        let (_, content, field) = candidates.pop().ok_or_else(missing)?;
        field_of(content, field).ok_or_else(missing)
    }
}

/// The part of the path below a prefix; empty when the path is the prefix.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

fn field_of(content: &str, field: &str) -> Option<Value> {
    if field.is_empty() {
        return Some(Value::String(content.to_owned()));
    }
    let json: Value = serde_json::from_str(content).ok()?;
    let mut at = &json;
    for step in field.split('.') {
        at = match at {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            other => other.get(step)?,
        };
    }
    Some(at.clone())
}
