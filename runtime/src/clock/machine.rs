//! The machine's clocks.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod suspended;

use super::Clock;
use crate::time::Timestamp;
use raftyard_groups::Moment;
use rustix::time::{ClockId, clock_gettime};
use std::time::SystemTime;

/// The machine's clocks. The monotonic one counts the time that the machine was suspended, as
/// [`Instant`](std::time::Instant) does not everywhere, and on Linux it goes at the speed of the machine's oscillator: who
/// sets the wall clock right (NTP) does so by making the kernel's other clocks faster or slower for a while, by up to a
/// twelfth, which is far more than leases allow for.
#[derive(Debug)]
pub struct MonotonicClock {
    ticking: Ticking,
    /// What they said at its start.
    elapsed: u64,
    steady: u64,
}

impl Default for MonotonicClock {
    fn default() -> Self {
        let ticking = Ticking::default();
        let (elapsed, steady) = (ticking.elapsed(), ticking.steady());
        Self {
            ticking,
            elapsed,
            steady,
        }
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Moment {
        Moment(self.ticking.elapsed().saturating_sub(self.elapsed) / 1_000_000)
    }

    fn nanos(&self) -> u64 {
        self.ticking.steady().saturating_sub(self.steady)
    }

    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What a clock says, in nanoseconds since its start; it is not before that.
fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanos).unwrap_or_default()
}

/// One clock for both, which counts suspended time on some of these systems.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[derive(Debug, Default)]
struct Ticking;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Ticking {
    fn elapsed(&self) -> u64 {
        read(ClockId::Monotonic)
    }

    fn steady(&self) -> u64 {
        read(ClockId::Monotonic)
    }
}

/// No clock of Linux is all of it: `CLOCK_MONOTONIC_RAW` is not slewed and does not count suspended time,
/// `CLOCK_BOOTTIME` does and is. But that and `CLOCK_MONOTONIC` are slewed alike, and differ by the suspended time alone.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug, Default)]
struct Ticking(parking_lot::Mutex<suspended::Suspended>);

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Ticking {
    /// Since some start, in nanoseconds. Never less than before, on whatever thread: neither of the two is.
    fn elapsed(&self) -> u64 {
        self.0.lock().counted_in(read)
    }

    /// The same without suspended time.
    fn steady(&self) -> u64 {
        read(ClockId::MonotonicRaw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    #[test]
    fn it_never_goes_back_on_whatever_thread() {
        let (clock, latest) = (MonotonicClock::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50_000 {
                        let before = latest.load(SeqCst);
                        let now = clock.ticking.elapsed();
                        assert!(now >= before, "{now} after {before}");
                        latest.fetch_max(now, SeqCst);
                    }
                });
            }
        });
    }
}
