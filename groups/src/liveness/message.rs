//! What nodes say to each other of their lives. Nothing of it is on any disk.

use super::ids::{NodeIncarnation, SessionId};
use std::fmt;

/// One message between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeMessage {
    /// "I live. Support me."
    Heartbeat {
        /// The sender's life.
        incarnation: NodeIncarnation,
        /// Numbers the heartbeats of that life, whomever they go to.
        seq: u64,
        /// The newest reply that this life of the sender got from the receiver: proof that the receiver's messages
        /// arrive.
        newest_reply: Option<ReplyId>,
    },
    /// The answer to a heartbeat.
    Reply {
        /// The life that the heartbeat came from.
        to: NodeIncarnation,
        /// The heartbeat's number.
        seq: u64,
        /// Names this reply, to be returned in heartbeats.
        id: ReplyId,
        /// Given only if the heartbeat opened or extended a session.
        granted: Option<Grant>,
    },
}

/// Names one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyId {
    /// The life of the node that sent it.
    pub incarnation: NodeIncarnation,
    /// Numbers the replies of that life, whomever they go to.
    pub number: u64,
}

/// What a node promises: the session lives for so long from when the heartbeat that is answered arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// The session.
    pub session: SessionId,
    /// Milliseconds of the granting node's clock.
    pub promise_ms: u64,
}

/// `heartbeat b1#4 proof=b2#3`, `reply to b1#4 b2#5 grants b2.1 for 600`.
impl fmt::Display for NodeMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heartbeat {
                incarnation,
                seq,
                newest_reply,
            } => {
                write!(f, "heartbeat {incarnation}#{seq}")?;
                match newest_reply {
                    Some(reply) => write!(f, " proof={}#{}", reply.incarnation, reply.number),
                    None => Ok(()),
                }
            }
            Self::Reply { to, seq, id, granted } => {
                write!(f, "reply to {to}#{seq} {}#{}", id.incarnation, id.number)?;
                match granted {
                    Some(grant) => write!(f, " grants {} for {}", grant.session, grant.promise_ms),
                    None => Ok(()),
                }
            }
        }
    }
}
