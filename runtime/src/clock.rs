//! The clock the actors read. Injected, so that a simulation can own time.

use raftyard_groups::Moment;
use std::fmt::Debug;
use std::time::Instant;

/// A monotonic clock: milliseconds since some start of its own.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now; never earlier than at an earlier call.
    fn now(&self) -> Moment;
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct MonotonicClock(Instant);

impl Default for MonotonicClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// The clock of the tokio runtime that asks: the one a simulation or a test with paused time moves.
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
}
