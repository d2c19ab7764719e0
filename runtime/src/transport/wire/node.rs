//! What nodes say to each other as nodes, in the same frames as what their groups say.

use super::decode::Reader;
use super::{PREFIX_BYTES, VERSION, WireError, tag};
use bytes::{BufMut, BytesMut};
use raftyard_groups::{Grant, NodeId, NodeIncarnation, NodeMessage, ReplyId, SessionId};

/// A message between two nodes, with its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeParcel {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: NodeMessage,
}

/// Version, tag and the two ids.
const HEADER_BYTES: usize = 2 + 2 * 8;
const INCARNATION_BYTES: usize = 16;
const REPLY_ID_BYTES: usize = INCARNATION_BYTES + 8;
const GRANT_BYTES: usize = INCARNATION_BYTES + 8 + 8;

/// Bytes that [`encode_node`] writes for `message`, its length prefix included.
pub(crate) fn encoded_node_len(message: &NodeMessage) -> usize {
    let body = match message {
        NodeMessage::Heartbeat { newest_reply, .. } => {
            INCARNATION_BYTES + 8 + 1 + newest_reply.map_or(0, |_| REPLY_ID_BYTES)
        }
        NodeMessage::Reply { granted, .. } => {
            INCARNATION_BYTES + 8 + REPLY_ID_BYTES + 1 + granted.map_or(0, |_| GRANT_BYTES)
        }
    };
    PREFIX_BYTES + HEADER_BYTES + body
}

/// Appends a message, with its length prefix, to `buf`.
///
/// # Errors
///
/// [`WireError::TooLarge`] if its length does not fit the prefix, which can't be.
pub(crate) fn encode_node(parcel: &NodeParcel, buf: &mut BytesMut) -> Result<(), WireError> {
    let NodeParcel { from, to, message } = parcel;
    let len = encoded_node_len(message);
    let prefix = u32::try_from(len - PREFIX_BYTES).map_err(|_| WireError::TooLarge {
        bytes: len,
        bytes_max: PREFIX_BYTES,
    })?;
    buf.reserve(len);
    buf.put_u32_le(prefix);
    buf.put_u8(VERSION);
    buf.put_u8(match message {
        NodeMessage::Heartbeat { .. } => tag::NODE_HEARTBEAT,
        NodeMessage::Reply { .. } => tag::NODE_REPLY,
    });
    buf.put_u64_le(from.0);
    buf.put_u64_le(to.0);
    match message {
        NodeMessage::Heartbeat {
            incarnation,
            seq,
            newest_reply,
        } => {
            put_incarnation(*incarnation, buf);
            buf.put_u64_le(*seq);
            buf.put_u8(u8::from(newest_reply.is_some()));
            if let Some(reply) = newest_reply {
                put_reply_id(*reply, buf);
            }
        }
        NodeMessage::Reply { to, seq, id, granted } => {
            put_incarnation(*to, buf);
            buf.put_u64_le(*seq);
            put_reply_id(*id, buf);
            buf.put_u8(u8::from(granted.is_some()));
            if let Some(Grant { session, promise_ms }) = granted {
                put_incarnation(session.granter, buf);
                buf.put_u64_le(session.counter);
                buf.put_u64_le(*promise_ms);
            }
        }
    }
    Ok(())
}

fn put_incarnation(incarnation: NodeIncarnation, buf: &mut BytesMut) {
    buf.put_u64_le(incarnation.boot);
    buf.put_u64_le(incarnation.random);
}

fn put_reply_id(reply: ReplyId, buf: &mut BytesMut) {
    put_incarnation(reply.incarnation, buf);
    buf.put_u64_le(reply.number);
}

/// The message in these bytes, if it is one between nodes; none if it is one of a group, or none at all.
///
/// # Errors
///
/// A [`WireError`] if it is one between nodes, and damaged.
pub(super) fn decode_node(message: &[u8]) -> Result<Option<NodeParcel>, WireError> {
    let (is_heartbeat, rest) = match message {
        [VERSION, tag::NODE_HEARTBEAT, rest @ ..] => (true, rest),
        [VERSION, tag::NODE_REPLY, rest @ ..] => (false, rest),
        _ => return Ok(None),
    };
    let mut reader = Reader { rest };
    let (from, to) = (NodeId(reader.u64()?), NodeId(reader.u64()?));
    let incarnation = incarnation(&mut reader)?;
    let seq = reader.u64()?;
    let message = if is_heartbeat {
        NodeMessage::Heartbeat {
            incarnation,
            seq,
            newest_reply: match reader.bool()? {
                true => Some(reply_id(&mut reader)?),
                false => None,
            },
        }
    } else {
        NodeMessage::Reply {
            to: incarnation,
            seq,
            id: reply_id(&mut reader)?,
            granted: match reader.bool()? {
                true => Some(grant(&mut reader)?),
                false => None,
            },
        }
    };
    reader.end()?;
    Ok(Some(NodeParcel { from, to, message }))
}

fn incarnation(reader: &mut Reader<'_>) -> Result<NodeIncarnation, WireError> {
    Ok(NodeIncarnation {
        boot: reader.u64()?,
        random: reader.u64()?,
    })
}

fn reply_id(reader: &mut Reader<'_>) -> Result<ReplyId, WireError> {
    Ok(ReplyId {
        incarnation: incarnation(reader)?,
        number: reader.u64()?,
    })
}

fn grant(reader: &mut Reader<'_>) -> Result<Grant, WireError> {
    Ok(Grant {
        session: SessionId {
            granter: incarnation(reader)?,
            counter: reader.u64()?,
        },
        promise_ms: reader.u64()?,
    })
}
