//! What all groups that ran in a turn want done, gathered.

use crate::budget::InboundPermit;
use raftyard_groups::{GroupId, Load, Message, Persist};

/// Filled by the groups of a worker during a turn, emptied by the dispatcher at its end.
#[derive(Default)]
pub(crate) struct TurnOutput {
    /// To be sent at once.
    pub(crate) send: Vec<Message>,
    /// To be written; what waits for it is inside.
    pub(crate) persist: Vec<Persist>,
    /// To be read.
    pub(crate) load: Vec<(GroupId, Load)>,
    /// Groups that want another turn, without anything having come for them.
    pub(crate) again: Vec<GroupId>,
    /// Of the messages this turn took in: given back once what they caused is durable.
    pub(crate) permits: Vec<InboundPermit>,
}

/// What a group is given in a turn.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Turn(pub(crate) Vec<GroupWork>);

/// One thing for one group.
pub(crate) enum GroupWork {
    Message(Message),
    Persisted(raftyard_groups::PersistSeq),
    Loaded(Box<super::Loaded>),
    Propose(super::Proposal),
    Read(super::ReadJob),
    Snapshot(crate::snapshot::SnapshotEvent),
    Transfer(super::Transfer),
    Campaign,
    /// Time has passed, or there is more to do.
    Tick,
    /// Stop for good, for this reason.
    Halt(&'static str),
}
