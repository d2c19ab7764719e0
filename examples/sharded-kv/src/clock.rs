//! This node's wall clock. What it says is a proposal or a piece of information, never what a key's fate is decided by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use raftyard::Timestamp;

/// Since the Unix epoch.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Now.
pub(crate) fn now() -> Timestamp {
    Timestamp(u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX))
}
