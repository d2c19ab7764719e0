//! What a step wants done. The core decides; whoever drives it carries out.

use crate::entry::{Entry, HardState};
use crate::ids::{GroupId, LogId, LogIndex, NodeId, Term};
use crate::input::{ProposalId, ReadId, TransferId};
use crate::membership::Membership;
use crate::membership_change::{ChangeId, ChangeOutcome};
use crate::message::Message;
use std::sync::Arc;

/// All that one or more steps want done. The fields may be carried out in any order and independently of
/// each other; what must come after what is inside [`Persist`].
#[derive(Debug, Default)]
pub struct Effects {
    /// To be sent at once. Only the core makes them, only from a [`Prompt`](crate::Prompt).
    pub send: Vec<Message>,
    /// To be written, at most one per drain: what several steps want written is folded into one.
    pub persist: Option<Persist>,
    /// Entries committed, in log order without gaps: to be applied to the state machine. Once done, say
    /// [`Input::Applied`](crate::Input::Applied).
    pub apply: Vec<Entry>,
    /// Entries to be read from the log store.
    pub load: Vec<Load>,
    /// Where proposals went.
    pub proposed: Vec<(ProposalId, Proposed)>,
    /// What became of reads.
    pub reads: Vec<(ReadId, ReadOutcome)>,
    /// What became of leadership transfers.
    pub transfers: Vec<(TransferId, TransferOutcome)>,
    /// What became of requests to change the membership.
    pub memberships: Vec<(ChangeId, ChangeOutcome)>,
    /// Peers that need a snapshot: the entries they lack are compacted. Owed an
    /// [`Input::SnapshotDone`](crate::Input::SnapshotDone) each.
    pub snapshots: Vec<NodeId>,
    /// The snapshot that was received and ends here takes the place of the state machine's state. What is in
    /// [`Effects::apply`] is part of it and must not be applied any more. Once done, say
    /// [`Input::Applied`](crate::Input::Applied). The log is replaced by the [`Persist`] of the same step
    /// ([`LogBase::Installed`]): a crash leaves either the old log, or the new one with the snapshot.
    pub install: Option<LogId>,
}

impl Effects {
    /// Whether nothing is wanted, or all of it was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            send,
            persist,
            apply,
            load,
            proposed,
            reads,
            transfers,
            memberships,
            snapshots,
            install,
        } = self;
        send.is_empty()
            && persist.is_none()
            && apply.is_empty()
            && load.is_empty()
            && proposed.is_empty()
            && reads.is_empty()
            && transfers.is_empty()
            && memberships.is_empty()
            && snapshots.is_empty()
            && install.is_none()
    }
}

/// One write: all of it durable, atomically, before any message in `then` leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// The group whose write it is.
    pub group: GroupId,
    /// To be returned in [`Input::Persisted`](crate::Input::Persisted). Grows by one with every write of a group.
    pub seq: PersistSeq,
    /// The new term and vote, if they changed.
    pub hard_state: Option<HardState>,
    /// What the log begins after from now on, if that changes. Comes before the entries.
    pub base: Option<LogBase>,
    /// The configuration in force at that base, `Some` exactly when there is one: to be kept with it.
    pub membership: Option<Arc<Membership>>,
    /// Consecutive entries. They replace all that the log holds from the first of them on.
    pub entries: Vec<Entry>,
    /// Made only from a [`Promise`]: to be sent once the write is durable, never before.
    pub(crate) then: Vec<Message>,
}

/// What a log begins after from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogBase {
    /// A snapshot holds the entries up to this one, which the log holds: they are dropped, those after it stay.
    Compacted(LogId),
    /// A peer's snapshot was installed, which ends with this entry: the whole log is dropped.
    Installed(LogId),
}

impl LogBase {
    /// The entry that the log begins after.
    #[must_use]
    pub fn id(self) -> LogId {
        match self {
            Self::Compacted(id) | Self::Installed(id) => id,
        }
    }
}

/// Number of a write within a group's life in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersistSeq(pub u64);

/// Proof that a write is durable, with what may leave now.
#[derive(Debug)]
pub struct Durable {
    /// The group whose write it was.
    pub group: GroupId,
    /// To be returned in [`Input::Persisted`](crate::Input::Persisted).
    pub seq: PersistSeq,
    /// To be sent.
    pub send: Vec<Message>,
}

