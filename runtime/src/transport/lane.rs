//! What must not wait for what.

use raftyard_groups::{Body, Message, Promise, Prompt};
use serde::{Deserialize, Serialize};

/// Each lane to a peer has its own outbox and connection, so that bulk data never delays a heartbeat.
/// Order is kept within a lane only; Raft needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Lane {
    /// Small and urgent: heartbeats, votes, resignations, read indexes and their answers.
    Heartbeat,
    /// Appends and their answers.
    Data,
    /// Snapshots, which are no messages: only while there is one to send.
    Snapshot,
}

impl Lane {
    /// Those that messages travel on.
    pub(crate) const ALL: [Self; 2] = [Self::Heartbeat, Self::Data];

    /// The lane that `message` travels on.
    pub(crate) fn of(message: &Message) -> Self {
        match &message.body {
            Body::Prompt(
                Prompt::PreVote { .. }
                | Prompt::PreVoteReply { .. }
                | Prompt::VoteRefused
                | Prompt::Heartbeat { .. }
                | Prompt::HeartbeatReply { .. }
                | Prompt::Sleep { .. }
                | Prompt::Resigned
                | Prompt::ResignedAck
                | Prompt::TimeoutNow
                | Prompt::ReadIndex { .. }
                | Prompt::ReadIndexIs { .. },
            )
            | Body::Promise(Promise::Vote { .. } | Promise::VoteGranted) => Self::Heartbeat,
            Body::Prompt(Prompt::Append { .. } | Prompt::AppendRejected { .. })
            | Body::Promise(Promise::AppendAccepted { .. }) => Self::Data,
        }
    }
}
