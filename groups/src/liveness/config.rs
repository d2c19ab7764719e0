//! Times and limits of sessions.

use super::ids::NodeIncarnation;
use crate::ids::NodeId;
use crate::input::Moment;

/// What a node is told about itself when its liveness starts. All of it stays as it is for this life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LivenessConfig {
    /// The node.
    pub node: NodeId,
    /// This life of it.
    pub incarnation: NodeIncarnation,
    /// A heartbeat goes to each peer this often. Milliseconds.
    pub interval_ms: u64,
    /// How long a session is promised to live from each heartbeat on. Milliseconds. No greater than what the start
    /// wait of the node's next life will be measured by.
    pub promise_ms: u64,
    /// A heartbeat is believed only if it names a reply that was sent at most this long ago. Milliseconds.
    pub proof_ms: u64,
    /// How much faster one node's clock may run than another's, in thousandths.
    pub drift_permille: u64,
    /// When a pair is taken to flap, and what then.
    pub probation: Probation,
    /// Until then no replica that was found on disk votes or campaigns: [`start_wait_ms`] after the data directory's
    /// lock was taken.
    pub starts_waiting_until: Moment,
}

impl LivenessConfig {
    /// The usual times and limits, without a start wait.
    #[must_use]
    pub fn new(node: NodeId, incarnation: NodeIncarnation) -> Self {
        Self {
            node,
            incarnation,
            interval_ms: 100,
            promise_ms: 600,
            proof_ms: 600,
            drift_permille: 1,
            probation: Probation::default(),
            starts_waiting_until: Moment(0),
        }
    }
}

/// A pair that flaps has to prove itself before a session opens again, so that groups which wake and sleep with it
/// don't do so all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probation {
    /// From so many sessions on that ended young.
    pub withdrawals: u32,
    /// Proved heartbeats in a row before the next session opens; doubled with each further withdrawal.
    pub heartbeats: u64,
    /// At most so many.
    pub heartbeats_max: u64,
    /// A session that lived at least this long was not young: all that was before it is forgotten. Milliseconds.
    pub forgiven_after_ms: u64,
}

impl Default for Probation {
    fn default() -> Self {
        Self {
            withdrawals: 3,
            heartbeats: 8,
            heartbeats_max: 256,
            forgiven_after_ms: 60_000,
        }
    }
}

/// Clocks are read in whole milliseconds: two ticks make up for what that cuts off.
const TICKS: u64 = 2;

/// How long a node waits after its start before a replica that was found on disk may vote: as long as any promise
/// of its earlier lives may last. `promise_ms_max` is the longest that one of them ever granted.
#[must_use]
pub fn start_wait_ms(promise_ms_max: u64, drift_permille: u64) -> u64 {
    promise_ms_max
        .saturating_add(drift(promise_ms_max, drift_permille))
        .saturating_add(TICKS)
}

/// How much of a promise of `promise_ms` its receiver counts on, from when it sent the heartbeat.
pub(super) fn believed_ms(promise_ms: u64, drift_permille: u64) -> u64 {
    promise_ms
        .saturating_sub(drift(promise_ms, drift_permille))
        .saturating_sub(TICKS)
}

/// What two clocks may differ by after so long, rounded up.
fn drift(millis: u64, drift_permille: u64) -> u64 {
    millis.saturating_mul(drift_permille).div_ceil(1_000)
}
