//! How long a model's answers are, from those that this process has seen: what is too short to be worth asking for.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};
use syndarix_domain::ids::ProjectId;

/// A shorter answer is seldom a whole one.
const LEAST: u32 = 512;
/// Answers that are remembered of each model, the newest.
const REMEMBERED: usize = 128;
/// Models of projects that are remembered; beyond them everything is forgotten and learned anew.
const MODELS: usize = 2_000;

/// The lengths of answers, by project and model: how one tenant's calls turn out tells nothing of another's.
#[derive(Default)]
pub(super) struct Outputs {
    seen: Mutex<HashMap<(ProjectId, String), VecDeque<u32>>>,
}

impl Outputs {
    /// An answer of so many tokens was given.
    pub(super) fn saw(&self, project: ProjectId, model: &str, tokens: u32) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MODELS {
            seen.clear();
        }
        let lengths = seen.entry((project, model.to_owned())).or_default();
        if lengths.len() == REMEMBERED {
            lengths.pop_front();
        }
        lengths.push_back(tokens);
    }

    /// What 19 of 20 answers keep to; no less than what is worth asking for.
    pub(super) fn usual(&self, project: ProjectId, model: &str) -> u32 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lengths) = seen.get(&(project, model.to_owned())) else { return LEAST };
        let mut sorted: Vec<u32> = lengths.iter().copied().collect();
        sorted.sort_unstable();
        let place = sorted.len().saturating_mul(95).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or(LEAST).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_usual_answer_is_what_nineteen_of_twenty_keep_to() {
        let (outputs, project) = (Outputs::default(), ProjectId(Uuid::from_u128(1)));
        assert_eq!(outputs.usual(project, "m"), LEAST);
        for tokens in 1..=100 {
            outputs.saw(project, "m", tokens * 100);
        }
        assert_eq!(outputs.usual(project, "m"), 9_500);
        assert_eq!(
            outputs.usual(ProjectId(Uuid::from_u128(2)), "m"),
            LEAST,
            "another project knows nothing of it"
        );
        for _ in 0..REMEMBERED {
            outputs.saw(project, "m", 3);
        }
        assert_eq!(outputs.usual(project, "m"), LEAST, "old answers are forgotten");
    }
}
