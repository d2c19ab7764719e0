//! What a replica is told about itself when it starts.

use crate::entry::HardState;
use crate::ids::{GroupId, Incarnation, LogId, LogIndex, NodeId, Term};
use crate::membership::Membership;
use crate::promise::PromiseRecord;
use std::sync::Arc;

/// Which replica this is, and of whom the group consists.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The group.
    pub group: GroupId,
    /// Which life of the group.
    pub incarnation: Incarnation,
    /// The node this replica lives on.
    pub node: NodeId,
    /// What the group was created with: in force if [`Recovered::memberships`] names none. Of nobody if this
    /// replica waits to be added.
    pub membership: Arc<Membership>,
    /// Times and limits: shared by the replicas that have the same.
    pub tuning: Arc<Tuning>,
    /// Seeds the randomised election timeouts and the names of read requests. Replicas of a group need
    /// different seeds, and each a new one whenever it starts.
    pub seed: u64,
    /// Those of a higher priority campaign earlier when a leader is lost, and get the leadership handed over by
    /// one of a lower. 0 is the usual one.
    pub priority: u8,
}

/// Times and limits. The defaults suit a local network and disks that sync in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// A follower that hears nothing for this long, and up to twice as long at random, campaigns
    /// (paper §5.2); a leader that hears no quorum for this long steps down. Milliseconds.
    pub election_timeout_ms: u64,
    /// A leader says so this often. Milliseconds; well below the election timeout.
    pub heartbeat_interval_ms: u64,
    /// An append message closes once its entries reach this many bytes.
    pub message_bytes_max: usize,
    /// Append messages on their way to one peer, at most.
    pub inflight_messages_max: usize,
    /// Bytes of entries on their way to one peer, at most (one message may exceed it).
    pub inflight_bytes_max: usize,
    /// Bytes of applied, durable entries kept in memory for peers that lag; older ones are loaded.
    pub cache_bytes_max: usize,
    /// Entries handed to the state machine and not yet reported as applied, at most, in bytes (one entry
    /// may exceed it).
    pub apply_bytes_max: usize,
    /// A leader that its peers promised to back answers reads without asking them again (thesis §6.4). If not, reads cost
    /// a round of heartbeats, shared by all that come meanwhile, and no clock can make them old.
    pub lease_reads: bool,
}

impl Tuning {
    /// Bytes of entries in memory beyond which none are kept that are durable, not even those that the state machine
    /// still has to apply: it gets them from the disk. Room enough for what is on its way and what is being applied, so that
    /// a replica that keeps up never gets there.
    pub(crate) fn cache_bytes_limit(&self) -> usize {
        let on_its_way = self
            .inflight_bytes_max
            .saturating_add(self.apply_bytes_max.saturating_mul(2));
        on_its_way.saturating_add(self.cache_bytes_max)
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            election_timeout_ms: 600,
            heartbeat_interval_ms: 100,
            message_bytes_max: 256 << 10,
            inflight_messages_max: 64,
            inflight_bytes_max: 4 << 20,
            cache_bytes_max: 1 << 20,
            apply_bytes_max: 1 << 20,
            lease_reads: true,
        }
    }
}

/// What a replica's disk held when it started. The default is a new replica's: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Its term and vote.
    pub hard_state: HardState,
    /// What the log begins after: the last entry that was compacted away, or that an installed snapshot
    /// ends with. Zero if the log is whole.
    pub base: LogId,
    /// For each run of entries of one term in the log, ascending, the id of its first entry; the first
    /// run starts right after the base.
    pub runs: Vec<LogId>,
    /// The log's last index; the base's if it is empty.
    pub last: LogIndex,
    /// The last index of the snapshot that the state machine was restored from, if it was, or that one on disk
    /// has applied. Not before the base: what is compacted is in a snapshot, or durable in a state on disk.
    pub applied: LogIndex,
    /// Configurations, ascending: the one in force at the base, if a base was ever written (its index is the
    /// base's), then those that are entries of the log.
    pub memberships: Vec<(LogIndex, Arc<Membership>)>,
    /// The last entry that an earlier life of this very replica held, in this incarnation of the group, before
    /// its log was destroyed; zero if there was none. It may have acknowledged all up to there: so it helps
    /// nobody to be elected whose log does not reach there, itself neither, just as if it still held it.
    pub forgotten: LogId,
    /// What the replica promised in whose place this one comes, in the same life of the node
    /// ([`Group::promise`](crate::Group::promise)).
    pub promise: Option<PromiseRecord>,
    /// There was such a replica, and what it promised is not known: this one neither votes nor campaigns until every
    /// session has ended that lives when it is told of the first.
    pub promise_lost: bool,
    /// The replica was created in this life of the node, so that nothing can have been promised in an earlier one. If
    /// not, it was found on disk, and does not vote while its node has just started
    /// ([`Sessions::may_vote`](crate::Sessions::may_vote)).
    pub created: bool,
}

impl Recovered {
    /// Whether the log holds this very entry, or begins right after it.
    #[must_use]
    pub fn holds(&self, id: LogId) -> bool {
        if id.index <= self.base.index || id.index > self.last {
            return id == self.base;
        }
        self.term_at(id.index) == Some(id.term)
    }

    /// The last entry of the log; the base if it is empty.
    #[must_use]
    pub fn last_id(&self) -> LogId {
        match self.term_at(self.last) {
            Some(term) if self.last > self.base.index => LogId { term, index: self.last },
            _ => self.base,
        }
    }

    /// Whether it lacks what an earlier life of the replica held: then it does not lead, and votes for nobody who does
    /// not hold it.
    #[must_use]
    pub fn must_catch_up(&self) -> bool {
        self.forgotten > self.last_id()
    }

    /// The term of an entry after the base.
    fn term_at(&self, index: LogIndex) -> Option<Term> {
        let run = self.runs.partition_point(|run| run.index <= index).checked_sub(1)?;
        self.runs.get(run).map(|run| run.term)
    }
}
