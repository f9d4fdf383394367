//! The script as people write it, read and checked. The module above shows the format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::faults::Fault;

const DEFAULT: &str = include_str!("default.toml");
/// Largest scenario file, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Most rules of a script: they are tried in order for every request.
const MAX_RULES: usize = 2_000;

/// The script is not usable.
#[derive(Debug, Error)]
pub enum ScriptError {
    /// A file or the directory cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML or JSON of the right shape.
    #[error("{origin}: {reason}")]
    Syntax {
        /// The file, or `inline`.
        origin: String,
        /// The parser's words.
        reason: String,
    },
    /// A rule contradicts itself.
    #[error("rule `{rule}`: {reason}")]
    Rule {
        /// Its name.
        rule: String,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing to answer with.
    #[error("the script has no rules")]
    Empty,
    /// There is too much.
    #[error("the script has more than {MAX_RULES} rules")]
    TooMany,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    capture: BTreeMap<String, String>,
    #[serde(default, rename = "rule")]
    rules: Vec<RuleSource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSource {
    name: String,
    #[serde(default)]
    when: WhenSource,
    #[serde(default)]
    capture: BTreeMap<String, String>,
    #[serde(default)]
    answer: Option<AnswerSource>,
    #[serde(default)]
    fault: Option<Fault>,
    #[serde(default)]
    times: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WhenSource {
    system_contains: Texts,
    system_matches: Option<String>,
    tools: Vec<String>,
    turn: Option<Turn>,
    first_contains: Texts,
    last_contains: Texts,
    last_matches: Option<String>,
    last_tool: Option<String>,
}

/// One text or several, all of which must be there.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    All(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl From<Texts> for Vec<String> {
    fn from(texts: Texts) -> Self {
        match texts {
            Texts::One(text) => vec![text],
            Texts::All(texts) => texts,
        }
    }
}

/// How many assistant messages the conversation has so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Turn {
    Exact(usize),
    Range(Span),
}

/// Both ends belong to it; an open end is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Span {
    #[serde(default)]
    min: usize,
    #[serde(default)]
    max: Option<usize>,
}

impl Turn {
    pub(super) fn contains(self, turn: usize) -> bool {
        match self {
            Self::Exact(exact) => turn == exact,
            Self::Range(span) => turn >= span.min && span.max.is_none_or(|max| turn <= max),
        }
    }
}

/// What a rule says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AnswerSource {
    pub(super) text: String,
    pub(super) thinking: String,
    #[serde(rename = "tool")]
    pub(super) tools: Vec<ToolCall>,
    pub(super) usage: Option<UsageSource>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolCall {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: Value,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageSource {
    pub(super) input: u32,
    pub(super) output: u32,
    #[serde(default)]
    pub(super) cache_read: u32,
    #[serde(default)]
    pub(super) cache_write: u32,
    #[serde(default)]
    pub(super) cache_write_1h: u32,
    #[serde(default)]
    pub(super) image: u32,
    #[serde(default)]
    pub(super) audio: u32,
    #[serde(default)]
    pub(super) reasoning: u32,
}

/// A rule, checked.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) when: When,
    pub(super) captures: Vec<(String, Regex)>,
    pub(super) answer: Option<AnswerSource>,
    pub(super) fault: Option<Fault>,
    pub(super) times: Option<u32>,
}

/// The conditions, all of which must hold.
#[derive(Debug, Clone)]
pub(super) struct When {
    pub(super) system_contains: Vec<String>,
    pub(super) system_matches: Option<Regex>,
    pub(super) tools: Vec<String>,
    pub(super) turn: Option<Turn>,
    pub(super) first_contains: Vec<String>,
    pub(super) last_contains: Vec<String>,
    pub(super) last_matches: Option<Regex>,
    pub(super) last_tool: Option<String>,
}

/// A whole script: rules in order.
#[derive(Debug, Clone)]
pub struct Script {
    name: String,
    pub(super) rules: Vec<Rule>,
}

impl Script {
    /// The script that ships with the crate: it answers any conversation with a sentence that says it is
    /// simulated, and calls no tools.
    pub fn embedded() -> Result<Self, ScriptError> {
        Self::from_toml(DEFAULT)
    }

    /// Reads a script from TOML.
    pub fn from_toml(text: &str) -> Result<Self, ScriptError> {
        Self::build(vec![parse_toml("inline", text)?])
    }

