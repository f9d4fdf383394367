//! What people are told of budgets: that one comes near its soft limit, and that a provider charged more than could be
//! foreseen.

use super::book::{Book, Window};
use crate::{
    db::{Error, Uow},
    features::approvals::{self, Notice},
};
use serde_json::json;
use syndarix_domain::{
    budget::{self, Period, Scope},
    ids::ProjectId,
    money::MicroUsd,
};

/// Tells people of every threshold that a budget of the book has just passed.
pub(super) async fn near(uow: &mut Uow, project: ProjectId, book: &Book) -> Result<(), Error> {
    for window in book.windows() {
        let (soft, spent, before) = (window.budget.soft, window.budget.spent, window.before.spent);
        if let Some(limit) = soft.money {
            for percent in budget::crossed(limit.0, before.money.0, spent.money.0) {
                let data = json!({
                    "soft_limit_micro_usd": limit, "spent_micro_usd": spent.money,
                });
                reached(uow, project, window, percent, (limit.to_string(), spent.money.to_string()), data)
                    .await?;
            }
        }
        if let Some(limit) = soft.tokens {
            for percent in budget::crossed(limit, before.tokens, spent.tokens) {
                let words = |tokens: i64| format!("{tokens} tokens");
                let data = json!({ "soft_limit_tokens": limit, "spent_tokens": spent.tokens });
                reached(uow, project, window, percent, (words(limit), words(spent.tokens)), data).await?;
            }
        }
    }
    Ok(())
}

async fn reached(
    uow: &mut Uow,
    project: ProjectId,
    window: &Window,
    percent: u8,
    (limit, spent): (String, String),
    mut data: serde_json::Value,
) -> Result<(), Error> {
    let (node, period) = (window.node, window.period);
    let when = if period == Period::Total { String::new() } else { format!(" {}", period.phrase()) };
    let sentence = format!(
        "The {} has spent {spent}{when}: {percent} % of its soft limit of {limit} is reached.",
        node.scope
    );
    data["reason"] = "soft_limit".into();
    data["scope"] = node.scope.name().into();
    data["scope_id"] =
        if node.scope == Scope::Organisation { None } else { Some(node.id) }.map(|id| id.to_string()).into();
    data["period"] = period.name().into();
    data["percent"] = percent.into();
    data["text"] = sentence.clone().into();
    uow.announce(project, "budget", project, "cost.alert.v1", data);
    // Once for each limit in each window: with another one, people are told anew.
    let kind = match (node.scope, period) {
        (Scope::Project, Period::Total) => format!("{percent} % of {limit}"),
        _ => format!(
            "{percent} % of {limit}, {} {} from {}",
            node.scope,
            node.id,
            window.starts_at.date_naive()
        ),
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
