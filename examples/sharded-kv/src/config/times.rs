//! How soon a node that is lost is missed.

use std::ops::RangeInclusive;

use raftyard::{LivenessTuning, Tuning};

/// Milliseconds that `election_timeout_ms` may be. Not less than its heartbeats need: deadlines are looked at every 10 ms. Not
/// more than a minute: a node that is started again waits before it votes for as long as it ever promised, and a slip of a few
/// digits would have every later start wait for hours.
pub(crate) const ELECTION_TIMEOUT_MS: RangeInclusive<u64> = 60..=60_000;

/// Heartbeats within an election timeout, at least: what the defaults have.
const HEARTBEATS: u64 = 6;

/// What `election_timeout_ms` is unless the configuration says otherwise.
pub(crate) fn default_election_timeout_ms() -> u64 {
    Tuning::default().election_timeout_ms
}

/// Times of the groups' consensus. The heartbeats of a shorter timeout come as often within it as by default, or one that is
/// late would be taken for a leader that is lost. Those of a longer one come no less often than by default: they cost little,
/// and the more of them fit into a timeout, the more may be late.
pub(crate) fn tuning(election_timeout_ms: u64) -> Tuning {
    let usual = Tuning::default();
    Tuning {
        election_timeout_ms,
        heartbeat_interval_ms: interval_ms(election_timeout_ms, usual.heartbeat_interval_ms),
        ..usual
    }
}

/// Times of nodes. Who lost its leader campaigns once the election timeout is over and what was promised to the leader's node
/// has run out: the same time for both, or the longer one would be what counts.
pub(crate) fn liveness(election_timeout_ms: u64) -> LivenessTuning {
    let usual = LivenessTuning::default();
    LivenessTuning {
        promise_ms: election_timeout_ms,
        heartbeat_interval_ms: interval_ms(election_timeout_ms, usual.heartbeat_interval_ms),
    }
}

fn interval_ms(election_timeout_ms: u64, usual_ms: u64) -> u64 {
    (election_timeout_ms / HEARTBEATS).min(usual_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_the_library() {
        let usual = default_election_timeout_ms();
        assert_eq!(tuning(usual), Tuning::default());
        assert_eq!(liveness(usual), LivenessTuning::default());
    }

    #[test]
    fn heartbeats_go_with_the_timeout_and_are_no_rarer_than_by_default() {
        for (timeout, interval) in [(60, 10), (300, 50), (601, 100), (60_000, 100)] {
            let (tuning, liveness) = (tuning(timeout), liveness(timeout));
            assert_eq!(
                (tuning.election_timeout_ms, tuning.heartbeat_interval_ms),
                (timeout, interval)
            );
            assert_eq!(
                (liveness.promise_ms, liveness.heartbeat_interval_ms),
                (timeout, interval)
            );
        }
    }
}
