//! How many calls of one asker are under way at the same time: each holds a task, a body and a connection to a provider, so that
//! one asker without an end would leave none of them to others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use syndarix_llm::inbound::Fault;
use uuid::Uuid;

/// Calls of one key, or one agent, in one process: more than anything but a mistake has.
const MOST: usize = 1_024;

/// The calls under way of each asker that has any.
#[derive(Debug, Clone, Default)]
pub(in crate::features::gateway) struct Turns(Arc<Mutex<HashMap<Uuid, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    asker: Uuid,
}

impl Turns {
    /// One more, if it is not one too many.
    pub(super) fn take(&self, asker: Uuid) -> Result<Turn, Fault> {
        let mut under_way = self.lock();
        let count = under_way.entry(asker).or_default();
        if *count >= MOST {
            let message =
                format!("{MOST} calls of this key are under way here: wait for some of them to end");
            return Err(Fault::new(429, "too_many_calls", message).after(Some(1_000)));
        }
        *count += 1;
        Ok(Turn { turns: self.clone(), asker })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.turns.lock();
        let Some(count) = under_way.get_mut(&self.asker) else { return };
        *count -= 1;
        if *count == 0 {
            under_way.remove(&self.asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_too_many_calls_under_way_is_told_to_wait_and_others_are_not() {
        let (turns, one, other) = (Turns::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        let mut held: Vec<Turn> = (0..MOST).map(|_| turns.take(one).unwrap()).collect();
        let refused = turns.take(one).unwrap_err();
        assert_eq!((refused.status, refused.code), (429, "too_many_calls"));
        turns.take(other).unwrap();
        held.pop();
        held.push(turns.take(one).unwrap());
        drop(held);
        assert!(turns.lock().is_empty(), "whoever has none takes no room");
    }
}
