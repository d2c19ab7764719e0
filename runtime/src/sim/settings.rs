//! How nodes are set up: drawn from the seed, so that many ways to set them up are tried.

use super::random::{Purpose, Random};
use super::threads::Lateness;
use crate::limits::Limits;
use crate::snapshot::Compaction;
use raftyard_groups::Tuning;

/// The same for all nodes of a world.
pub(super) struct Settings {
    pub(super) tuning: Tuning,
    pub(super) limits: Limits,
    pub(super) compaction: Compaction,
    pub(super) workers: u64,
    pub(super) lateness: Lateness,
    pub(super) latency_max_ms: u64,
    /// How long a client thinks between calls, at most. Milliseconds.
    pub(super) think_max_ms: u64,
}

/// In a world of more groups than these each is asked less often: what a world takes is spent on its faults, and
/// groups that are asked seldom fall asleep and wake.
const BUSY_GROUPS: u64 = 8;

impl Settings {
    pub(super) fn draw(seed: u64, groups: u64) -> Self {
        let mut random = Random::new(seed, Purpose::Plan, 1);
        let heartbeat_interval_ms = random.within(30..=150);
        Self {
            tuning: Tuning {
                heartbeat_interval_ms,
                election_timeout_ms: heartbeat_interval_ms * random.within(5..=12),
                // A restarted replica applies its log in many steps, and is asked in between.
                apply_bytes_max: usize::try_from(random.within(200..=20_000)).unwrap_or(500),
                ..windows(&mut Random::new(seed, Purpose::Plan, 2))
            },
            limits: Limits {
                request_timeout_ms: random.within(500..=4_000),
                ..Limits::default()
            },
            compaction: Compaction {
                entries: random.within(10..=150),
                tail_entries: if random.chance(300) { 0 } else { random.within(0..=20) },
                ..Compaction::default()
            },
            workers: random.within(1..=2),
            lateness: Lateness {
                disk_permille: random.within(0..=500),
                disk_max_ms: random.within(1..=20),
                preempted_permille: random.within(0..=50),
            },
            // As in one place, or in several.
            latency_max_ms: match random.chance(800) {
                true => random.within(0..=5),
                false => random.within(5..=heartbeat_interval_ms / 3),
            },
            think_max_ms: random.within(50..=600) * groups.div_ceil(BUSY_GROUPS),
        }
    }
}

/// What is on its way to a peer at a time: many entries, as usual, or few, so that a log takes many steps to get there.
fn windows(random: &mut Random) -> Tuning {
    let usual = Tuning::default();
    if random.chance(500) {
        return usual;
    }
    let mut bytes = || usize::try_from(random.within(1..=2_000)).unwrap_or(500);
    Tuning {
        message_bytes_max: bytes(),
        inflight_bytes_max: bytes(),
        cache_bytes_max: bytes(),
        inflight_messages_max: usize::try_from(random.within(1..=8)).unwrap_or(1),
        ..usual
    }
}
