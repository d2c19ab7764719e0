//! What can go wrong for a user, and what that means for the effect that was asked for.

use crate::quarantine::QuarantineReason;
use crate::session::RequestId;
use crate::snapshot::SnapshotError;
use crate::store::StoreError;
use crate::tenancy::OverloadReason;
use crate::transport::TransportError;
use raftyard_groups::{GroupId, Incarnation, LogId, MembershipError, NodeId};
use std::time::Duration;

/// Why a proposal has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// This replica does not lead. **Not applied**: safe to retry, best at the leader.
    #[error("this replica does not lead ({})", leader_text(*.leader))]
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// The node, or this group on it, has as much to do as it may. **Not applied**: retry later.
    #[error("overloaded: {reason}")]
    Overloaded {
        /// Which limit is in the way.
        reason: OverloadReason,
        /// A hint: before that a retry is likely to be refused too.
        retry_after: Duration,
    },
    /// The command, or all that is proposed at once, is larger than is ever taken. **Not applied.**
    #[error("{bytes} bytes to be proposed exceed the limit of {bytes_limit}")]
    TooLarge {
        /// Size of the serialised command, in bytes. With the part of [`Limits::request_bytes_max`](crate::Limits) that one group
        /// may have, or [`GroupLimits::bytes_in_flight_max`](crate::GroupLimits), in the way: what all that was proposed at
        /// once counts for, 256 bytes more for each command.
        bytes: usize,
        /// The limit, in bytes.
        bytes_limit: usize,
    },
    /// The command could not be serialised. **Not applied.**
    #[error("the command can't be serialised: {0}")]
    Unserialisable(String),
    /// Another leader's entry took its place in the log, or its session was gone. **Not applied, and it never will be**: safe
    /// to retry.
    #[error("dropped by a change of leader; it was not applied")]
    Dropped,
    /// The group's replica here is gone, or the node shuts down, and the replica never saw the proposal. **Not applied.**
    #[error("the group is closed on this node")]
    Closed,
    /// This replica stopped for good before it saw the command. **Not applied**: go to another node.
    #[error("this replica is in quarantine: {0}")]
    Quarantined(QuarantineReason),
    /// No answer in time, or the replica stopped while it waited. **It may have been applied, or may yet be.**
    /// [`Group::resolve`](crate::Group::resolve) settles it where it has a name, at whichever node leads.
    #[error("outcome unknown: the command may or may not be applied{}", request_text(*.request))]
    OutcomeUnknown {
        /// Its name; `None` if it has none, because it was proposed plainly, or because the replica ended before
        /// it gave it one.
        request: Option<RequestId>,
    },
    /// The group does not know the session: it expired, was closed, or never was. **This attempt was not
    /// applied; whether an earlier one of the same request was, nobody knows any more.**
    #[error("the session has expired")]
    SessionExpired,
    /// The client said that it does not wait for this request any more, and it is forgotten. **This attempt was
    /// not applied; whether an earlier one was, nobody knows any more.**
    #[error("the request is forgotten: its client does not wait for it any more")]
    RequestForgotten,
    /// The session remembers as many answers as it may, because its client waits for that many. **This attempt
    /// was not applied**, nor is an earlier one known to be.
    #[error("the session remembers as many answers as it may")]
    SessionFull,
    /// Somebody resolved the request, as not applied. **Not applied, and it never will be.**
    #[error("the request was resolved as not applied")]
    Fenced,
    /// It was **applied**, but its response can't be serialised, or not decoded: then the types of proposer and
    /// state machine differ.
    #[error("applied, but its response can't be decoded: {0}")]
    UndecodableResponse(String),
}

impl ProposeError {
    /// Whether the command may have been applied, or may yet be. If false, it never will be. About a request
    /// that was asked before, a refusal says so of this attempt only: except for [`Fenced`](Self::Fenced), an
    /// earlier one may still be applied. Ask again under the same name, or resolve it.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::OutcomeUnknown { .. }
            | Self::UndecodableResponse(_)
            | Self::SessionExpired
            | Self::RequestForgotten => true,
            Self::NotLeader { .. }
            | Self::Overloaded { .. }
            | Self::TooLarge { .. }
            | Self::Unserialisable(_)
            | Self::Dropped
            | Self::Closed
            | Self::Quarantined(_)
            | Self::SessionFull
            | Self::Fenced => false,
        }
    }
}

