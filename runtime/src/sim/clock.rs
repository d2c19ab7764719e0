//! The clocks of a simulated node: they drift, and its wall clock jumps.

use crate::clock::Clock;
use crate::time::Timestamp;
use parking_lot::Mutex;
use raftyard_groups::Moment;
use std::sync::Arc;
use tokio::time::Instant;

/// A node's clocks. Clones are the same; they go on while the process is down.
#[derive(Clone, Debug)]
pub(crate) struct NodeClock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Where it was when its rate last changed.
    since: Instant,
    at_ms: u64,
    /// What it gains in a thousand milliseconds, or loses.
    drift_permille: i64,
    wall_ms: u64,
}

impl NodeClock {
    pub(crate) fn new(drift_permille: i64, wall_ms: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            since: Instant::now(),
            at_ms: 0,
            drift_permille,
            wall_ms,
        })))
    }

    /// Goes faster or slower from now on.
    pub(crate) fn drift(&self, permille: i64) {
        let mut state = self.0.lock();
        state.at_ms = state.now();
        state.since = Instant::now();
        state.drift_permille = permille;
    }

    /// Sets the wall clock on, or back.
    pub(crate) fn jump(&self, by_ms: i64) {
        let mut state = self.0.lock();
        state.wall_ms = state.wall_ms.saturating_add_signed(by_ms);
    }
}

impl State {
    fn now(&self) -> u64 {
        let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let rate = 1_000_u64.saturating_add_signed(self.drift_permille);
        self.at_ms + passed * rate / 1_000
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Moment {
        Moment(self.0.lock().now())
    }

    fn wall(&self) -> Timestamp {
        let state = self.0.lock();
        Timestamp(state.wall_ms + state.now())
    }
}
