//! What a node takes on at once.

use crate::session::SessionLimits;

/// Limits of a node. The defaults suit a node with a few gigabytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of proposals and reads on their way, all groups together; beyond it callers are told
    /// `Overloaded`, and `TooLarge` of what would never fit. Each counts 256 bytes beside its command. A proposal whose
    /// outcome is unknown counts as long as it may still be applied here.
    pub request_bytes_max: usize,
    /// The largest serialised command, in bytes.
    pub command_bytes_max: usize,
    /// How long a proposal or a read waits for its outcome. Milliseconds.
    pub request_timeout_ms: u64,
    /// Bytes of messages received and not yet taken care of; beyond it peers have to wait.
    pub inbound_bytes_max: usize,
    /// What its groups remember for sessions, as long as it is this node that opens them.
    pub sessions: SessionLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 64 << 20,
            command_bytes_max: 8 << 20,
            request_timeout_ms: 5_000,
            inbound_bytes_max: 64 << 20,
            sessions: SessionLimits::default(),
        }
    }
}