/// Why a read has no answer. A read changes nothing, so that it is always safe to retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// This replica does not lead, or could not prove that it still does.
    #[error("this replica does not lead ({})", leader_text(*.leader))]
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// The node, or this group on it, has as many requests waiting as it may.
    #[error("overloaded: {reason}")]
    Overloaded {
        /// Which limit is in the way.
        reason: OverloadReason,
        /// A hint: before that a retry is likely to be refused too.
        retry_after: Duration,
    },
    /// No answer in time, or the replica stopped while the read waited.
    #[error("no answer in time")]
    TimedOut,
    /// The group's replica here is gone, or the node shuts down.
    #[error("the group is closed on this node")]
    Closed,
    /// This replica stopped for good: go to another node.
    #[error("this replica is in quarantine: {0}")]
    Quarantined(QuarantineReason),
    /// The state machine panicked at this query. It lives on.
    #[error("the state machine panicked at the query")]
    Panicked,
    /// The state machine's disk failed at this query. Asked again, it may not; a replica that can't write either
    /// stops.
    #[error("the state machine's disk failed: {0}")]
    Failed(String),
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// This replica does not lead, or stopped leading before the other one could be told.
    #[error("this replica does not lead ({})", leader_text(*.leader))]
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// The target is no voter of the group, or a witness.
    #[error("{0} is no voter of the group that may lead")]
    NotVoter(NodeId),
    /// Another transfer is under way.
    #[error("another transfer is under way")]
    Busy,
    /// The target did not take over within an election timeout; this replica leads on. The target may yet
    /// campaign.
    #[error("the target did not take over in time")]
    TimedOut,
    /// The group's replica here is gone, or the node shuts down.
    #[error("the group is closed on this node")]
    Closed,
    /// This replica stopped for good, and leads nobody.
    #[error("this replica is in quarantine: {0}")]
    Quarantined(QuarantineReason),
}

/// Why a change of a group's membership was not made, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// This replica does not lead. **Not tried.**
    #[error("this replica does not lead ({})", leader_text(*.leader))]
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// This leader has committed nothing in its term yet. **Not tried**: soon it has.
    #[error("the leader has committed nothing in its term yet")]
    NotReady,
    /// Another change is under way. **Not tried.**
    #[error("another change of the membership is under way")]
    Busy,
    /// Leadership is on its way to another replica. **Not tried.**
    #[error("leadership is on its way to another replica")]
    Transferring,
    /// There is no change to abandon: none is under way, or it is too late.
    #[error("no change that could be abandoned is under way")]
    NotPreparing,
    /// The membership that was asked for can't be. **Not tried.**
    #[error(transparent)]
    Invalid(#[from] MembershipError),
    /// The node to come in is no peer of this node, which could never reach it if it leads. **Not tried.**
    #[error("{0} is no peer of this node")]
    UnknownPeer(NodeId),
    /// Somebody had it given up while its nodes caught up. **Not made, and it never will be.**
    #[error("the change was abandoned")]
    Abandoned,
    /// This replica stopped leading before it was made. **It may yet be made**: if it is in the log of the next
    /// leader, that one goes on with it.
    #[error("leadership changed; the next leader may go on with the change ({})", leader_text(*.leader))]
    SteppedDown {
        /// Who leads now, as far as known.
        leader: Option<NodeId>,
    },
    /// The replica ended while it waited. **It may yet be made.**
    #[error("outcome unknown: the change may or may not be made")]
    OutcomeUnknown,
    /// This replica stopped for good. **If it was leading, the change may yet be made.**
    #[error("this replica is in quarantine: {0}")]
    Quarantined(QuarantineReason),
    /// The group's replica here is gone, or the node shuts down. **Not tried.**
    #[error("the group is closed on this node")]
    Closed,
}

