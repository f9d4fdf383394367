//! How little a bucket lacked of being full, since when: so much may be given back of what was taken then.
//!
//! Had only that been taken which was used, the bucket would have been full, and lost what flowed in, whenever it lacked less
//! than what is given back. So no more is given back than the least that it lacked since; and what one call gets back was
//! lacking for none of the others. The buckets that processes share do the same.

/// Lacks that differ by less than this part of a bucket are one.
const PARTS: f64 = 64.0;

/// Moments with the least that was lacking after the one before; both grow.
#[derive(Debug, Default)]
pub(super) struct Lows {
    moments: u64,
    lows: Vec<(u64, f64)>,
}

impl Lows {
    /// Notes what a bucket of this size lacks now, before anything is taken, and numbers the moment.
    pub(super) fn note(&mut self, size: f64, lacks: f64) -> u64 {
        self.moments += 1;
        while self.lows.last().is_some_and(|(_, low)| *low >= lacks) {
            self.lows.pop();
        }
        match self.lows.last_mut() {
            // The smaller of them stays, so that there are few and none says too much.
            Some((moment, low)) if lacks - *low < size / PARTS => *moment = self.moments,
            _ => self.lows.push((self.moments, lacks)),
        }
        self.moments
    }

    /// How much is given back of what was taken at a moment and not used. What is lacking now must be noted.
    pub(super) fn give_back(&mut self, since: u64, unused: f64) -> f64 {
        let least = self.lows.iter().find(|(moment, _)| *moment > since).map_or(0.0, |(_, low)| *low);
        let back = unused.min(least);
        for (_, low) in &mut self.lows {
            *low = (*low - back).max(0.0);
        }
        let of_nothing = self.lows.iter().take_while(|(_, low)| *low <= 0.0).count();
        self.lows.drain(..of_nothing.saturating_sub(1));
        back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: f64 = 600.0;

    #[test]
    fn no_more_is_given_back_than_was_lacking_at_every_moment_since() {
        let mut lows = Lows::default();
        let begun = lows.note(SIZE, 0.0);
        lows.note(SIZE, 400.0);
        lows.note(SIZE, 90.0);
        let later = lows.note(SIZE, 500.0);
        lows.note(SIZE, 450.0);
        assert!((lows.give_back(begun, 300.0) - 90.0).abs() < 0.001);
        assert!((lows.give_back(later, 300.0) - 300.0).abs() < 0.001, "it began when more was lacking");
        assert!(lows.give_back(later, 300.0) < 60.1, "what the two got back is lacking no more");
    }

    #[test]
    fn of_many_moments_few_are_kept_and_none_promises_more_than_was_lacking() {
        let mut lows = Lows::default();
        let begun: Vec<u64> = (0..6_000).map(|n| lows.note(SIZE, f64::from(n) / 10.0)).collect();
        assert!(lows.lows.len() <= 65, "{}", lows.lows.len());
        let back = lows.give_back(begun[2_999], 600.0);
        assert!((290.0..=300.1).contains(&back), "{back}");
        for n in 0..6_000 {
            let moment = lows.note(SIZE, 100.0 + f64::from(n % 300));
            lows.note(SIZE, 200.0 + f64::from(n % 300));
            lows.give_back(moment, 50.0);
        }
        assert!(lows.lows.len() <= 66, "{}", lows.lows.len());
    }
}
