//! What people are told of budgets: that one comes near its soft limit, or its hard one where that is the only one, and that
//! a provider charged more than could be foreseen.

use super::book::{Book, Window};
use crate::{
    db::{Error, Uow},
    features::approvals::{self, Notice},
};
use serde_json::{Value, json};
use syndarix_domain::{
    budget::{self, Budget, Period, Scope},
    ids::ProjectId,
    money::MicroUsd,
};

/// Of which limit people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Soft,
    Hard,
}

impl Watched {
    fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

/// Whoever has set a soft limit has said when to be told. Without one the hard limit is all that can warn of itself.
fn watched<L>(soft: Option<L>, hard: Option<L>) -> Option<(Watched, L)> {
    soft.map(|limit| (Watched::Soft, limit)).or_else(|| hard.map(|limit| (Watched::Hard, limit)))
}

/// Tells people of every threshold that a budget of the book has just passed.
pub(super) async fn near(uow: &mut Uow, project: ProjectId, book: &Book) -> Result<(), Error> {
    for window in book.windows() {
        let (Budget { soft, hard, spent, .. }, before) = (window.budget, window.before.spent);
        if let Some((which, limit)) = watched(soft.money, hard.money) {
            for percent in budget::crossed(limit.0, before.money.0, spent.money.0) {
                let field = format!("{}_limit_micro_usd", which.name());
                let data = json!({ field: limit, "spent_micro_usd": spent.money });
                let words = ("", limit.to_string(), spent.money.to_string());
                reached(uow, project, window, (which, percent), words, data).await?;
            }
        }
        if let Some((which, limit)) = watched(soft.tokens, hard.tokens) {
            for percent in budget::crossed(limit, before.tokens, spent.tokens) {
                let field = format!("{}_limit_tokens", which.name());
                let data = json!({ field: limit, "spent_tokens": spent.tokens });
                let words = |tokens: i64| format!("{tokens} tokens");
                let words = (" of tokens", words(limit), words(spent.tokens));
                reached(uow, project, window, (which, percent), words, data).await?;
            }
        }
    }
    Ok(())
}

async fn reached(
    uow: &mut Uow,
    project: ProjectId,
    window: &Window,
    (which, percent): (Watched, u8),
    (of, limit, spent): (&str, String, String),
    mut data: Value,
) -> Result<(), Error> {
    let (node, period) = (window.node, window.period);
    let when = if period == Period::Total { String::new() } else { format!(" {}", period.phrase()) };
    let what_then = match which {
        Watched::Soft => "",
        Watched::Hard => " Calls beyond it are refused.",
    };
    let (scope, name) = (node.scope, which.name());
    let sentence = if scope == Scope::Organisation {
        // Its amounts say what projects spend that these people may not know of: who manages it sees them in its costs.
        data = json!({});
        format!("{percent} % of the organisation's {name} limit{of}{when} is reached.{what_then}")
    } else {
        format!(
            "The {scope} has spent {spent}{when}: {percent} % of its {name} limit of {limit} is reached.{what_then}"
        )
    };
    data["reason"] = format!("{name}_limit").into();
    data["scope"] = scope.name().into();
    data["scope_id"] =
        if scope == Scope::Organisation { None } else { Some(node.id) }.map(|id| id.to_string()).into();
    data["period"] = period.name().into();
    data["percent"] = percent.into();
    data["text"] = sentence.clone().into();
    uow.announce(project, "budget", project, "cost.alert.v1", data);
    // Once for each limit in each window: with another one, people are told anew.
    let share = match which {
        Watched::Soft => format!("{percent} % of {limit}"),
        Watched::Hard => format!("{percent} % of the hard {limit}"),
    };
    let kind = match (scope, period) {
        (Scope::Project, Period::Total) => share,
        _ => format!("{share}, {scope} {} from {}", node.id, window.starts_at.date_naive()),
    };
    approvals::notify(uow, project, Notice::about(format!("budget/{project}"), kind, sentence)).await
}

/// A provider charged more than the worst case: the hard limit may have been passed by the difference.
pub(super) async fn overrun(
    uow: &mut Uow,
    project: ProjectId,
    (reserved, cost): (MicroUsd, MicroUsd),
) -> Result<(), Error> {
    let sentence = format!(
        "A model call cost {cost}, and only {reserved} was set aside for it: the provider counts more than was sent, \
         or does not keep to the answer's limit."
    );
    let data = json!({
        "reason": "overrun", "cost_micro_usd": cost, "reserved_micro_usd": reserved, "text": sentence,
    });
    uow.announce(project, "budget", project, "cost.alert.v1", data);
    approvals::notify(uow, project, Notice::about(format!("budget/{project}"), "overrun", sentence)).await
}
