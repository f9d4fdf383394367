//! Visits every state that can be reached, breadth first, so that a fault comes with its shortest history.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

/// More states than this are a model that is no longer small.
const LIMIT: usize = 3_000_000;

/// A system that moves in atomic steps.
pub(super) trait System {
    type State: Clone + Eq + Hash + Debug;
    type Step: Clone + Debug;

    fn start(&self) -> Self::State;
    /// Every step that is possible, with where it leads.
    fn steps(&self, state: &Self::State) -> Vec<(Self::Step, Self::State)>;
    /// What is wrong with a state, if anything.
    fn fault(&self, state: &Self::State) -> Option<&'static str>;
    /// Whether everything that was promised is done.
    fn is_over(&self, state: &Self::State) -> bool;
}

/// What a search found.
#[derive(Debug)]
pub(super) enum Found<Step> {
    /// No fault, and from every state there is a way to the end.
    Sound { states: usize },
    /// A state with a fault, and the steps that lead to it.
    Fault { what: &'static str, history: Vec<Step> },
    /// A state from which the end cannot be reached any more, and the steps that lead to it.
    Stuck { history: Vec<Step> },
}

/// How a state was first reached: from which one, by which step.
type Origin<Step> = Option<(usize, Step)>;

/// Visits every reachable state.
pub(super) fn explore<S: System>(system: &S) -> Found<S::Step> {
    let mut ids = HashMap::from([(system.start(), 0)]);
    let mut origins: Vec<Origin<S::Step>> = vec![None];
    let mut came_from: Vec<Vec<usize>> = vec![Vec::new()];
    let mut over = Vec::new();
    let mut todo = VecDeque::from([system.start()]);
    while let Some(state) = todo.pop_front() {
        let id = ids[&state];
        if let Some(what) = system.fault(&state) {
            return Found::Fault { what, history: history(&origins, id) };
        }
        if system.is_over(&state) {
            over.push(id);
        }
        for (step, next) in system.steps(&state) {
            let known = ids.len();
            let next_id = *ids.entry(next.clone()).or_insert(known);
            if next_id == known {
                assert!(known < LIMIT, "the model has more than {LIMIT} states");
                origins.push(Some((id, step)));
                came_from.push(Vec::new());
                todo.push_back(next);
            }
            came_from[next_id].push(id);
        }
    }
    match stuck(over, &came_from) {
        Some(id) => Found::Stuck { history: history(&origins, id) },
        None => Found::Sound { states: ids.len() },
    }
}

/// The first state that no end can be reached from.
fn stuck(over: Vec<usize>, came_from: &[Vec<usize>]) -> Option<usize> {
    let mut ends = vec![false; came_from.len()];
    let mut todo = over;
    while let Some(id) = todo.pop() {
        if !std::mem::replace(&mut ends[id], true) {
            todo.extend(&came_from[id]);
        }
    }
    ends.iter().position(|ends| !ends)
}

fn history<Step: Clone>(origins: &[Origin<Step>], mut id: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some((from, step)) = &origins[id] {
        steps.push(step.clone());
        id = *from;
    }
    steps.reverse();
    steps
}
