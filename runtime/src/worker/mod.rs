//! The threads that host the group actors. Each has one dispatcher, which takes what queued for all its
//! groups, lets each run once, and gathers what they want done into one batch for the storage and one per
//! peer for the transport: a **turn**.

mod changes;
mod deadlines;
mod dispatcher;
mod elections;
mod fair;
mod group_actor;
mod group_applies;
mod group_elections;
mod group_quarantine;
mod group_snapshots;
mod log_bytes;
mod patience;
mod proposals;
mod reads;
mod reply;
mod resignations;
mod shared;
mod sleepers;
mod snapshots;
mod ticker;
mod turn;

pub(crate) use dispatcher::{Dispatcher, Stop};
pub(crate) use reply::{Done, Reply};
pub(crate) use shared::Shared;

use crate::budget::{BytePermit, InboundPermit};
use crate::error::{ExportError, ReadError};
use crate::group::Consistency;
use crate::life::Life;
use crate::machine::Machine;
use crate::registry::GroupSlot;
use crate::session::{RequestId, SessionId};
use crate::snapshot::SnapshotEvent;
use raftyard_groups::{
    ChangeOutcome, ChangeRequest, Entry, LoadPurpose, LogId, LogIndex, Message, NodeId, PairEvent, PeerProgress,
    PersistSeq, Recovered, ReplicaConfig, TransferOutcome,
};
use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;
use turn::GroupWork;

/// What a worker can be given.
pub(crate) enum Work {
    /// A replica to host from now on.
    Create(Box<Create>),
    /// A replica to end. What was queued for it before is dropped, and who asked for it told so; when this is
    /// answered, all that it wanted written before is in the storage's inbox, and its state machine is dropped.
    End(Life, oneshot::Sender<()>),
    /// What a peer said to groups of this worker, in its order.
    Messages(Vec<Message>, InboundPermit),
    /// Writes that are durable: the newest of each group.
    Persisted(Vec<(Life, PersistSeq)>),
    /// Entries that were asked for.
    Loaded(Box<Loaded>),
    /// A command for a group.
    Propose(Life, Proposal),
    /// Commands for a group, in this order.
    ProposeMany(Life, Vec<Proposal>),
    /// A read of a group.
    Read(Life, ReadJob),
    /// What happened to a group's snapshots.
    Snapshot(Life, SnapshotEvent),
    /// Another replica of a group shall lead.
    Transfer(Life, Transfer),
    /// Who belongs to a group shall change.
    Change(Life, Change),
    /// How far are the others? Asked of the leader.
    Progress(Life, oneshot::Sender<Vec<PeerProgress>>),
    /// A group's state shall be written to a file.
    Export(Life, Export),
    /// A group has more to apply than fitted into its turn.
    Continue(Life),
    /// A group's log on disk is not what was written: this replica can't go on.
    Unreadable(Life),
    /// Whether the log store finds no room for what is to be written.
    StoreFull(bool),
    /// What changed between this node and others. It is on the board already.
    Pairs(Vec<PairEvent>),
    /// The store failed: nothing here can be made durable any more. Replicas at positions before this one were told.
    StorageFailed(usize),
}

impl Work {
    /// Answers who asked for it that there is nobody any more; what nobody asked for is dropped.
    fn refuse(self) {
        match self {
            Self::Propose(_, proposal) => GroupWork::Propose(proposal).refuse(),
            Self::ProposeMany(_, proposals) => GroupWork::ProposeMany(proposals).refuse(),
            Self::Read(_, job) => GroupWork::Read(job).refuse(),
            Self::Export(_, export) => GroupWork::Export(export).refuse(),
            _ => {}
        }
    }
}

/// A replica to host.
pub(crate) struct Create {
    pub(crate) config: ReplicaConfig,
    pub(crate) recovered: Recovered,
    /// Restored as far as `recovered` says.
    pub(crate) machine: Box<dyn Machine>,
    /// The last entry of the snapshot that it was restored from, or that it has applied on its disk.
    pub(crate) snapshot: Option<LogId>,
    /// It was restored on its disk, and may not be durable there yet.
    pub(crate) unsynced: bool,
    /// The state on disk has applied all up to here already, though the log was damaged and may end before: what comes
    /// of it once more is skipped.
    pub(crate) ahead: LogIndex,
    pub(crate) slot: Arc<GroupSlot>,
    /// Campaign at once instead of waiting for an election timeout.
    pub(crate) campaign: bool,
}

/// Entries read from the log store.
pub(crate) struct Loaded {
    pub(crate) life: Life,
    pub(crate) purpose: LoadPurpose,
    pub(crate) from: LogIndex,
    pub(crate) entries: Vec<Entry>,
}

/// A command, who waits for its response, and the bytes it counts for.
pub(crate) struct Proposal {
    /// With [`ROOM`](crate::machine::ROOM) in front; only that if the purpose needs no command.
    pub(crate) command: Vec<u8>,
    pub(crate) purpose: Purpose,
    pub(crate) reply: Reply,
    pub(crate) permit: BytePermit,
}

/// What a proposal is for.
pub(crate) enum Purpose {
    /// A command, applied as often as it is in the log.
    Plain,
    /// A command, in the replica's own session.
    Own,
    /// A command, under this name.
    Request(RequestId),
    /// Opens a session; answers its id.
    Open,
    Close(SessionId),
    Resolve(RequestId),
}

/// Queries the state machine of a group and answers who asked.
pub(crate) type RunRead = Box<dyn FnOnce(Result<&dyn Any, ReadError>) + Send>;

/// A read: to be called once with the state machine, or with why not.
pub(crate) struct ReadJob {
    pub(crate) consistency: Consistency,
    pub(crate) run: RunRead,
    pub(crate) permit: BytePermit,
}

/// A leadership transfer, and who waits for its outcome.
pub(crate) struct Transfer {
    /// Who shall lead; `None` for the voter that is furthest.
    pub(crate) to: Option<NodeId>,
    pub(crate) reply: oneshot::Sender<TransferOutcome>,
}

/// A change of who belongs to a group, and who waits for its outcome.
pub(crate) struct Change {
    pub(crate) request: ChangeRequest,
    pub(crate) reply: oneshot::Sender<ChangeOutcome>,
}

/// An export, and who waits for it: told the last entry whose effect is in the file.
pub(crate) struct Export {
    pub(crate) path: PathBuf,
    pub(crate) reply: oneshot::Sender<Result<LogId, ExportError>>,
}
