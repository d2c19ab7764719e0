//! Times of a node's liveness.

use crate::store::Boot;
use raftyard_groups::{LivenessConfig, Moment, NodeId, NodeIncarnation, start_wait_ms};

/// How nodes notice that others live. The same on all nodes of a cluster, except while it is changed; a promise says
/// itself how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessTuning {
    /// Each node sends each other one heartbeat this often, whatever the number of their groups. Milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How long a node's replicas keep what they promised to leaders on another node from its last heartbeat on: so
    /// long it takes at least until groups whose leader's node is gone elect another, and so long a node that was
    /// started again waits before it votes. Milliseconds; four intervals at least, since a node that got nothing done for
    /// half of it counts as dead, and is asked once per interval.
    pub promise_ms: u64,
}

impl Default for LivenessTuning {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 100,
            promise_ms: 600,
        }
    }
}

impl LivenessTuning {
    /// Why it can't be, if it can't.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self {
            heartbeat_interval_ms,
            promise_ms,
        } = *self;
        if heartbeat_interval_ms == 0 || promise_ms / 4 < heartbeat_interval_ms {
            return Err(format!(
                "a promise of {promise_ms} ms does not go with a heartbeat between nodes every {heartbeat_interval_ms} ms"
            ));
        }
        Ok(())
    }

    /// For the life of a node that took its data directory at `taken_at`.
    pub(crate) fn config(&self, node: NodeId, boot: Boot, random: u64, taken_at: Moment) -> LivenessConfig {
        let incarnation = NodeIncarnation {
            boot: boot.counter,
            random,
        };
        let usual = LivenessConfig::new(node, incarnation);
        // A node that never promised anything has nothing to wait for.
        let waits = match boot.longest_promise_ms_before {
            0 => 0,
            promise_ms => start_wait_ms(promise_ms, usual.drift_permille),
        };
        LivenessConfig {
            interval_ms: self.heartbeat_interval_ms,
            promise_ms: self.promise_ms,
            proof_ms: self.promise_ms,
            starts_waiting_until: taken_at.plus(waits),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DiskId;

    fn waits_until(longest_promise_ms_before: u64) -> Moment {
        let boot = Boot {
            counter: 4,
            longest_promise_ms_before,
            disk: DiskId(1),
        };
        let config = LivenessTuning::default().config(NodeId(1), boot, 7, Moment(50));
        assert_eq!(config.incarnation, NodeIncarnation { boot: 4, random: 7 });
        config.starts_waiting_until
    }

    #[test]
    fn a_start_waits_as_long_as_any_promise_of_an_earlier_life_holds() {
        assert_eq!(waits_until(0), Moment(50), "nothing was promised");
        assert!(waits_until(9_000) > Moment(50 + 9_000 + 9), "and the clocks may differ");
    }

    #[test]
    fn promises_outlast_some_heartbeats() {
        let check = |heartbeat_interval_ms, promise_ms| {
            let tuning = LivenessTuning {
                heartbeat_interval_ms,
                promise_ms,
            };
            tuning.check().is_ok()
        };
        assert!(check(100, 600) && check(1, 4) && check(100, 400));
        assert!(!check(0, 600) && !check(100, 399) && !check(100, 0));
    }
}