    /// Reads a script from JSON of the same shape.
    pub fn from_json(text: &str) -> Result<Self, ScriptError> {
        Self::build(vec![parse_json("inline", text)?])
    }

    /// Reads all `.toml` and `.json` files of a directory in the order of their names; a file's captures hold for
    /// its own rules.
    pub fn from_dir(directory: &Path) -> Result<Self, ScriptError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ScriptError::Read { path, source }
        };
        let mut paths = BTreeSet::new();
        for entry in fs::read_dir(directory).map_err(failed(directory))? {
            let path = entry.map_err(failed(directory))?.path();
            if path.extension().is_some_and(|end| end == "toml" || end == "json") {
                paths.insert(path);
            }
        }
        let mut files = Vec::new();
        for path in paths {
            let size = fs::metadata(&path).map_err(failed(&path))?.len();
            let origin = path.display().to_string();
            if size > MAX_FILE {
                return Err(ScriptError::Syntax { origin, reason: format!("larger than {MAX_FILE} bytes") });
            }
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            let is_json = path.extension().is_some_and(|end| end == "json");
            files.push(if is_json { parse_json(&origin, &text)? } else { parse_toml(&origin, &text)? });
        }
        Self::build(files)
    }

    /// The script's name, which its model name shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn build(files: Vec<File>) -> Result<Self, ScriptError> {
        let name = files.iter().find_map(|file| file.name.clone()).unwrap_or_else(|| "default".to_owned());
        let mut rules = Vec::new();
        for file in files {
            for rule in file.rules {
                rules.push(check(rule, &file.capture)?);
            }
        }
        match rules.len() {
            0 => Err(ScriptError::Empty),
            count if count > MAX_RULES => Err(ScriptError::TooMany),
            _ => Ok(Self { name, rules }),
        }
    }
}

fn parse_toml(origin: &str, text: &str) -> Result<File, ScriptError> {
    toml::from_str(text)
        .map_err(|error| ScriptError::Syntax { origin: origin.to_owned(), reason: error.to_string() })
}

fn parse_json(origin: &str, text: &str) -> Result<File, ScriptError> {
    serde_json::from_str(text)
        .map_err(|error| ScriptError::Syntax { origin: origin.to_owned(), reason: error.to_string() })
}

fn check(source: RuleSource, shared: &BTreeMap<String, String>) -> Result<Rule, ScriptError> {
    let wrong = |reason: String| ScriptError::Rule { rule: source.name.clone(), reason };
    if source.times.is_some() && source.fault.is_none() {
        return Err(wrong(
            "`times` is for faults: a plain answer must not depend on how often it was given".into(),
        ));
    }
    let needs_answer = source.fault.as_ref().is_none_or(Fault::shapes_an_answer);
    if needs_answer && source.answer.is_none() {
        return Err(wrong("it has no answer".into()));
    }
    if let Some(Fault::Status { status, .. }) = &source.fault
        && !(400..600).contains(status)
    {
        return Err(wrong(format!("{status} is no error status")));
    }
    let calls = source.answer.iter().flat_map(|answer| &answer.tools);
    if calls.clone().any(|call| !(call.arguments.is_object() || call.arguments.is_null())) {
        return Err(wrong("the arguments of a tool call are no table".into()));
    }
    if matches!(source.fault, Some(Fault::MalformedToolCall)) && calls.count() == 0 {
        return Err(wrong("there is no tool call to malform".into()));
    }
    let regex = |text: &str| Regex::new(text).map_err(|error| wrong(error.to_string()));
    let mut captures = Vec::new();
    for (name, text) in
        source.capture.iter().chain(shared.iter().filter(|(name, _)| !source.capture.contains_key(*name)))
    {
        captures.push((name.clone(), regex(text)?));
    }
    let system_matches = source.when.system_matches.as_deref().map(regex).transpose()?;
    let last_matches = source.when.last_matches.as_deref().map(regex).transpose()?;
    let when = When {
        system_contains: source.when.system_contains.into(),
        system_matches,
        tools: source.when.tools,
        turn: source.when.turn,
        first_contains: source.when.first_contains.into(),
        last_contains: source.when.last_contains.into(),
        last_matches,
        last_tool: source.when.last_tool,
    };
    Ok(Rule {
        name: source.name,
        when,
        captures,
        answer: source.answer,
        fault: source.fault,
        times: source.times,
    })
}
