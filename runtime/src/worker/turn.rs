//! What all groups that ran in a turn want done, gathered.

use crate::budget::InboundPermit;
use crate::error::{ExportError, ProposeError, ReadError};
use crate::life::Life;
use crate::quarantine::QuarantineReason;
use raftyard_groups::{Incarnation, Load, Message, Persist};

/// Filled by the groups of a worker during a turn, emptied by the dispatcher at its end.
#[derive(Default)]
pub(crate) struct TurnOutput {
    /// To be sent at once.
    pub(crate) send: Vec<Message>,
    /// To be written; what waits for it is inside.
    pub(crate) persist: Vec<(Incarnation, Persist)>,
    /// To be read.
    pub(crate) load: Vec<(Life, Load)>,
    /// Groups that want another turn, without anything having come for them.
    pub(crate) again: Vec<Life>,
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
    ProposeMany(Vec<super::Proposal>),
    Read(super::ReadJob),
    Snapshot(crate::snapshot::SnapshotEvent),
    Transfer(super::Transfer),
    Change(super::Change),
    Progress(tokio::sync::oneshot::Sender<Vec<raftyard_groups::PeerProgress>>),
    Export(super::Export),
    /// Campaign soon: it shall lead from the start.
    Campaign,
    /// It stood in line to campaign, and may now; if it is in the line of the hopeful, only if it is.
    Elect {
        is_hopeful: bool,
    },
    /// Time has passed, or there is more to do.
    Tick,
    /// Stop for good, for this reason.
    Quarantine(QuarantineReason),
}

impl GroupWork {
    /// Whether a client asked for it, so that it may wait.
    pub(crate) fn is_request(&self) -> bool {
        matches!(self, Self::Propose(_) | Self::ProposeMany(_) | Self::Read(_))
    }

    /// Bytes that a request counts for; none for anything else.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Propose(proposal) => proposal.permit.bytes(),
            Self::ProposeMany(proposals) => proposals.iter().map(|proposal| proposal.permit.bytes()).sum(),
            Self::Read(job) => job.permit.bytes(),
            _ => 0,
        }
    }

    /// Its replica is gone before it saw this: whoever waits is told.
    pub(crate) fn refuse(self) {
        // Who gave up waiting has dropped the other end.
        match self {
            Self::Propose(proposal) => super::proposals::refuse([proposal], &ProposeError::Closed),
            Self::ProposeMany(proposals) => super::proposals::refuse(proposals, &ProposeError::Closed),
            Self::Read(job) => super::reads::refuse([job], &ReadError::Closed),
            Self::Export(export) => drop(export.reply.send(Err(ExportError::Closed))),
            // A transfer's other end is dropped with it, which says the same.
            _ => {}
        }
    }
}
