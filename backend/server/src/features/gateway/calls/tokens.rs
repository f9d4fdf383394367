//! Tokens of a minute: what a call may use is set aside before anything is asked, as its money is.

use super::{
    answer::Call,
    refusal::{Refusal, exceeded, limits},
};
use crate::{features::gateway::keys::Held, state::App};
use axum::http::HeaderMap;
use std::cell::OnceCell;
use syndarix_llm::{Ask, Deployment, inbound::Fault};

/// What a call may use at the most, in tokens.
#[derive(Debug, Clone, Copy, Default)]
struct Most {
    prompt: u32,
    answer: u32,
    /// How many must be left for it to be let through.
    needed: u32,
}

/// Sets aside what a call may use, and says in these headers what is left. Refused where that is not there now, and where no
/// minute has so many.
pub(super) async fn set_aside(app: &App, call: &Call, headers: &mut HeaderMap) -> Result<Held, Refusal> {
    let Some(limit) = call.asker.tokens_per_minute() else { return Ok(Held::default()) };
    let most = most(app, call, limit);
    if most.tokens() > limit {
        return Err(too_large(most, limit).into());
    }
    let (quota, held) = call.asker.set_aside(app, (most.needed, most.tokens())).await;
    headers.extend(limits(call.native.endpoint(), &quota, app.clock().now()));
    Ok(held.map_err(|refused| exceeded(&refused))?)
}

/// At whom of the group may be asked first: the largest of what a minute allows, so that nobody is told that it never fits who
/// may be let through.
fn most(app: &App, call: &Call, limit: u32) -> Most {
    let ask = Ask::Native(&call.native);
    let first = app.models.gateway.first(&call.group);
    // It reads the whole prompt, and is the same for all.
    let known = OnceCell::new();
    let estimate = || *known.get_or_init(|| ask.estimate());
    let each: Vec<Most> =
        first.into_iter().map(|deployment| Most::at(deployment, (ask, &estimate), limit)).collect();
    let fits = each.iter().filter(|most| most.tokens() <= limit).max_by_key(|most| most.tokens());
    fits.or_else(|| each.iter().min_by_key(|most| most.tokens())).copied().unwrap_or_default()
}

/// Trying again changes nothing.
fn too_large(most: Most, limit: u32) -> Fault {
    let Most { prompt, answer, .. } = most;
    let message = format!(
        "this call can never be let through: its prompt may have {prompt} tokens and its answer {answer}, and this key may \
         take {limit} tokens in a minute. Limit the answer to fewer tokens, send less, or have an admin of the project \
         raise the key's limit"
    );
    Fault::new(429, "larger_than_limit", message).for_good()
}

impl Most {
    /// By the bound that money is reserved at. That is several times what prose has: where it is more than any minute allows,
    /// the estimate counts. Who names no limit of the answer may take what is left of a minute: what it takes beyond that
    /// is counted when it ends. A minute of which nothing is used never comes where others share the key, so that such a call
    /// waits for room for its prompt only.
    fn at(deployment: &Deployment, (ask, estimate): (Ask<'_>, &impl Fn() -> u32), limit: u32) -> Self {
        let bound = ask.bound(deployment);
        let answer = ask.max_output(deployment).saturating_mul(ask.choices(deployment));
        let most = Self::all_of(bound, answer);
        if most.tokens() <= limit {
            return most;
        }
        let prompt = estimate().min(bound);
        if ask.is_limited() {
            return Self::all_of(prompt, answer);
        }
        let answer = answer.min(limit.saturating_sub(prompt).max(1));
        Self { prompt, answer, needed: prompt.saturating_add(1) }
    }

    /// What is let through once all that it may use is left.
    fn all_of(prompt: u32, answer: u32) -> Self {
        Self { prompt, answer, needed: prompt.saturating_add(answer) }
    }

    fn tokens(self) -> u32 {
        self.prompt.saturating_add(self.answer)
    }
}
