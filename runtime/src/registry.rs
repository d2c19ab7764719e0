//! Which groups run on this node, and how each is reached and stands.

use crate::error::LeaderError;
use crate::inbox::Inbox;
use crate::life::Life;
use crate::quarantine::QuarantineReason;
use crate::tenancy::{GroupUsage, Tenancy};
use crate::worker::{Transfer, Work};
use dashmap::DashMap;
use parking_lot::RwLock;
use raftyard_groups::{
    GroupId, Incarnation, LogId, LogIndex, MemberRole, Membership, NodeId, RoleKind, TransferOutcome,
};
use std::any::TypeId;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Notify, oneshot};

/// All groups of a node. A guard of the map is never kept: what is found is cloned out.
pub(crate) type Registry = DashMap<GroupId, Arc<GroupSlot>, BuildHasherDefault<IdHasher>>;

/// Where a group's actor is reached, and what it last said of itself.
pub(crate) struct GroupSlot {
    pub(crate) group: GroupId,
    pub(crate) incarnation: Incarnation,
    /// The type of its state machine.
    pub(crate) machine: TypeId,
    /// Whether that keeps its state on disk.
    pub(crate) is_on_disk: bool,
    /// The inbox of the worker that hosts it.
    pub(crate) inbox: Arc<Inbox<Work>>,
    pub(crate) status: StatusCell,
    /// What it takes of the node.
    pub(crate) tenancy: Tenancy,
}

impl GroupSlot {
    pub(crate) fn life(&self) -> Life {
        Life {
            group: self.group,
            incarnation: self.incarnation,
        }
    }

    /// Asks the group's actor to let another replica lead; `None` once it is gone.
    pub(crate) fn transfer(&self, to: Option<NodeId>) -> Option<oneshot::Receiver<TransferOutcome>> {
        let (reply, outcome) = oneshot::channel();
        let transfer = Transfer { to, reply };
        let queued = self.inbox.push(Work::Transfer(self.life(), transfer));
        queued.then_some(outcome)
    }
}

/// What a group's actor says of itself after each turn, to be read from any thread. Each value is current
/// on its own; together they may be from two turns.
#[derive(Default)]
pub(crate) struct StatusCell {
    role: AtomicU8,
    has_leader: AtomicBool,
    leader: AtomicU64,
    term: AtomicU64,
    last: AtomicU64,
    last_term: AtomicU64,
    commit: AtomicU64,
    applied: AtomicU64,
    /// The last entry that a state on disk holds, while that is ahead of its log; or 0.
    ahead: AtomicU64,
    /// The configuration, and what this replica is in it.
    members: RwLock<(Arc<Membership>, Option<MemberRole>)>,
    /// Boxed: seldom there.
    quarantined: OnceLock<Box<QuarantineReason>>,
    destroyed: AtomicBool,
    /// The newest incarnation of the group that another node was heard of in, if it is newer than this one; or 0.
    newer: AtomicU64,
    asleep: AtomicBool,
    damaged: AtomicBool,
    lease: AtomicBool,
    turns: AtomicU64,
    /// Told when a leader becomes known, and when there is no more to wait for.
    leader_known: Notify,
}

/// How a group's local replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// What it is.
    pub role: RoleKind,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: u64,
    /// The last index of its log.
    pub last: u64,
    /// The term of the entry there: of two logs of one incarnation that with the later one is newer, or, of one term, the
    /// longer one.
    pub last_term: u64,
    /// Its commit index.
    pub commit: u64,
    /// Its applied index.
    pub applied: u64,
    /// The group's configuration: the newest in its log, committed or not. Of nobody if it waits to be added.
    pub membership: Arc<Membership>,
    /// What it is in that configuration; none if it waits to be added, or was removed: then
    /// [`destroy_group`](crate::RaftHost::destroy_group) gets rid of it.
    pub member: Option<MemberRole>,
    /// It lacks what it may have acknowledged, because its disk lost it, or because it was destroyed and came back. It
    /// neither leads nor helps to elect who lacks that too, until its peers repaired it.
    pub damaged: bool,
    /// It has nothing to do and says nothing, until it is asked for something or a node is lost.
    pub asleep: bool,
    /// It leads, and held the lease in its last turn: it answers reads without asking the others. While it sleeps
    /// that goes on until a node is lost.
    pub lease: bool,
    /// How often it had something to do since it was opened.
    pub turns: u64,
    /// Whether it runs.
    pub state: ReplicaState,
    /// The group goes on in this newer incarnation on another node, of which this replica is no part: it was
    /// destroyed and created again, or rebuilt there. Nobody of the newer one answers this replica.
    pub newer: Option<Incarnation>,
    /// What it took of its node.
    pub usage: GroupUsage,
}

/// Whether a replica runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaState {
    /// It does.
    Running,
    /// It stopped for good.
    Quarantined(QuarantineReason),
    /// It was ended to be destroyed, or rebuilt as another incarnation: this handle is of no more use.
    Destroyed,
}

impl GroupStatus {
    /// Whether it stopped for good, and is still there.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        matches!(self.state, ReplicaState::Quarantined(_))
    }
}

/// What a turn of a replica leaves to be known.
pub(crate) struct Standing<'a> {
    pub(crate) role: RoleKind,
    pub(crate) leader: Option<NodeId>,
    pub(crate) term: u64,
    pub(crate) last: LogId,
    pub(crate) commit: u64,
    pub(crate) applied: u64,
    pub(crate) ahead: LogIndex,
    pub(crate) membership: &'a Arc<Membership>,
    pub(crate) member: Option<MemberRole>,
    pub(crate) asleep: bool,
    pub(crate) damaged: bool,
    pub(crate) lease: bool,
}

