//! `approval`.

use super::{
    Failure, Global,
    local::{Local, text},
    output,
    work::{list, show},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub(super) enum Approval {
    /// Lists the questions that wait for an answer.
    List {
        /// Those that are answered, too.
        #[arg(long)]
        all: bool,
    },
    /// Shows a question.
    Show {
        /// Its id.
        approval: Uuid,
    },
    /// Answers a question.
    Decide(Decide),
}

#[derive(Debug, Args)]
pub(super) struct Decide {
    /// Its id.
    approval: Uuid,
    /// The answer.
    outcome: Outcome,
    /// Why, or what is wanted.
    #[arg(long, default_value = "")]
    note: String,
    /// A remark on a line of the diff: `path:line:text`; may be given several times.
    #[arg(long = "comment", value_name = "PATH:LINE:TEXT", value_parser = comment)]
    comments: Vec<Value>,
    /// With `approve`: a file of JSON with the arguments that are to hold instead of those that were asked for.
    #[arg(long, value_name = "FILE")]
    arguments: Option<PathBuf>,
}

impl Decide {
    /// The answer as the API takes it, to what was shown.
    fn body(&self, asked: &Value) -> Result<Value, Failure> {
        let mut body = json!({
            "outcome": self.outcome.name(), "digest": asked["digest"], "note": self.note, "comments": self.comments,
        });
        let Some(path) = &self.arguments else { return Ok(body) };
        if !matches!(self.outcome, Outcome::Approve) {
            return Err(Failure::new("--arguments goes with `approve` only"));
        }
        let wrong = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        body["outcome"] = "approved_with_changes".into();
        body["arguments"] = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        Ok(body)
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Outcome {
    Approve,
    RequestChanges,
    Reject,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::RequestChanges => "changes_requested",
            Self::Reject => "rejected",
        }
    }
}

fn comment(argument: &str) -> Result<Value, String> {
    let mut parts = argument.splitn(3, ':');
    let (Some(path), Some(line), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("write it like src/main.rs:12:what is wanted".into());
    };
    let line: u32 = line.parse().map_err(|_| format!("`{line}` is no line number"))?;
    Ok(json!({ "path": path, "line": line, "side": "new", "body": body }))
}

const LIST: [output::Column; 5] =
    [("LANE", "lane"), ("STATE", "state"), ("PROJECT", "project_name"), ("QUESTION", "title"), ("ID", "id")];
const ONE: [output::Column; 11] = [
    ("id", "id"),
    ("question", "title"),
    ("summary", "summary"),
    ("asked by", "requested_by.name"),
    ("rule", "policy.rule"),
    ("state", "state"),
    ("confidence", "confidence"),
    ("if approved", "consequences.approve"),
    ("if changes are requested", "consequences.request_changes"),
    ("if rejected", "consequences.reject"),
    ("decided by", "decided.by.name"),
];

impl Approval {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        Local::run(global, async |local| {
            match self {
                Self::List { all } => {
                    let state = if all { "all" } else { "pending" };
                    list(global, &LIST, &local.get(&format!("/approvals?limit=200&state={state}")).await?);
                }
                Self::Show { approval } => {
                    let path = path_of(local, approval).await?;
                    show(global, &ONE, &local.get(&path).await?);
                }
                Self::Decide(decide) => {
                    let path = path_of(local, decide.approval).await?;
                    let asked = local.get(&path).await?;
                    let body = decide.body(&asked)?;
                    show(global, &ONE, &local.post(&format!("{path}/decision"), &body).await?);
                }
            }
            Ok(())
        })
        .await
    }
}

async fn path_of(local: &Local, approval: Uuid) -> Result<String, Failure> {
    let id = approval.to_string();
    let found = local.all("/approvals?state=all", |one| text(one, "id") == id).await?;
    match found.first() {
        Some(one) => Ok(format!("/projects/{}/approvals/{id}", text(one, "project_id"))),
        None => Err(Failure::new(format!("there is no approval {id} that you can see"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_names_its_line_and_may_hold_colons() {
        let read = comment("src/a.rs:12:use `a::b` here").unwrap();
        assert_eq!((read["line"].as_u64(), read["body"].as_str()), (Some(12), Some("use `a::b` here")));
        assert!(comment("src/a.rs:x:y").is_err() && comment("src/a.rs").is_err());
    }
}
