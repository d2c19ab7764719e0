//! What clients are told of a command that a group did not carry out.

use std::time::Duration;

use raftyard::{OverloadReason, ProposeError, ReadError};

use super::Node;
use crate::resp::Reply;

impl Node {
    /// The codes say what a client must know: only after `UNKNOWN` may the write have happened.
    pub(super) fn write_error(&self, slot: u16, error: &ProposeError) -> Reply {
        match error {
            ProposeError::NotLeader { leader } => self.elsewhere(slot, *leader),
            ProposeError::Overloaded { reason, retry_after } => overloaded(*reason, *retry_after),
            ProposeError::Closed => closed(),
            ProposeError::Quarantined(_) => self.elsewhere(slot, None),
            ProposeError::Dropped => Reply::error("TRYAGAIN the group changed its leader, the write was not applied"),
            ProposeError::OutcomeUnknown { .. } => Reply::error("UNKNOWN the write may or may not have been applied"),
            error if error.may_have_happened() => Reply::Error(format!("UNKNOWN {error}")),
            error => Reply::Error(format!("ERR {error}")),
        }
    }

    pub(crate) fn read_error(&self, slot: u16, error: &ReadError) -> Reply {
        match error {
            ReadError::NotLeader { leader } => self.elsewhere(slot, *leader),
            ReadError::Overloaded { reason, retry_after } => overloaded(*reason, *retry_after),
            ReadError::Closed => closed(),
            ReadError::Quarantined(_) => self.elsewhere(slot, None),
            ReadError::TimedOut => Reply::error("TRYAGAIN the leader could not confirm the read in time"),
            error => Reply::Error(format!("ERR {error}")),
        }
    }
}

/// What to say where no leader is known.
pub(crate) fn not_served() -> Reply {
    Reply::error("CLUSTERDOWN Hash slot not served")
}

/// Nothing happened, and soon there is room again.
fn overloaded(reason: OverloadReason, retry_after: Duration) -> Reply {
    let millis = retry_after.as_micros().div_ceil(1_000);
    Reply::Error(format!("BUSY overloaded, try again in {millis} ms: {reason}"))
}

fn closed() -> Reply {
    Reply::error("CLUSTERDOWN The node is shutting down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_for_overload_is_told_why_and_until_when() {
        let refused = overloaded(OverloadReason::ByteRate(500), Duration::from_micros(20_500));
        let text = "BUSY overloaded, try again in 21 ms: the group takes 500 bytes of proposals per second";
        assert_eq!(refused, Reply::error(text));
    }
}
