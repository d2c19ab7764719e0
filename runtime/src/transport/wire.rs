//! Messages as bytes: packed by hand, versioned, numbers little-endian and of fixed width.
//!
//! ```text
//! payload := { length: u32, message }*
//! message := version: u8, tag: u8, group, incarnation, from, to, term: u64, body
//! append  := prev, commit: u64, count: u32, { term: u64, length: u32, bytes }*
//! ```
//!
//! An append's entries are consecutive from `prev.index + 1` on, so their indexes are not sent: entries
//! that are not consecutive can't be said. Length `u32::MAX` stands for an entry without a command.

use bytes::{BufMut, Bytes, BytesMut};
use raftyard_groups::{
    Body, Entry, GroupId, Incarnation, LogId, LogIndex, Message, NodeId, Payload, Promise, Prompt, ReadRound, Term,
};

/// The form described above.
const VERSION: u8 = 1;
/// Bytes of the length before each message.
pub(crate) const PREFIX_BYTES: usize = 4;
/// Version, tag and the five ids.
const HEADER_BYTES: usize = 2 + 5 * 8;
/// Bytes of a [`LogId`].
const LOG_ID_BYTES: usize = 16;
/// `prev`, `commit` and the count of entries.
const APPEND_BYTES: usize = LOG_ID_BYTES + 8 + 4;
/// An entry without its command.
const ENTRY_BYTES: usize = 8 + 4;
/// The length that stands for [`Payload::Noop`].
const NOOP: u32 = u32::MAX;

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
    /// More bytes than a message may have.
    #[error("message of {bytes} bytes, at most {bytes_max} can be sent")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
}

/// Bytes that [`encode`] writes for `message`, its length prefix included.
pub(crate) fn encoded_len(message: &Message) -> usize {
    let body = match &message.body {
        Body::Prompt(prompt) => match prompt {
            Prompt::PreVote { .. } => LOG_ID_BYTES,
            Prompt::PreVoteReply { .. } => 1,
            Prompt::VoteRefused => 0,
            Prompt::Append { entries, .. } => APPEND_BYTES + entries.iter().map(entry_len).sum::<usize>(),
            Prompt::AppendRejected { .. } => 8 + LOG_ID_BYTES,
            Prompt::Heartbeat { .. } => 16,
            Prompt::HeartbeatReply { .. } => 8,
        },
        Body::Promise(promise) => match promise {
            Promise::Vote { .. } => LOG_ID_BYTES,
            Promise::VoteGranted => 0,
            Promise::AppendAccepted { .. } => 8,
        },
    };
    PREFIX_BYTES + HEADER_BYTES + body
}

fn entry_len(entry: &Entry) -> usize {
    ENTRY_BYTES
        + match &entry.payload {
            Payload::Noop => 0,
            Payload::Command(command) => command.len(),
        }
}

