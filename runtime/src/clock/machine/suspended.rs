//! How long a machine of Linux was suspended.

use rustix::time::ClockId;

/// The largest lower bound so far, since it only grows; and what to notice by that it may have grown.
///
/// All in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    nanos: u64,
    /// What `CLOCK_MONOTONIC_RAW` said when that was measured last.
    raw: u64,
    /// How far `CLOCK_BOOTTIME` was ahead of it: with every suspension it is farther.
    ahead: i128,
}

/// After so long it is measured again, whatever the clocks say: by a tenth of that, at most, a slew can hide a suspension.
const MEASURED_EVERY: u64 = 1_000_000;

/// Or when `CLOCK_BOOTTIME` is ahead by so much more or less than it was.
const AHEAD_MAX: i128 = 100_000;

/// So far apart may the first and the last reading of a measurement be. If they are farther, the thread stood still in
/// between.
const APART_MAX: u64 = 50_000;

/// And so often is it tried to have them closer.
const TRIES: usize = 4;

impl Suspended {
    /// The time since some start, with that in which the machine was suspended, from what `read` says of the clocks.
    /// It is right to [`AHEAD_MAX`] and a tenth of [`MEASURED_EVERY`], and never too large.
    pub(super) fn counted_in(&mut self, mut read: impl FnMut(ClockId) -> u64) -> u64 {
        let raw = read(ClockId::MonotonicRaw);
        let ahead = i128::from(read(ClockId::Boottime)) - i128::from(raw);
        let is_known = raw.saturating_sub(self.raw) <= MEASURED_EVERY && (ahead - self.ahead).abs() <= AHEAD_MAX;
        if is_known {
            return raw.saturating_add(self.nanos);
        }
        self.measure(&mut read);
        self.raw = read(ClockId::MonotonicRaw);
        self.raw.saturating_add(self.nanos)
    }

    fn measure(&mut self, mut read: impl FnMut(ClockId) -> u64) {
        for _ in 0..TRIES {
            let before = read(ClockId::Monotonic);
            let counted = read(ClockId::Boottime);
            let after = read(ClockId::Monotonic);
            // When it was read, the other clock was not beyond this.
            self.nanos = self.nanos.max(counted.saturating_sub(after));
            self.ahead = i128::from(counted) - i128::from(read(ClockId::MonotonicRaw));
            if after.saturating_sub(before) <= APART_MAX {
                break;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A machine that is slewed and suspended, and whose clocks take a while to be read.
    struct Machine {
        raw: u64,
        slewed: u64,
        suspended: u64,
        /// How fast the slewed clocks go.
        permille: u64,
        /// What the next readings take; none after those.
        pauses: Vec<u64>,
    }

    impl Machine {
        fn pass(&mut self, nanos: u64) {
            self.raw += nanos;
            self.slewed += nanos * self.permille / 1_000;
        }

        fn read(&mut self, clock: ClockId) -> u64 {
            let pause = self.pauses.pop().unwrap_or_default();
            self.pass(pause);
            match clock {
                ClockId::MonotonicRaw => self.raw,
                ClockId::Monotonic => self.slewed,
                ClockId::Boottime => self.slewed + self.suspended,
                other => panic!("{other:?} was read"),
            }
        }
    }

    /// What chrony does at most, in either direction, and what it does most of the time.
    #[test]
    fn a_slewed_machine_has_no_slewed_clock_and_one_that_was_suspended_knows_it() {
        for permille in [917, 1_000, 1_083] {
            let mut machine = Machine {
                raw: 5 * SECOND,
                slewed: 6 * SECOND,
                suspended: 3 * SECOND,
                permille,
                pauses: Vec::new(),
            };
            let mut suspended = Suspended::default();
            let mut last = 0;
            for round in 0..10_000_usize {
                machine.pass([0, 1_000, 300_000, SECOND][round % 4]);
                if round % 7 == 0 {
                    machine.suspended += SECOND / 10;
                }
                // Where the thread is interrupted, now and then; it is not each time that it tries.
                let mut pauses = [100; 12];
                pauses[round % 12] = [100, 2 * SECOND][usize::from(round % 5 == 0)];
                machine.pauses = pauses.to_vec();
                let now = suspended.counted_in(|clock| machine.read(clock));
                let exact = machine.raw + machine.suspended;
                // From the last reading of the clock to the end of the readings nothing passes but a pause.
                let late = exact - now;
                assert!(
                    now >= last && now <= exact,
                    "{permille} permille, round {round}: {now} of {exact}"
                );
                assert!(late <= 2 * SECOND, "{permille} permille, round {round}: {late}");
                last = now;
                machine.pauses.clear();
                let now = suspended.counted_in(|clock| machine.read(clock));
                let late = machine.raw + machine.suspended - now;
                assert!(late <= 200_000, "{permille} permille, round {round}: {late}");
                last = last.max(now);
            }
        }
    }

    #[test]
    fn it_is_not_measured_at_every_call() {
        let mut machine = Machine {
            raw: 0,
            slewed: 0,
            suspended: 0,
            permille: 1_083,
            pauses: Vec::new(),
        };
        let (mut suspended, mut measured) = (Suspended::default(), 0);
        for _ in 0..1_000 {
            machine.pass(10_000);
            suspended.counted_in(|clock| {
                measured += u64::from(clock == ClockId::Monotonic);
                machine.read(clock)
            });
        }
        assert!(measured <= 2 * 12, "{measured} readings in 10 ms");
    }
}
