//! From messages to bytes.

use super::{
    APPEND_BYTES, ENTRY_BYTES, HEADER_BYTES, LOG_ID_BYTES, MEMBERSHIP, NOOP, PREFIX_BYTES, SESSION_BYTES, VERSION,
    WireError, tag,
};
use crate::membership;
use bytes::{BufMut, BytesMut};
use raftyard_groups::{Body, Entry, LogId, Message, Payload, Promise, Prompt, SessionId};

/// Bytes that [`encode`] writes for `message`, its length prefix included.
pub(crate) fn encoded_len(message: &Message) -> usize {
    let body = match &message.body {
        Body::Prompt(prompt) => match prompt {
            Prompt::PreVote { .. } => LOG_ID_BYTES,
            Prompt::PreVoteReply { .. } => 1,
            Prompt::VoteRefused | Prompt::TimeoutNow | Prompt::Resigned | Prompt::ResignedAck => 0,
            Prompt::Append { entries, .. } => APPEND_BYTES + entries.iter().map(entry_len).sum::<usize>(),
            Prompt::AppendRejected { .. } => 8 + LOG_ID_BYTES,
            Prompt::Heartbeat { .. } => 16,
            Prompt::HeartbeatReply { session, .. } => 17 + perhaps_len(*session),
            Prompt::Sleep { .. } => LOG_ID_BYTES + 8 + SESSION_BYTES,
            Prompt::ReadIndex { .. } => 8,
            Prompt::ReadIndexIs { .. } => 16,
        },
        Body::Promise(promise) => match promise {
            Promise::Vote { .. } => LOG_ID_BYTES + 1,
            Promise::VoteGranted => 0,
            Promise::AppendAccepted { session, .. } => 8 + perhaps_len(*session),
        },
    };
    PREFIX_BYTES + HEADER_BYTES + body
}

/// Bytes of a session that may be missing.
fn perhaps_len(session: Option<SessionId>) -> usize {
    1 + session.map_or(0, |_| SESSION_BYTES)
}

fn entry_len(entry: &Entry) -> usize {
    ENTRY_BYTES
        + match &entry.payload {
            Payload::Noop => 0,
            Payload::Command(command) => command.len(),
            Payload::Membership(membership) => membership::encode(membership).len(),
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
    // Every length and count inside is smaller than this one, but the largest values mean something else.
    let prefix = u32::try_from(len - PREFIX_BYTES).map_err(|_| too_large)?;
    if prefix >= MEMBERSHIP {
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
            Prompt::VoteRefused | Prompt::TimeoutNow | Prompt::Resigned | Prompt::ResignedAck => {}
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
                        Payload::Membership(membership) => {
                            buf.put_u32_le(MEMBERSHIP);
                            buf.put_slice(&membership::encode(membership));
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
            Prompt::HeartbeatReply {
                round,
                priority,
                commit,
                session,
            } => {
                buf.put_u64_le(round.0);
                buf.put_u8(*priority);
                buf.put_u64_le(commit.0);
                put_perhaps(*session, buf);
            }
            Prompt::Sleep { last, commit, session } => {
                put_log_id(*last, buf);
                buf.put_u64_le(commit.0);
                put_session(*session, buf);
            }
            Prompt::ReadIndex { request } => buf.put_u64_le(request.0),
            Prompt::ReadIndexIs { request, index } => {
                buf.put_u64_le(request.0);
                buf.put_u64_le(index.0);
            }
        },
        Body::Promise(promise) => match promise {
            Promise::Vote { last, transfer } => {
                put_log_id(*last, buf);
                buf.put_u8(u8::from(*transfer));
            }
            Promise::VoteGranted => {}
            Promise::AppendAccepted { matched, session } => {
                buf.put_u64_le(matched.0);
                put_perhaps(*session, buf);
            }
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
            Prompt::Sleep { .. } => tag::SLEEP,
            Prompt::Resigned => tag::RESIGNED,
            Prompt::ResignedAck => tag::RESIGNED_ACK,
            Prompt::TimeoutNow => tag::TIMEOUT_NOW,
            Prompt::ReadIndex { .. } => tag::READ_INDEX,
            Prompt::ReadIndexIs { .. } => tag::READ_INDEX_IS,
        },
        Body::Promise(promise) => match promise {
            Promise::Vote { .. } => tag::VOTE,
            Promise::VoteGranted => tag::VOTE_GRANTED,
            Promise::AppendAccepted { .. } => tag::APPEND_ACCEPTED,
        },
    }
}

fn put_perhaps(session: Option<SessionId>, buf: &mut BytesMut) {
    buf.put_u8(u8::from(session.is_some()));
    if let Some(session) = session {
        put_session(session, buf);
    }
}

fn put_session(session: SessionId, buf: &mut BytesMut) {
    buf.put_u64_le(session.granter.boot);
    buf.put_u64_le(session.granter.random);
    buf.put_u64_le(session.counter);
}

fn put_log_id(id: LogId, buf: &mut BytesMut) {
    buf.put_u64_le(id.term.0);
    buf.put_u64_le(id.index.0);
}