impl Persist {
    /// A write that nothing waits for. The core adds what does.
    #[must_use]
    pub fn new(group: GroupId, seq: PersistSeq, hard_state: Option<HardState>, entries: Vec<Entry>) -> Self {
        Self {
            group,
            seq,
            hard_state,
            base: None,
            membership: None,
            entries,
            then: Vec::new(),
        }
    }

    /// Lets the log begin after `base`, where this configuration is in force: what that drops is not written
    /// either.
    pub(crate) fn rebase(&mut self, base: LogBase, membership: Option<Arc<Membership>>) {
        match base {
            LogBase::Installed(_) => self.entries.clear(),
            LogBase::Compacted(id) => self.entries.retain(|entry| entry.index > id.index),
        }
        self.base = Some(match (self.base, base) {
            (Some(LogBase::Installed(_)), LogBase::Compacted(id)) => LogBase::Installed(id),
            _ => base,
        });
        self.membership = membership;
    }

    /// Adds entries; they replace those of this write from the first of them on.
    pub(crate) fn put(&mut self, entries: Vec<Entry>) {
        if let (Some(first), Some(start)) = (entries.first(), self.entries.first()) {
            let kept = first.index.0.saturating_sub(start.index.0);
            self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        }
        if self.entries.is_empty() {
            self.entries = entries;
        } else {
            self.entries.extend(entries);
        }
    }

    /// Folds a later write of the same group into this one, as if both had been one: the later one's
    /// number, hard state, base and entries win.
    pub fn absorb(&mut self, mut later: Self) {
        debug_assert!(
            self.group == later.group && self.seq < later.seq,
            "writes are folded in their order"
        );
        self.seq = later.seq;
        self.hard_state = later.hard_state.or(self.hard_state);
        if let Some(base) = later.base {
            self.rebase(base, later.membership);
        }
        self.put(later.entries);
        self.then.append(&mut later.then);
    }

    /// Whether there is nothing to write: only messages that wait for earlier writes.
    #[must_use]
    pub fn is_barrier(&self) -> bool {
        self.hard_state.is_none() && self.base.is_none() && self.entries.is_empty()
    }

    /// To be called once the write, and every earlier one of the group, is durable: gives up the messages
    /// that waited for it. There is no other way to get at them.
    #[must_use]
    pub fn into_durable(self) -> Durable {
        Durable {
            group: self.group,
            seq: self.seq,
            send: self.then,
        }
    }
}

/// A range of entries to be read from the log store and returned in [`Input::Loaded`](crate::Input::Loaded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// What they are for; to be returned as it is.
    pub purpose: LoadPurpose,
    /// The first index wanted.
    pub from: LogIndex,
    /// The last index wanted.
    pub through: LogIndex,
    /// Stop before exceeding this many bytes, but return at least one entry.
    pub bytes_max: usize,
}

/// What loaded entries are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPurpose {
    /// To be sent to a peer that is behind what memory holds.
    Peer(NodeId),
    /// To be applied: they are committed, and not in memory any more, or not since a restart.
    Apply,
}

/// Where proposals went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// Appended to the leader's log from `first` on. Not committed yet: it is once an entry with this index
    /// *and this term* is applied; if another term's entry is applied there, it never will be.
    Appended {
        /// Index of the first of them.
        first: LogIndex,
        /// Term they were appended in.
        term: Term,
    },
    /// Not appended: this replica does not lead.
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
}

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// May be answered from any state that has applied at least up to `index` (thesis §6.4).
    Ready {
        /// The read index.
        index: LogIndex,
    },
    /// Not served: this replica does not lead, or stopped leading before it was sure.
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
}

/// What became of a leadership transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferOutcome {
    /// This replica stopped leading after it told `to` to campaign. (Or `to` led already: this replica.)
    HandedOver {
        /// Who was told.
        to: NodeId,
    },
    /// Nothing came of it within an election timeout: this replica leads on.
    TimedOut,
    /// This replica stopped leading before the other one could be told.
    SteppedDown,
    /// It was not tried.
    Refused(TransferRefusal),
}

/// Why a leadership transfer was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferRefusal {
    /// This replica does not lead.
    NotLeader {
        /// Who does, as far as known.
        leader: Option<NodeId>,
    },
    /// The target is no voter of the group, or a witness.
    NotVoter,
    /// Another transfer is under way.
    Busy,
    /// None was named, and this replica does not lead, or heard of no voter lately.
    NoSuccessor,
}
