//! A token bucket on the node's clock.

/// Parts of a token: one comes each nanosecond at a rate of one token per second.
const PARTS: i128 = 1_000_000_000;

/// How long to wait for a rate of none. Nanoseconds.
const NEVER: u64 = 1_000_000_000;

/// Tokens that come at a steady rate and are kept for a while. What costs more than is ever kept is let through
/// once all is there, and the bucket owes the rest: so the rate holds on average, whatever the sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: u64,
    /// The most that is kept, in parts.
    kept_max: i128,
    /// In parts; negative while it owes.
    level: i128,
    /// When it was last filled, in nanoseconds of the clock.
    filled: u64,
}

impl Bucket {
    /// A full one that keeps what comes in `burst_ms` milliseconds.
    pub(crate) fn new(per_second: u64, burst_ms: u64, now: u64) -> Self {
        let kept_max = i128::from(per_second)
            .saturating_mul(i128::from(burst_ms))
            .saturating_mul(1_000_000);
        Self {
            per_second,
            kept_max,
            level: kept_max,
            filled: now,
        }
    }

    /// The same with another rate: what is kept, or owed, stays.
    pub(crate) fn changed(self, per_second: u64, burst_ms: u64, now: u64) -> Self {
        let mut next = Self::new(per_second, burst_ms, now);
        let mut old = self;
        old.fill(now);
        next.level = old.level.min(next.kept_max);
        next
    }

    /// Nanoseconds until `cost` tokens can be taken; none if they can be now.
    pub(crate) fn wait_for(&mut self, cost: u64, now: u64) -> Option<u64> {
        if self.per_second == 0 {
            return Some(NEVER);
        }
        self.fill(now);
        let wanted = (i128::from(cost) * PARTS).min(self.kept_max);
        let missing = wanted.saturating_sub(self.level);
        (missing > 0).then(|| {
            let wait = missing.div_euclid(i128::from(self.per_second)) + 1;
            u64::try_from(wait).unwrap_or(u64::MAX)
        })
    }

    /// Takes tokens, whether they are there or not.
    pub(crate) fn take(&mut self, cost: u64) {
        self.level = self.level.saturating_sub(i128::from(cost) * PARTS);
    }

    fn fill(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.filled);
        self.filled = self.filled.max(now);
        let came = i128::from(elapsed).saturating_mul(i128::from(self.per_second));
        self.level = self.level.saturating_add(came).min(self.kept_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn take(bucket: &mut Bucket, cost: u64, now: u64) -> Option<u64> {
        let wait = bucket.wait_for(cost, now);
        if wait.is_none() {
            bucket.take(cost);
        }
        wait
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut bucket = Bucket::new(10, 500, 0);
        let taken = (0..100).filter(|_| take(&mut bucket, 1, 0).is_none()).count();
        assert_eq!(taken, 5, "half a second's worth at once");
        let wait = bucket.wait_for(1, 0);
        assert_eq!(wait.map(|wait| wait / 1_000_000), Some(100), "until the next comes");
        assert_eq!(
            take(&mut bucket, 1, wait.unwrap_or_default()),
            None,
            "the hint is right"
        );
        // Asked all the time for a minute.
        let taken = (0..60_000).filter(|ms| take(&mut bucket, 1, SECOND + ms * 1_000_000).is_none());
        assert!((600..=605).contains(&taken.count()));
    }

    #[test]
    fn what_is_larger_than_a_burst_is_let_through_and_owed() {
        let mut bucket = Bucket::new(1_000, 100, 0);
        assert_eq!(take(&mut bucket, 5_000, 0), None);
        assert_eq!(bucket.wait_for(1, 4 * SECOND).map(|wait| wait / 1_000_000), Some(901));
        assert_eq!(bucket.wait_for(1, 5 * SECOND), None);
    }

    #[test]
    fn a_changed_rate_keeps_the_debt_and_forgives_no_more_than_its_burst() {
        let mut bucket = Bucket::new(100, 1_000, 0);
        bucket.take(200);
        let mut bucket = bucket.changed(10, 1_000, 0);
        assert!(
            bucket.wait_for(1, 10 * SECOND).is_some(),
            "a hundred are owed, ten came each second"
        );
        assert_eq!(bucket.wait_for(1, 11 * SECOND), None);
        let mut bucket = bucket.changed(1, 1_000, 100 * SECOND);
        bucket.take(1);
        assert!(bucket.wait_for(1, 100 * SECOND).is_some());
    }

    #[test]
    fn a_rate_of_none_lets_nothing_through_and_extremes_do_not_overflow() {
        assert!(Bucket::new(0, 1_000, 0).wait_for(0, 9).is_some());
        let mut bucket = Bucket::new(u64::MAX, u64::MAX, 0);
        bucket.take(u64::MAX);
        assert_eq!(bucket.wait_for(u64::MAX, u64::MAX), None);
    }
}
