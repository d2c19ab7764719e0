//! What a group took of its node.

use crate::metrics::Counter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a group's replica took of its node, in this run. Counted on every replica, but for what only who is asked
/// sees: what is on its way, and what was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupUsage {
    /// Entries applied that hold a command, or are about sessions.
    pub commands: u64,
    /// Bytes of their entries, as they count in the log.
    pub bytes: u64,
    /// How long applying them took.
    pub apply_time: Duration,
    /// Bytes of proposals and reads on their way.
    pub bytes_in_flight: usize,
    /// Bytes of the log that was applied and not compacted, as far as this run applied it.
    pub log_bytes: u64,
    /// Calls refused as [`Overloaded`](crate::ProposeError::Overloaded) by a limit; one with many commands is one. What a
    /// full disk refuses is not counted.
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(crate) struct UsageCell {
    pub(crate) commands: Counter,
    pub(crate) bytes: Counter,
    pub(crate) apply_nanos: Counter,
    pub(crate) refused: Counter,
    pub(crate) log_bytes: AtomicU64,
}

impl UsageCell {
    pub(crate) fn read(&self, bytes_in_flight: usize) -> GroupUsage {
        GroupUsage {
            commands: self.commands.get(),
            bytes: self.bytes.get(),
            apply_time: Duration::from_nanos(self.apply_nanos.get()),
            bytes_in_flight,
            log_bytes: self.log_bytes.load(Ordering::Relaxed),
            refused: self.refused.get(),
        }
    }
}
