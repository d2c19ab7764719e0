//! Messages as bytes: packed by hand, versioned, numbers little-endian and of fixed width.
//!
//! ```text
//! payload := { length: u32, message | between_nodes }*
//! between_nodes := version: u8, tag: u8, from, to: u64, body
//! message := version: u8, tag: u8, group, incarnation, from, to, term: u64, body
//! append  := prev, commit: u64, count: u32, { term: u64, length: u32, bytes }*
//! ```
//!
//! The other bodies are their fields, in the order of their declaration; before a field that may be missing stands
//! whether it is there. An append's entries are consecutive from `prev.index + 1` on, so their indexes are not sent: entries
//! that are not consecutive can't be said. Length `u32::MAX` stands for an entry without a command, the one below
//! it for a configuration, which follows in its own form (`crate::membership`).

mod decode;
mod encode;
mod node;

use crate::membership::BadMembership;
pub(crate) use decode::{Decoded, decode};
pub(crate) use encode::{encode, encoded_len};
pub(crate) use node::{NodeParcel, encode_node, encoded_node_len};
use raftyard_groups::LogIndex;

/// The form described above.
const VERSION: u8 = 3;
/// Bytes of the length before each message.
pub(crate) const PREFIX_BYTES: usize = 4;
/// Version, tag and the five ids.
const HEADER_BYTES: usize = 2 + 5 * 8;
/// Bytes of a log id: term and index.
const LOG_ID_BYTES: usize = 16;
/// A session: the granting node's start counter and random number, and its own counter.
const SESSION_BYTES: usize = 24;
/// `prev`, `commit` and the count of entries.
const APPEND_BYTES: usize = LOG_ID_BYTES + 8 + 4;
/// An entry without its command.
const ENTRY_BYTES: usize = 8 + 4;
/// The length that stands for an entry without a command.
const NOOP: u32 = u32::MAX;
/// The length that stands for a configuration. Every length is smaller.
const MEMBERSHIP: u32 = u32::MAX - 1;

/// First byte after the version: what the message says. Numbers are never used again for something else.
mod tag {
    pub(super) const PRE_VOTE: u8 = 1;
    pub(super) const PRE_VOTE_REPLY: u8 = 2;
    pub(super) const VOTE_REFUSED: u8 = 3;
    pub(super) const APPEND: u8 = 4;
    pub(super) const APPEND_REJECTED: u8 = 5;
    pub(super) const HEARTBEAT: u8 = 6;
    pub(super) const HEARTBEAT_REPLY: u8 = 7;
    pub(super) const VOTE: u8 = 8;
    pub(super) const VOTE_GRANTED: u8 = 9;
    pub(super) const APPEND_ACCEPTED: u8 = 10;
    pub(super) const TIMEOUT_NOW: u8 = 11;
    pub(super) const READ_INDEX: u8 = 12;
    pub(super) const READ_INDEX_IS: u8 = 13;
    pub(super) const SLEEP: u8 = 14;
    pub(super) const RESIGNED: u8 = 15;
    pub(super) const RESIGNED_ACK: u8 = 16;
    /// Between nodes, from here on: they have no group.
    pub(super) const NODE_HEARTBEAT: u8 = 128;
    pub(super) const NODE_REPLY: u8 = 129;
}

/// Bytes that are not a message, or a message that can't be put into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A field, or what a count or length promises, goes beyond the end.
    #[error("message ends early: {needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// Another version of this form.
    #[error("message of version {0}, this node speaks {VERSION}")]
    Version(u8),
    /// A tag that means nothing in this version.
    #[error("unknown message tag {0}")]
    Tag(u8),
    /// A truth value that is neither 0 nor 1.
    #[error("truth value {0}")]
    Bool(u8),
    /// Bytes after the end of a message.
    #[error("{0} bytes after the end of a message")]
    Trailing(usize),
    /// Entries whose index would not fit its type.
    #[error("log index beyond {0}")]
    Index(LogIndex),
    /// An entry that holds no configuration, though it should.
    #[error("entry {index} holds {reason}")]
    Membership {
        /// The entry.
        index: LogIndex,
        /// What is wrong with it.
        reason: BadMembership,
    },
    /// More bytes than a message may have.
    #[error("message of {bytes} bytes, at most {bytes_max} can be sent")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
}
