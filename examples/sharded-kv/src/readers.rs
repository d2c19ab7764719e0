//! What of the key-value store reads bytes that others wrote, as functions that a fuzzer can call.

mod config;
mod resp;

pub use config::CONFIG;
pub use resp::{COMMANDS, REPLIES};

/// A reader of bytes, and what must hold of it: as `raftyard::fuzzing::Target`.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// What is read.
    pub name: &'static str,
    /// Reads as a node does; says whether all of it was taken. Memory must be proportional to the bytes.
    pub read: fn(&[u8]) -> bool,
    /// Reads, and panics unless what was taken can be written and is read back the same, and what is cut short is never
    /// taken for something else.
    pub check: fn(&[u8]),
    /// What is right, one of each kind: where mutations begin.
    pub samples: fn() -> Vec<Vec<u8>>,
}