/// Appends `message`, with its length prefix, to `buf`. `len` is its [`encoded_len`].
///
/// # Errors
///
/// [`WireError::TooLarge`] if `len` is beyond `bytes_max`; `buf` is then untouched.
pub(crate) fn encode(message: &Message, len: usize, bytes_max: usize, buf: &mut BytesMut) -> Result<(), WireError> {
    debug_assert_eq!(len, encoded_len(message));
    let too_large = WireError::TooLarge { bytes: len, bytes_max };
    if len > bytes_max {
        return Err(too_large);
    }
    // Every length and count inside is smaller than this one, but the value of `NOOP` means something else.
    let prefix = u32::try_from(len - PREFIX_BYTES).map_err(|_| too_large)?;
    if prefix == NOOP {
        return Err(too_large);
    }
    buf.reserve(len);
    buf.put_u32_le(prefix);
    buf.put_u8(VERSION);
    buf.put_u8(tag_of(&message.body));
    buf.put_u64_le(message.group.0);
    buf.put_u64_le(message.incarnation.0);
    buf.put_u64_le(message.from.0);
    buf.put_u64_le(message.to.0);
    buf.put_u64_le(message.term.0);
    match &message.body {
        Body::Prompt(prompt) => match prompt {
            Prompt::PreVote { last } => put_log_id(*last, buf),
            Prompt::PreVoteReply { granted } => buf.put_u8(u8::from(*granted)),
            Prompt::VoteRefused => {}
            Prompt::Append { prev, entries, commit } => {
                put_log_id(*prev, buf);
                buf.put_u64_le(commit.0);
                buf.put_u32_le(u32::try_from(entries.len()).map_err(|_| too_large)?);
                for (offset, entry) in entries.iter().enumerate() {
                    debug_assert_eq!(entry.index, prev.index.plus(offset + 1));
                    buf.put_u64_le(entry.term.0);
                    match &entry.payload {
                        Payload::Noop => buf.put_u32_le(NOOP),
                        Payload::Command(command) => {
                            buf.put_u32_le(u32::try_from(command.len()).map_err(|_| too_large)?);
                            buf.put_slice(command);
                        }
                    }
                }
            }
            Prompt::AppendRejected { refused, hint } => {
                buf.put_u64_le(refused.0);
                put_log_id(*hint, buf);
            }
            Prompt::Heartbeat { commit, round } => {
                buf.put_u64_le(commit.0);
                buf.put_u64_le(round.0);
            }
            Prompt::HeartbeatReply { round } => buf.put_u64_le(round.0),
        },
        Body::Promise(promise) => match promise {
            Promise::Vote { last } => put_log_id(*last, buf),
            Promise::VoteGranted => {}
            Promise::AppendAccepted { matched } => buf.put_u64_le(matched.0),
        },
    }
    Ok(())
}

fn tag_of(body: &Body) -> u8 {
    match body {
        Body::Prompt(prompt) => match prompt {
            Prompt::PreVote { .. } => tag::PRE_VOTE,
            Prompt::PreVoteReply { .. } => tag::PRE_VOTE_REPLY,
            Prompt::VoteRefused => tag::VOTE_REFUSED,
            Prompt::Append { .. } => tag::APPEND,
            Prompt::AppendRejected { .. } => tag::APPEND_REJECTED,
            Prompt::Heartbeat { .. } => tag::HEARTBEAT,
            Prompt::HeartbeatReply { .. } => tag::HEARTBEAT_REPLY,
        },
        Body::Promise(promise) => match promise {
            Promise::Vote { .. } => tag::VOTE,
            Promise::VoteGranted => tag::VOTE_GRANTED,
            Promise::AppendAccepted { .. } => tag::APPEND_ACCEPTED,
        },
    }
}

fn put_log_id(id: LogId, buf: &mut BytesMut) {
    buf.put_u64_le(id.term.0);
    buf.put_u64_le(id.index.0);
}

/// All messages of a frame's payload, in order.
///
/// Commands are slices, never copies of their own: of the payload itself where the message makes up at least
/// half of it, else of one copy of that message's entries. So an entry that stays in a cache never keeps
/// much more than its own message in memory, whatever else was in the frame.
///
/// # Errors
///
/// A [`WireError`] if any of it is not a message. Memory used is proportional to the bytes present, never to
/// what a count declares.
pub(crate) fn decode(payload: &Bytes) -> Result<Vec<Message>, WireError> {
    let mut messages = Vec::new();
    let mut reader = Reader { rest: payload };
    while !reader.rest.is_empty() {
        let len = reader.len()?;
        let message = reader.take(len)?;
        messages.push(decode_message(message, payload)?);
    }
    Ok(messages)
}