impl ChangeError {
    /// Whether the change may yet be made. If false, it was not and never will be.
    #[must_use]
    pub fn may_yet_happen(&self) -> bool {
        matches!(
            self,
            Self::SteppedDown { .. } | Self::OutcomeUnknown | Self::Quarantined(_)
        )
    }
}

/// The group's replica is gone, or the node shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group is closed on this node")]
pub struct ProgressError;

/// Why a peer was not noted, or not forgotten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// A node is no peer of itself.
    #[error("{0} is this node itself")]
    Myself(NodeId),
    /// Not an address: empty, or with control characters.
    #[error("{0:?} is no address")]
    Address(String),
    /// The peer can't be written down, so nothing was changed for this run either. Whether it is on disk is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node shuts down.
    #[error("the node shuts down")]
    Closed,
}

/// Why there is no leader to wait for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaderError {
    /// The group's replica here is gone, or the node shuts down.
    #[error("the group is closed on this node")]
    Closed,
    /// This replica stopped for good, and hears nobody any more.
    #[error("this replica is in quarantine: {0}")]
    Quarantined(QuarantineReason),
    /// No leader is known, and another node was heard of in a newer incarnation of the group: who is there does
    /// not answer this replica. Destroy it, and create it as that one.
    #[error("the group goes on without this replica, as {newer}")]
    Outdated {
        /// The newest that was heard of.
        newer: Incarnation,
    },
}

/// Why a group was not destroyed on this node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestroyGroupError {
    /// This node knows nothing of it.
    #[error("{0} is not on this node")]
    Unknown(GroupId),
    /// It is being created, destroyed or rebuilt.
    #[error("{0} is being created or destroyed")]
    Busy(GroupId),
    /// The store failed. Whether the group is gone is unknown, and it does not run any more. If the disk has no room
    /// ([`StoreError::Full`]), the group is there, and can be created again if it does not run.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node shuts down. Whether the group is gone is unknown; to destroy it again is safe.
    #[error("the node shuts down")]
    Closed,
}

/// Why a group was not rebuilt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildGroupError {
    /// This node holds nothing of it.
    #[error("{0} is not on this node")]
    Unknown(GroupId),
    /// It is being created, destroyed or rebuilt.
    #[error("{0} is being created or destroyed")]
    Busy(GroupId),
    /// The replica is a witness's: it has no state that the group could go on with. Nothing was changed.
    #[error("{0} has a witness on this node, which holds no state")]
    Witness(GroupId),
    /// The disk lost what the replica was: nothing of it is certain that the group could go on with. Nothing was changed.
    #[error("{0} is lost on this node: nothing is left that it could go on with")]
    Lost(GroupId),
    /// The replica lacks what it may have acknowledged, and does not run, so that nobody knows how far its state is.
    /// Nothing was changed: create it first.
    #[error("{0} is damaged on this node, and does not run: how far its state is is not known")]
    NotRunning(GroupId),
    /// The replica's state holds more than what is left of its log, which the group would go on from: that would be thrown
    /// away. Nothing was changed.
    #[error("{group} has a state on this node that is at entry {state}, but its log ends with {last}")]
    StateAhead {
        /// The group.
        group: GroupId,
        /// The index of the last entry that is in the state.
        state: u64,
        /// The log's last entry.
        last: LogId,
    },
    /// The state that the log goes on from is not there. Nothing was changed, but the replica does not run any
    /// more.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store failed, or refused. The replica may not run any more; whether it was rebuilt is unknown,
    /// unless the store says that nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new membership can't be.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The node shuts down. Whether it was rebuilt is unknown.
    #[error("the node shuts down")]
    Closed,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The group's replica here is gone, or the node shuts down.
    #[error("the group is closed on this node")]
    Closed,
    /// This replica stopped for good.
    #[error("this replica is in quarantine: {0}")]
    Quarantined(QuarantineReason),
    /// A leader's snapshot is taking the place of its state, or its damaged log has yet to get what its state on disk has
    /// applied: try again, or at another replica.
    #[error("the state is being replaced by a snapshot, or its log repaired")]
    Restoring,
    /// The file can't be written, or the state can't be serialised. A file that was there before is as
    /// it was, or the new one, complete, stands in its place and may not be durable.
    #[error(transparent)]
    Failed(#[from] SnapshotError),
}

