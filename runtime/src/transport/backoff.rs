//! How long to wait before the next attempt.

use crate::random::SplitMix;
use std::time::Duration;

/// Doubles from `min` to `max`, each wait shortened at random by up to half, so that nodes that lost the
/// same peer don't come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: SplitMix,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self {
            min,
            max,
            next: min,
            random: SplitMix::new(seed),
        }
    }

    /// The wait before the next attempt.
    pub(crate) fn wait(&mut self) -> Duration {
        let base = self.next.min(self.max);
        self.next = base.saturating_mul(2).min(self.max);
        let half = base / 2;
        half + half.mul_f64(self.random.next_unit())
    }

    /// The connection works: the next failure is a new one.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }

    /// Whether it has waited ever longer for a while.
    pub(crate) fn is_at_max(&self) -> bool {
        self.next >= self.max
    }

    /// Trying again soon can't help.
    pub(crate) fn jump_to_max(&mut self) {
        self.next = self.max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_the_cap_with_jitter_and_repeats_by_seed() {
        let min = Duration::from_millis(50);
        let max = Duration::from_secs(1);
        let mut backoff = Backoff::new(min, max, 7);
        let waits: Vec<_> = (0..8).map(|_| backoff.wait()).collect();
        let mut base = min;
        for wait in &waits {
            assert!(*wait >= base / 2 && *wait <= base, "{wait:?} of {base:?}");
            base = (base * 2).min(max);
        }
        let mut same = Backoff::new(min, max, 7);
        assert!(waits.iter().all(|wait| *wait == same.wait()));
        let mut other = Backoff::new(min, max, 8);
        assert!(waits.iter().any(|wait| *wait != other.wait()));

        backoff.reset();
        assert!(backoff.wait() <= min);
        backoff.jump_to_max();
        assert!(backoff.wait() >= max / 2);
    }
}
