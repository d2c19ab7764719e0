//! From bytes to messages.

use super::node::{NodeParcel, decode_node};
use super::{ENTRY_BYTES, MEMBERSHIP, NOOP, VERSION, WireError, tag};
use crate::membership;
use bytes::Bytes;
use raftyard_groups::{
    Body, Entry, GroupId, Incarnation, LogId, LogIndex, Message, NodeId, NodeIncarnation, Payload, Promise, Prompt,
    ReadRequest, ReadRound, SessionId, Term,
};
use std::sync::Arc;

/// What a frame's payload holds: each kind in its order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// From groups to groups.
    pub(crate) messages: Vec<Message>,
    /// From node to node.
    pub(crate) between_nodes: Vec<NodeParcel>,
}

/// All messages of a frame's payload.
///
/// Commands are slices, never copies of their own: of the payload itself where the message makes up at least
/// half of it, else of one copy of that message's entries. So an entry that stays in a cache never keeps
/// much more than its own message in memory, whatever else was in the frame.
///
/// # Errors
///
/// A [`WireError`] if any of it is not a message. Memory used is proportional to the bytes present, never to
/// what a count declares.
pub(crate) fn decode(payload: &Bytes) -> Result<Decoded, WireError> {
    let mut decoded = Decoded::default();
    let mut reader = Reader { rest: payload };
    while !reader.rest.is_empty() {
        let len = reader.len()?;
        let message = reader.take(len)?;
        match decode_node(message)? {
            Some(parcel) => decoded.between_nodes.push(parcel),
            None => decoded.messages.push(decode_message(message, payload)?),
        }
    }
    Ok(decoded)
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
            priority: reader.u8()?,
            commit: LogIndex(reader.u64()?),
            session: reader.perhaps_session()?,
        }),
        tag::SLEEP => Body::Prompt(Prompt::Sleep {
            last: reader.log_id()?,
            commit: LogIndex(reader.u64()?),
            session: reader.session()?,
        }),
        tag::RESIGNED => Body::Prompt(Prompt::Resigned),
        tag::RESIGNED_ACK => Body::Prompt(Prompt::ResignedAck),
        tag::TIMEOUT_NOW => Body::Prompt(Prompt::TimeoutNow),
        tag::READ_INDEX => Body::Prompt(Prompt::ReadIndex {
            request: ReadRequest(reader.u64()?),
        }),
        tag::READ_INDEX_IS => Body::Prompt(Prompt::ReadIndexIs {
            request: ReadRequest(reader.u64()?),
            index: LogIndex(reader.u64()?),
        }),
        tag::VOTE => Body::Promise(Promise::Vote {
            last: reader.log_id()?,
            transfer: reader.bool()?,
        }),
        tag::VOTE_GRANTED => Body::Promise(Promise::VoteGranted),
        tag::APPEND_ACCEPTED => Body::Promise(Promise::AppendAccepted {
            matched: LogIndex(reader.u64()?),
            session: reader.perhaps_session()?,
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
            MEMBERSHIP => {
                let taken = membership::take(reader.rest).map_err(|reason| WireError::Membership { index, reason });
                let (membership, rest) = taken?;
                reader.rest = rest;
                Payload::Membership(Arc::new(membership))
            }
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
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
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

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    fn len(&mut self) -> Result<usize, WireError> {
        self.u32().map(to_usize)
    }

    pub(super) fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Bool(other)),
        }
    }

    fn session(&mut self) -> Result<SessionId, WireError> {
        Ok(SessionId {
            granter: NodeIncarnation {
                boot: self.u64()?,
                random: self.u64()?,
            },
            counter: self.u64()?,
        })
    }

    fn perhaps_session(&mut self) -> Result<Option<SessionId>, WireError> {
        self.bool()?.then(|| self.session()).transpose()
    }

    fn log_id(&mut self) -> Result<LogId, WireError> {
        Ok(LogId {
            term: Term(self.u64()?),
            index: LogIndex(self.u64()?),
        })
    }

    pub(super) fn end(&self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            trailing => Err(WireError::Trailing(trailing)),
        }
    }
}
