//! An agent type as a file: read with errors that name field and line, written back.

use super::Definition;
use serde::Serialize;
use utoipa::ToSchema;

/// The largest file, in bytes: a long system prompt is a few kilobytes.
pub(super) const MAX_FILE: usize = 128 * 1024;
/// The longest name, in characters.
const MAX_NAME: usize = 100;
/// The longest system prompt, in characters: it is sent with every model call.
const MAX_PROMPT: usize = 50_000;
/// The most entries of a list.
const MAX_ENTRIES: usize = 50;
/// The longest entry of a list, in characters.
const MAX_ENTRY: usize = 200;
/// What a run may use up at most, so that a typing slip of three zeros is refused.
const MOST: [(&str, u64); 4] = [
    ("max_steps", 10_000),
    ("max_tokens", 1_000_000_000),
    ("max_cost_micro_usd", 10_000_000_000),
    ("max_seconds", 7 * 24 * 3600),
];

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Wrong {
    /// The key, with its table: `limits.max_steps`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// The line, from 1; null where the key is missing.
    pub line: Option<usize>,
}

impl Definition {
    /// Reads an agent type file.
    pub fn parse(text: &str) -> Result<Self, Vec<Wrong>> {
        if text.len() > MAX_FILE {
            let message = format!("the file has more than {MAX_FILE} bytes");
            return Err(vec![Wrong { field: "toml".into(), message, line: None }]);
        }
        let definition: Self = toml::from_str(text).map_err(|error| vec![unreadable(text, &error)])?;
        let wrong = definition.wrong(text);
        if wrong.is_empty() { Ok(definition) } else { Err(wrong) }
    }

    /// The file that reads as this.
    pub fn to_file(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }

    fn wrong(&self, text: &str) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut check = |fine: bool, field: &str, message: String| {
            if !fine {
                wrong.push(Wrong { field: field.into(), message, line: line_of(text, field) });
            }
        };
        let between = |text: &str, most: usize| !text.trim().is_empty() && text.chars().count() <= most;
        check(between(&self.name, MAX_NAME), "name", format!("has 1 to {MAX_NAME} characters"));
        check(between(&self.model_group, MAX_NAME), "model_group", format!("has 1 to {MAX_NAME} characters"));
        check(
            between(&self.system_prompt, MAX_PROMPT),
            "system_prompt",
            format!("has 1 to {MAX_PROMPT} characters"),
        );
        let entries =
            |list: &[String]| list.len() <= MAX_ENTRIES && list.iter().all(|one| between(one, MAX_ENTRY));
        let listed = format!("has at most {MAX_ENTRIES} entries of 1 to {MAX_ENTRY} characters");
        check(entries(&self.expertise), "expertise", listed.clone());
        check(entries(&self.capabilities), "capabilities", listed);
        let strange = self.capabilities.iter().find(|one| !is_capability(one));
        let strange = strange.map(|one| format!("`{one}` is not `<server>:read` or `<server>:write`"));
        check(strange.is_none(), "capabilities", strange.unwrap_or_default());
        let limits = &self.limits;
        let set = [
            u64::from(limits.max_steps),
            limits.max_tokens,
            u64::try_from(limits.max_cost_micro_usd).unwrap_or_default(),
            u64::from(limits.max_seconds),
        ];
        for ((name, most), value) in MOST.into_iter().zip(set) {
            check((1..=most).contains(&value), &format!("limits.{name}"), format!("is from 1 to {most}"));
        }
        wrong
    }
}

fn is_capability(text: &str) -> bool {
    let named = |server: &str| {
        !server.is_empty()
            && server.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
    };
    matches!(text.split_once(':'), Some((server, "read" | "write")) if named(server))
}

fn unreadable(text: &str, error: &toml::de::Error) -> Wrong {
    let message = error.message().to_owned();
    let quoted = || Some(message.split_once('`')?.1.split_once('`')?.0.to_owned());
    // A missing key is nowhere: what the span shows is the table that lacks it.
    if message.starts_with("missing field") {
        return Wrong { field: quoted().unwrap_or_else(|| "toml".into()), line: None, message };
    }
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let field = match line.and_then(|line| key_at(text, line)) {
        Some(field) => field,
        None => "toml".into(),
    };
    Wrong { field, message, line }
}

/// The key whose value this line belongs to, with its table.
fn key_at(text: &str, line: usize) -> Option<String> {
    let (mut table, mut key) = (String::new(), None);
    for line in text.lines().take(line) {
        if let Some(name) = table_of(line) {
            (table, key) = (name, None);
        } else if let Some(name) = key_of(line) {
            key = Some(name);
        }
    }
    key.map(|key| if table.is_empty() { key } else { format!("{table}.{key}") })
}

/// The line where a key is set, from 1.
fn line_of(text: &str, field: &str) -> Option<usize> {
    (1..=text.lines().count()).find(|&line| key_at(text, line).as_deref() == Some(field))
}

fn table_of(line: &str) -> Option<String> {
    let name = line.trim().strip_prefix('[')?.split(']').next()?;
    name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)).then(|| name.to_owned())
}

fn key_of(line: &str) -> Option<String> {
    let key = line.split_once('=')?.0.trim();
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    plain.then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "Careful engineer"
role = "engineer"
model_group = "default"
expertise = ["rust"]
capabilities = ["git:write", "knowledge-base:read"]
system_prompt = """
Look.
Then change.
"""

[limits]
max_steps = 60
"#;

    fn wrong(from: &str, to: &str) -> Wrong {
        assert!(GOOD.contains(from), "{from}");
        let mut all = Definition::parse(&GOOD.replace(from, to)).unwrap_err();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn a_file_reads_and_what_is_written_reads_the_same() {
        let definition = Definition::parse(GOOD).unwrap();
        assert_eq!(definition.limits.max_steps, 60);
        assert_eq!(Definition::parse(&definition.to_file().unwrap()).unwrap(), definition);
    }

    #[test]
    fn what_is_wrong_is_named_by_field_and_line() {
        for (from, to, field, line) in [
            ("\"engineer\"", "\"wizard\"", "role", Some(3)),
            ("model_group = \"default\"\n", "", "model_group", None),
            ("model_group = \"default\"", "model_group = 7", "model_group", Some(4)),
            ("expertise =", "experience =", "experience", Some(5)),
            ("\"git:write\"", "\"git:everything\"", "capabilities", Some(6)),
            ("\"Careful engineer\"", "\" \"", "name", Some(2)),
            ("max_steps = 60", "max_steps = 0", "limits.max_steps", Some(13)),
            ("max_steps = 60", "max_steps = -1", "limits.max_steps", Some(13)),
            ("max_steps = 60", "max_steps = ", "limits.max_steps", Some(13)),
        ] {
            let found = wrong(from, to);
            assert_eq!((found.field.as_str(), found.line), (field, line), "{found:?}");
            assert!(!found.message.is_empty());
        }
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = GOOD.replace("Careful engineer", "").replace("= 60", "= 999999");
        let fields: Vec<String> =
            Definition::parse(&text).unwrap_err().into_iter().map(|wrong| wrong.field).collect();
        assert_eq!(fields, ["name", "limits.max_steps"]);
    }
}
