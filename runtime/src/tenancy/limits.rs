//! What one group may take of its node.

/// What one group may take of its node, and its weight among the others. Each node has its own for its replica: what
/// counts for proposals is what the leader's has. Nothing of it is kept on disk. The default limits nothing.
///
/// What exceeds a limit is refused as [`Overloaded`](crate::ProposeError::Overloaded), with no effect, and a hint when
/// to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// Proposals that are taken per second. With 0 none is.
    pub proposals_per_second: Option<u64>,
    /// Bytes of serialised commands that are taken per second. With 0 none is.
    pub bytes_per_second: Option<u64>,
    /// How long the rates above and the share below are kept when they are not used: so much of them may come at
    /// once. Milliseconds.
    pub burst_ms: u64,
    /// Bytes of proposals and reads on their way. Each counts 256 bytes beside its command. Proposals that count for
    /// more at once are refused as [`TooLarge`](crate::ProposeError::TooLarge).
    pub bytes_in_flight_max: Option<usize>,
    /// Bytes of the log that was applied and not compacted, as far as this run of the node applied it. From half of it
    /// on the log is compacted as soon as that can be, whatever [`Compaction`](crate::Compaction) says. Beyond it
    /// proposals are refused until that has caught up. Far less than the size of the state makes for many snapshots.
    pub log_bytes_max: Option<u64>,
    /// How much of a worker's time its state machine may take to apply commands, in percent.
    pub apply_percent_max: Option<u32>,
    /// Its share beside other groups, from 1 to 100; what is out of range is taken as the nearest. It counts when
    /// there is more to do than fits a turn of the worker, and when the node's bytes of requests are short.
    pub weight: u32,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            proposals_per_second: None,
            bytes_per_second: None,
            burst_ms: 1_000,
            bytes_in_flight_max: None,
            log_bytes_max: None,
            apply_percent_max: None,
            weight: 1,
        }
    }
}

impl GroupLimits {
    /// The weight as it counts.
    pub(crate) fn effective_weight(&self) -> u32 {
        self.weight.clamp(1, 100)
    }
}
