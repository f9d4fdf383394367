//! Who of a group is asked first. Whoever it is, the rest of the chain follows in its own order.
//!
//! Invariants: a deployment that is left alone is not picked while another is not; an unknown price is never the
//! cheapest; calls of one conversation go to the same one of equals, so that the provider finds the conversation's
//! beginning in its cache.
//!
//! Equals are told apart by rendezvous hashing over the conversation: no process has to know what another picked, and
//! when one of them is away its conversations move, and no other's.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Gateway, ModelGroup};
use crate::ask::Ask;
use crate::provider::Deployment;
use crate::types::Usage;

/// Who is asked first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// The first of the chain.
    #[default]
    Order,
    /// Each as often as its weight says.
    Weighted,
    /// Whoever was fastest of late. Who is not known is tried; a conversation stays where it is.
    LeastLatency,
    /// Whoever is cheapest for this request.
    LeastCost,
}

/// Bytes a token, for comparing prices: about what prose has.
const BYTES_PER_TOKEN: u32 = 4;

/// The chain in the order in which it is tried for this call, and the conversation's number where it matters.
pub(super) fn order<'a>(
    gateway: &Gateway,
    group: &'a ModelGroup,
    ask: Ask<'_>,
) -> (Vec<&'a Deployment>, Option<u64>) {
    let mut chain: Vec<&Deployment> = group.chain.iter().collect();
    if group.routing == Routing::Order || chain.len() < 2 {
        return (chain, None);
    }
    let session = super::session::of(ask);
    let now = Instant::now();
    let is_healthy = |one: &&Deployment| !gateway.breaker.is_open(one.circuit(), now);
    let healthy: Vec<&Deployment> = chain.iter().copied().filter(is_healthy).collect();
    let picked = match group.routing {
        Routing::Order => None,
        Routing::Weighted => by_weight(&healthy, session),
        Routing::LeastCost => cheapest(gateway, &healthy, ask, session),
        Routing::LeastLatency => gateway.latencies.fastest(&healthy, session, ask.streams()),
    };
    if let Some(at) = picked.and_then(|picked| chain.iter().position(|one| one.name == picked.name)) {
        chain[..=at].rotate_right(1);
    }
    (chain, Some(session))
}

/// One of equals, each as often over many conversations as its weight says, and always the same for one of them.
fn by_weight<'a>(equals: &[&'a Deployment], session: u64) -> Option<&'a Deployment> {
    let score = |deployment: &Deployment| {
        let mut hasher = DefaultHasher::new();
        (session, &deployment.name).hash(&mut hasher);
        // The upper 53 bits, as a number above 0 and at most 1: all that a float can tell apart.
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let chance = ((hasher.finish() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        -chance.ln() / f64::from(deployment.weight)
    };
    let weighed = equals.iter().copied().filter(|one| one.weight > 0);
    weighed.min_by(|one, other| score(one).total_cmp(&score(other)))
}

fn cheapest<'a>(
    gateway: &Gateway,
    healthy: &[&'a Deployment],
    ask: Ask<'_>,
    session: u64,
) -> Option<&'a Deployment> {
    let input = ask.bound_text() / BYTES_PER_TOKEN;
    // All are compared over the same answer: one that may say less is not cheaper for it.
    let output = healthy.iter().map(|one| ask.max_output(one)).min()?;
    let cost = |deployment: &Deployment| {
        let price = gateway.price(deployment, input);
        let usage = Usage { input, output, ..Usage::default() };
        (price.is_unknown(), price.rates().cost(&usage))
    };
    let least = healthy.iter().map(|one| cost(one)).min()?;
    let equals: Vec<&Deployment> = healthy.iter().copied().filter(|one| cost(one) == least).collect();
    by_weight(&equals, session).or_else(|| equals.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ProviderKind;

    fn deployments(weights: &[u32]) -> Vec<Deployment> {
        let url: url::Url = "https://example.com/v1".parse().unwrap();
        let of = |(n, weight): (usize, &u32)| Deployment {
            weight: *weight,
            ..Deployment::new(format!("d{n}"), ProviderKind::OpenAi, url.clone())
        };
        weights.iter().enumerate().map(of).collect()
    }

    #[test]
    fn many_conversations_are_shared_as_the_weights_say() {
        let all = deployments(&[1, 3, 0]);
        let equals: Vec<&Deployment> = all.iter().collect();
        let mut counts = [0u32; 3];
        for session in 0..20_000 {
            let picked = by_weight(&equals, session).unwrap();
            counts[all.iter().position(|one| one.name == picked.name).unwrap()] += 1;
        }
        assert!((4_700..5_300).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2], 0, "no weight, no calls while others are there");
    }

    #[test]
    fn when_one_of_equals_is_away_only_its_own_conversations_move() {
        let all = deployments(&[1, 1, 1]);
        let (three, two): (Vec<_>, Vec<_>) = (all.iter().collect(), all[..2].iter().collect());
        for session in 0..1_000 {
            let before = &by_weight(&three, session).unwrap().name;
            let after = &by_weight(&two, session).unwrap().name;
            assert!(before == "d2" || before == after, "{session}");
        }
    }
}
