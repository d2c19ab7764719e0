//! Which groups run on this node, and how each is reached and stands.

use crate::inbox::Inbox;
use crate::worker::{Transfer, Work};
use dashmap::DashMap;
use raftyard_groups::{GroupId, NodeId, RoleKind, TransferOutcome};
use std::any::TypeId;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use tokio::sync::{Notify, oneshot};

/// All groups of a node. A guard of the map is never kept: what is found is cloned out.
pub(crate) type Registry = DashMap<GroupId, Arc<GroupSlot>, BuildHasherDefault<IdHasher>>;

/// Where a group's actor is reached, and what it last said of itself.
pub(crate) struct GroupSlot {
    pub(crate) group: GroupId,
    /// The type of its state machine.
    pub(crate) machine: TypeId,
    /// The inbox of the worker that hosts it.
    pub(crate) inbox: Arc<Inbox<Work>>,
    pub(crate) status: StatusCell,
}

impl GroupSlot {
    /// Asks the group's actor to let another replica lead; `None` once it is gone.
    pub(crate) fn transfer(&self, to: Option<NodeId>) -> Option<oneshot::Receiver<TransferOutcome>> {
        let (reply, outcome) = oneshot::channel();
        let transfer = Transfer { to, reply };
        let queued = self.inbox.push(Work::Transfer(self.group, transfer));
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
    commit: AtomicU64,
    applied: AtomicU64,
    halted: AtomicBool,
    /// Told when a leader becomes known, and when the node shuts down.
    leader_known: Notify,
}

/// How a group's local replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// What it is.
    pub role: RoleKind,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: u64,
    /// The last index of its log.
    pub last: u64,
    /// Its commit index.
    pub commit: u64,
    /// Its applied index.
    pub applied: u64,
    /// It stopped, because its disk or its state machine failed; the log says why.
    pub halted: bool,
}

impl StatusCell {
    pub(crate) fn set(&self, status: &GroupStatus) {
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
        self.last.store(status.last, Ordering::Relaxed);
        self.commit.store(status.commit, Ordering::Relaxed);
        self.applied.store(status.applied, Ordering::Relaxed);
        self.halted.store(status.halted, Ordering::Relaxed);
        // Without a leader the old one stays: a reader that saw `has_leader` before may be about to read it.
        if let Some(leader) = status.leader {
            self.leader.store(leader.0, Ordering::Relaxed);
        }
        if self.has_leader.swap(status.leader.is_some(), Ordering::AcqRel) != status.leader.is_some() {
            self.leader_known.notify_waiters();
        }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.has_leader
            .load(Ordering::Acquire)
            .then(|| NodeId(self.leader.load(Ordering::Relaxed)))
    }

    /// Waits until a leader is known, or until `closed` holds when it is woken: `None` then.
    pub(crate) async fn wait_for_leader(&self, closed: impl Fn() -> bool) -> Option<NodeId> {
        loop {
            let change = self.leader_known.notified();
            if closed() {
                return None;
            }
            if let Some(leader) = self.leader() {
                return Some(leader);
            }
            change.await;
        }
    }

    /// Wakes all who wait, for them to look whether the node is closed.
    pub(crate) fn wake_waiters(&self) {
        self.leader_known.notify_waiters();
    }

    pub(crate) fn get(&self) -> GroupStatus {
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
            commit: self.commit.load(Ordering::Relaxed),
            applied: self.applied.load(Ordering::Relaxed),
            halted: self.halted.load(Ordering::Relaxed),
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