impl StatusCell {
    pub(crate) fn set(&self, status: &Standing<'_>) {
        self.role.store(
            match status.role {
                RoleKind::Follower => 0,
                RoleKind::PreCandidate => 1,
                RoleKind::Candidate => 2,
                RoleKind::Leader => 3,
            },
            Ordering::Relaxed,
        );
        self.term.store(status.term, Ordering::Relaxed);
        self.last.store(status.last.index.0, Ordering::Relaxed);
        self.last_term.store(status.last.term.0, Ordering::Relaxed);
        self.commit.store(status.commit, Ordering::Relaxed);
        self.applied.store(status.applied, Ordering::Relaxed);
        self.set_ahead(status.ahead);
        self.asleep.store(status.asleep, Ordering::Relaxed);
        self.damaged.store(status.damaged, Ordering::Relaxed);
        self.lease.store(status.lease, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
        // Rarely another: a replica hands out one and the same for as long as it is in force.
        if !Arc::ptr_eq(&self.members.read().0, status.membership) {
            self.set_membership(status.membership, status.member);
        }
        // Without a leader the old one stays: a reader that saw `has_leader` before may be about to read it.
        if let Some(leader) = status.leader {
            self.leader.store(leader.0, Ordering::Relaxed);
        }
        if self.has_leader.swap(status.leader.is_some(), Ordering::AcqRel) != status.leader.is_some() {
            self.leader_known.notify_waiters();
        }
    }

    pub(crate) fn set_membership(&self, membership: &Arc<Membership>, member: Option<MemberRole>) {
        *self.members.write() = (membership.clone(), member);
    }

    pub(crate) fn set_ahead(&self, ahead: LogIndex) {
        self.ahead.store(ahead.0, Ordering::Relaxed);
    }

    pub(crate) fn ahead(&self) -> LogIndex {
        LogIndex(self.ahead.load(Ordering::Relaxed))
    }

    pub(crate) fn membership(&self) -> Arc<Membership> {
        self.members.read().0.clone()
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.has_leader
            .load(Ordering::Acquire)
            .then(|| NodeId(self.leader.load(Ordering::Relaxed)))
    }

    /// The replica stops for good, for this reason unless it had another one before.
    pub(crate) fn quarantine(&self, reason: QuarantineReason) {
        self.quarantined.set(Box::new(reason)).ok();
        self.wake_waiters();
    }

    pub(crate) fn quarantined(&self) -> Option<&QuarantineReason> {
        self.quarantined.get().map(Box::as_ref)
    }

    pub(crate) fn destroy(&self) {
        self.destroyed.store(true, Ordering::Release);
        self.has_leader.store(false, Ordering::Release);
        self.wake_waiters();
    }

    pub(crate) fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::Acquire)
    }

    /// Another node was heard of in a newer incarnation. True if that is news.
    pub(crate) fn note_newer(&self, incarnation: Incarnation) -> bool {
        let is_news = self.newer.fetch_max(incarnation.0, Ordering::AcqRel) < incarnation.0;
        if is_news {
            self.wake_waiters();
        }
        is_news
    }

    pub(crate) fn newer(&self) -> Option<Incarnation> {
        Some(Incarnation(self.newer.load(Ordering::Acquire))).filter(|newer| newer.0 > 0)
    }

    /// Waits until a leader is known, or none will be.
    pub(crate) async fn wait_for_leader(&self, closed: impl Fn() -> bool) -> Result<NodeId, LeaderError> {
        loop {
            let change = self.leader_known.notified();
            if closed() || self.is_destroyed() {
                return Err(LeaderError::Closed);
            }
            if let Some(reason) = self.quarantined() {
                return Err(LeaderError::Quarantined(reason.clone()));
            }
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            if let Some(newer) = self.newer() {
                return Err(LeaderError::Outdated { newer });
            }
            change.await;
        }
    }

    /// Wakes all who wait, for them to look whether the node is closed.
    pub(crate) fn wake_waiters(&self) {
        self.leader_known.notify_waiters();
    }

    /// All but what the group took.
    pub(crate) fn get(&self) -> GroupStatus {
        let (membership, member) = self.members.read().clone();
        GroupStatus {
            role: match self.role.load(Ordering::Relaxed) {
                1 => RoleKind::PreCandidate,
                2 => RoleKind::Candidate,
                3 => RoleKind::Leader,
                _ => RoleKind::Follower,
            },
            leader: self.leader(),
            term: self.term.load(Ordering::Relaxed),
            last: self.last.load(Ordering::Relaxed),
            last_term: self.last_term.load(Ordering::Relaxed),
            commit: self.commit.load(Ordering::Relaxed),
            applied: self.applied.load(Ordering::Relaxed),
            membership,
            member,
            asleep: self.asleep.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            lease: self.lease.load(Ordering::Relaxed),
            turns: self.turns.load(Ordering::Relaxed),
            state: if self.is_destroyed() {
                ReplicaState::Destroyed
            } else {
                match self.quarantined() {
                    Some(reason) => ReplicaState::Quarantined(reason.clone()),
                    None => ReplicaState::Running,
                }
            },
            newer: self.newer(),
            usage: GroupUsage::default(),
        }
    }
}

/// Mixes one integer: ids are small and dense, and nobody hostile chooses them.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing spreads over the high bits, the rotation brings them to the low ones, since
        // the maps use both ends.
        self.0 = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map keyed by an id.
pub(crate) type IdMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<IdHasher>>;
