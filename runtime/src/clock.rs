//! The clock the actors read. Injected, so that a simulation can own time.

#[cfg(test)]
mod hand;
mod machine;

use crate::time::Timestamp;
#[cfg(test)]
pub(crate) use hand::Hand;
pub use machine::MonotonicClock;
use raftyard_groups::Moment;
use std::fmt::Debug;

/// A node's two clocks: a monotonic one, by which everything is timed, and a wall clock, which only stamps
/// commands.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since some start of its own; never earlier than at an earlier call. It goes on while the machine
    /// is suspended, and at the speed of other nodes' clocks, to a thousandth: leases hang on that.
    fn now(&self) -> Moment;

    /// Nanoseconds since some start of its own, as finely as the clock has them, with or without the time in which the
    /// machine was suspended: by which rates and the time that state machines take are measured.
    fn nanos(&self) -> u64 {
        self.now().0.saturating_mul(1_000_000)
    }

    /// What the wall clock says. It may jump: no promise hangs on it.
    fn wall(&self) -> Timestamp;
}

/// The clock of the tokio runtime that asks: the one a simulation or a test with paused time moves.
/// Its wall clock begins at the Unix epoch.
#[derive(Debug)]
pub struct RuntimeClock(tokio::time::Instant);

impl RuntimeClock {
    /// A clock that starts now. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.now().0)
    }
}