fn decode_message(message: &[u8], payload: &Bytes) -> Result<Message, WireError> {
    let mut reader = Reader { rest: message };
    let version = reader.u8()?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let tag = reader.u8()?;
    let group = GroupId(reader.u64()?);
    let incarnation = Incarnation(reader.u64()?);
    let from = NodeId(reader.u64()?);
    let to = NodeId(reader.u64()?);
    let term = Term(reader.u64()?);
    let body = match tag {
        tag::PRE_VOTE => Body::Prompt(Prompt::PreVote { last: reader.log_id()? }),
        tag::PRE_VOTE_REPLY => Body::Prompt(Prompt::PreVoteReply {
            granted: reader.bool()?,
        }),
        tag::VOTE_REFUSED => Body::Prompt(Prompt::VoteRefused),
        tag::APPEND => {
            let prev = reader.log_id()?;
            let commit = LogIndex(reader.u64()?);
            let count = reader.len()?;
            let packed = std::mem::take(&mut reader.rest);
            let packed = if message.len() < payload.len() / 2 {
                Bytes::copy_from_slice(packed)
            } else {
                payload.slice_ref(packed)
            };
            Body::Prompt(Prompt::Append {
                prev,
                entries: decode_entries(&packed, count, prev.index)?,
                commit,
            })
        }
        tag::APPEND_REJECTED => Body::Prompt(Prompt::AppendRejected {
            refused: LogIndex(reader.u64()?),
            hint: reader.log_id()?,
        }),
        tag::HEARTBEAT => Body::Prompt(Prompt::Heartbeat {
            commit: LogIndex(reader.u64()?),
            round: ReadRound(reader.u64()?),
        }),
        tag::HEARTBEAT_REPLY => Body::Prompt(Prompt::HeartbeatReply {
            round: ReadRound(reader.u64()?),
        }),
        tag::VOTE => Body::Promise(Promise::Vote { last: reader.log_id()? }),
        tag::VOTE_GRANTED => Body::Promise(Promise::VoteGranted),
        tag::APPEND_ACCEPTED => Body::Promise(Promise::AppendAccepted {
            matched: LogIndex(reader.u64()?),
        }),
        unknown => return Err(WireError::Tag(unknown)),
    };
    reader.end()?;
    Ok(Message {
        group,
        incarnation,
        from,
        to,
        term,
        body,
    })
}

/// `count` entries that follow `prev`, and nothing after them.
fn decode_entries(packed: &Bytes, count: usize, prev: LogIndex) -> Result<Vec<Entry>, WireError> {
    let mut reader = Reader { rest: packed };
    let needed = count.saturating_mul(ENTRY_BYTES);
    if needed > packed.len() {
        return Err(WireError::Truncated {
            needed,
            left: packed.len(),
        });
    }
    let mut entries = Vec::with_capacity(count);
    let mut last = prev;
    for _ in 0..count {
        let index = LogIndex(last.0.checked_add(1).ok_or(WireError::Index(last))?);
        let term = Term(reader.u64()?);
        let payload = match reader.u32()? {
            NOOP => Payload::Noop,
            len => {
                let command = reader.take(to_usize(len))?;
                Payload::Command(packed.slice_ref(command))
            }
        };
        entries.push(Entry { index, term, payload });
        last = index;
    }
    reader.end()?;
    Ok(entries)
}

/// Lengths are compared with the bytes present before they are used, so one that does not fit is as good as
/// one that is too large.
fn to_usize(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// What has not been read yet. Each method takes from its front, or says what is missing.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.truncated(len))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.truncated(N))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn truncated(&self, needed: usize) -> WireError {
        WireError::Truncated {
            needed,
            left: self.rest.len(),
        }
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    fn len(&mut self) -> Result<usize, WireError> {
        self.u32().map(to_usize)
    }

    fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Bool(other)),
        }
    }

    fn log_id(&mut self) -> Result<LogId, WireError> {
        Ok(LogId {
            term: Term(self.u64()?),
            index: LogIndex(self.u64()?),
        })
    }

    fn end(&self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            trailing => Err(WireError::Trailing(trailing)),
        }
    }
}