/// Why a node could not be opened. Nothing runs then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store refused: the data directory can't be used, is another node's, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peer address can't be listened on.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(String),
    /// The builder was told something that can't be.
    #[error("{0}")]
    Config(String),
}

/// Why a group could not be created or opened on this node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateGroupError {
    /// It runs here already, or is being created, destroyed or rebuilt; of an import: it is on this node's disk.
    #[error("{0} runs on this node already")]
    Exists(GroupId),
    /// This node is not one of its members.
    #[error("{node} is not a member of {group}")]
    NotMember {
        /// This node.
        node: NodeId,
        /// The group.
        group: GroupId,
    },
    /// A member is no peer of this node, so that it could never be reached.
    #[error("{member} is a member of {group} but no peer of this node")]
    UnknownPeer {
        /// The member.
        member: NodeId,
        /// The group.
        group: GroupId,
    },
    /// The disk holds the group with other members.
    #[error("{group} was created with {found}, not with {wanted}")]
    OtherMembers {
        /// The group.
        group: GroupId,
        /// What the disk says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The disk holds another incarnation of the group than the one that was asked for.
    #[error("{group} is there as {found}, not as {wanted}")]
    OtherIncarnation {
        /// The group.
        group: GroupId,
        /// The one on disk.
        found: Incarnation,
        /// What was asked for.
        wanted: Incarnation,
    },
    /// The incarnation that was asked for, or a later one, was destroyed on this node: it does not come back.
    #[error("{wanted} of {group} is over, the next one here is {next}")]
    OldIncarnation {
        /// The group.
        group: GroupId,
        /// What was asked for.
        wanted: Incarnation,
        /// The earliest that can be created.
        next: Incarnation,
    },
    /// The disk holds a witness of the group where another replica was asked for, or the other way round: one never
    /// becomes the other. Or the options name this node as a witness and the call does not, or the other way round.
    #[error("the replica of {0} on this node is, or is not, a witness")]
    OtherKind(GroupId),
    /// The members can't form a group.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The store failed; whether the group is noted there is unknown, and creating it again is safe.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state that the log goes on from is not there: this replica would serve less than it acknowledged.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A state machine on disk can't be gone on with.
    #[error(transparent)]
    DiskState(#[from] DiskStateError),
    /// The node shuts down.
    #[error("the node shuts down")]
    Closed,
}

/// Why the state that a [`DiskStateMachine`](crate::DiskStateMachine) has on its disk can't be gone on with. The
/// log was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskStateError {
    /// Its disk refused, when it was opened, or took over a snapshot.
    #[error("the state of {group}: {source}")]
    Io {
        /// The group.
        group: GroupId,
        /// What the state machine said.
        source: std::io::Error,
    },
    /// Its records are not what was committed.
    #[error("the state of {group}: {what}")]
    Damaged {
        /// The group.
        group: GroupId,
        /// What is wrong with them.
        what: String,
    },
    /// It is another group's, or of another life of this one.
    #[error("the state of {group}, incarnation {incarnation}, is that of {found}, incarnation {found_incarnation}")]
    NotOurs {
        /// The group.
        group: GroupId,
        /// Its incarnation.
        incarnation: u64,
        /// Whose state it is.
        found: GroupId,
        /// Of which incarnation.
        found_incarnation: u64,
    },
    /// It applied an entry that this log does not hold. A state never gets ahead of its log: that one lost
    /// entries it acknowledged, or is another's.
    #[error("the state of {group} applied {applied}, which its log, from {base} to {last}, does not hold")]
    NotInLog {
        /// The group.
        group: GroupId,
        /// The last entry it applied.
        applied: LogId,
        /// What the log begins after.
        base: LogId,
        /// The last index of the log.
        last: u64,
    },
}

fn request_text(request: Option<RequestId>) -> String {
    request.map_or_else(String::new, |request| format!(" (request {request})"))
}

fn leader_text(leader: Option<NodeId>) -> String {
    leader.map_or_else(|| "no leader is known".to_owned(), |leader| format!("{leader} does"))
}
