//! What replicas of one group say to each other.
//!
//! The types carry the durability rule. A [`Prompt`] may leave at once. A [`Promise`] speaks of what is
//! on the sender's disk, so it leaves the core only inside a [`Persist`](crate::Persist) and may be sent
//! only after that write is durable (paper figure 2, "persistent state": updated
//! before responding; thesis §10.2.1 for why the leader's own appends need not wait).

use crate::entry::Entry;
use crate::ids::{GroupId, Incarnation, LogId, LogIndex, NodeId, Term};
use crate::liveness::SessionId;

/// One message between two replicas of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The group it belongs to.
    pub group: GroupId,
    /// Which life of that group.
    pub incarnation: Incarnation,
    /// The node that hosts the sending replica.
    pub from: NodeId,
    /// The node that hosts the receiving replica.
    pub to: NodeId,
    /// The sender's term, but for [`Prompt::PreVote`] (the term it would campaign in) and the grant of
    /// one ([`Prompt::PreVoteReply`]: that same term back), for [`Prompt::Resigned`] and its answer, and for a heartbeat reply that
    /// nobody asked for (the term that was promised in).
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Says nothing about the sender's disk.
    Prompt(Prompt),
    /// Says what is on the sender's disk.
    Promise(Promise),
}

impl Body {
    /// Whether only a leader of the message's term says this.
    #[must_use]
    pub fn is_from_leader(&self) -> bool {
        matches!(
            self,
            Self::Prompt(Prompt::Append { .. } | Prompt::Heartbeat { .. } | Prompt::Sleep { .. } | Prompt::TimeoutNow)
        )
    }

    /// The session in which an acknowledgement promises something.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Prompt(Prompt::HeartbeatReply { session, .. })
            | Self::Promise(Promise::AppendAccepted { session, .. }) => *session,
            _ => None,
        }
    }
}

/// What may be sent at once, before any write of the step that caused it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Prompt {
    /// "Would you vote for me in that term?" Changes no state at the receiver (thesis §9.6).
    PreVote {
        /// The asker's last entry.
        last: LogId,
    },
    /// The answer to [`Prompt::PreVote`].
    PreVoteReply {
        /// Whether it would vote.
        granted: bool,
    },
    /// A vote refused. (A vote granted is a [`Promise`].)
    VoteRefused,
    /// Entries to append, or none to probe (paper §5.3). Sent before the leader's own write is durable:
    /// the leader counts its own copy only once it is (thesis §10.2.1).
    Append {
        /// The entry right before `entries`.
        prev: LogId,
        /// Consecutive entries from `prev.index + 1` on.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: LogIndex,
    },
    /// `prev` of an append did not match (paper §5.3, fast backtracking).
    AppendRejected {
        /// Index of the `prev` that was refused.
        refused: LogIndex,
        /// The newest entry of the receiver that could match: at or before `refused`, of a term no newer
        /// than the refused one's.
        hint: LogId,
    },
    /// "I lead" (paper §5.2), and a read round to confirm (thesis §6.4).
    Heartbeat {
        /// What the receiver may take as committed: never beyond what it acknowledged.
        commit: LogIndex,
        /// The newest read round that the leader waits for.
        round: ReadRound,
    },
    /// The answer to [`Prompt::Heartbeat`]. Sent without being asked, it is a question: do you still lead?
    HeartbeatReply {
        /// The round of the heartbeat that is answered.
        round: ReadRound,
        /// The priority of the one who answers.
        priority: u8,
        /// The commit index of the one who answers; zero if there is no session.
        commit: LogIndex,
        /// The session in which it promises not to vote for others; `None` if its node grants none.
        session: Option<SessionId>,
    },
    /// "All is said, and I sleep": so may the receiver, if all of this is as it knows it.
    Sleep {
        /// The leader's last entry.
        last: LogId,
        /// The leader's commit index.
        commit: LogIndex,
        /// The session in which the receiver promised.
        session: SessionId,
    },
    /// "I lead no more in the term of this message", which nobody adopts: what was promised to that leader is free.
    Resigned,
    /// The answer to [`Prompt::Resigned`], with its term.
    ResignedAck,
    /// "Campaign at once": the receiver has the leader's whole log (thesis §3.10).
    TimeoutNow,
    /// A follower asks for the read index, for all the reads it has waiting (thesis §6.4).
    ReadIndex {
        /// The follower's name for them.
        request: ReadRequest,
    },
    /// The answer to [`Prompt::ReadIndex`], once a quorum confirmed that the sender led after it was asked.
    ReadIndexIs {
        /// As it was asked.
        request: ReadRequest,
        /// What was committed when it was asked, or later.
        index: LogIndex,
    },
}

/// What may be sent only after the write it travels with is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// "Vote for me": leaves after the candidate's own term and vote are durable, so that it can't campaign
    /// twice in one term across a crash.
    Vote {
        /// The candidate's last entry.
        last: LogId,
        /// The leader told it to campaign, so that nobody has to be protected from it (thesis §4.2.3).
        transfer: bool,
    },
    /// A vote granted (paper §5.2).
    VoteGranted,
    /// "My log equals yours up to here, on disk."
    AppendAccepted {
        /// The last index that is known to match.
        matched: LogIndex,
        /// The session in which the sender promises not to vote for others; `None` if its node grants none.
        session: Option<SessionId>,
    },
}

/// A follower's name for the reads of one [`Prompt::ReadIndex`]: random, so that it is never used twice,
/// across restarts neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadRequest(pub u64);

/// Number of a read round within a leader's term: all reads that a leader took in one step share one, and
/// every round has a number of its own, so that a late answer never confirms a younger read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadRound(pub u64);
