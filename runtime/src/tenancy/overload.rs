//! Why a request is refused for now.

use crate::error::{ProposeError, ReadError};
use std::time::Duration;

/// Which limit a request exceeded. The numbers are the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverloadReason {
    /// All groups of the node have as many bytes of requests on their way as they may:
    /// [`Limits::request_bytes_max`](crate::Limits::request_bytes_max).
    #[error("{0} bytes of requests are on their way on this node")]
    NodeBytes(usize),
    /// Little is left of those bytes, and this group has more than its share of them.
    #[error("the group has more than its share of the {0} bytes of requests on this node")]
    NodeShare(usize),
    /// [`GroupLimits::bytes_in_flight_max`](crate::GroupLimits::bytes_in_flight_max).
    #[error("{0} bytes of requests to the group are on their way")]
    BytesInFlight(usize),
    /// [`GroupLimits::proposals_per_second`](crate::GroupLimits::proposals_per_second).
    #[error("the group takes {0} proposals per second")]
    ProposalRate(u64),
    /// [`GroupLimits::bytes_per_second`](crate::GroupLimits::bytes_per_second).
    #[error("the group takes {0} bytes of proposals per second")]
    ByteRate(u64),
    /// [`GroupLimits::log_bytes_max`](crate::GroupLimits::log_bytes_max).
    #[error("the group's log has more than {0} bytes")]
    LogBytes(u64),
    /// [`GroupLimits::apply_percent_max`](crate::GroupLimits::apply_percent_max).
    #[error("applying the group's commands takes more than {0} % of a worker's time")]
    ApplyTime(u32),
    /// The log of the node that leads finds no room on its disk. Another node leads soon, if one can that has room.
    #[error("the leader's disk is full")]
    DiskFull,
}

/// A refusal: nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overload {
    pub(crate) reason: OverloadReason,
    pub(crate) retry_after: Duration,
}

impl From<Overload> for ProposeError {
    fn from(Overload { reason, retry_after }: Overload) -> Self {
        Self::Overloaded { reason, retry_after }
    }
}

impl From<Overload> for ReadError {
    fn from(Overload { reason, retry_after }: Overload) -> Self {
        Self::Overloaded { reason, retry_after }
    }
}
