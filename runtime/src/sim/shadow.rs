//! What every disk must hold: written down when it says that something is durable, compared when it is opened.

mod opening;

use super::watch::Event;
use crate::life::Life;
use crate::store::StoreContents;
use raftyard_groups::{GroupId, HardState, Incarnation, LogBase, LogId, LogIndex, NodeId, Persist, Term};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// All disks of a world.
#[derive(Default)]
pub(crate) struct Shadow {
    replicas: BTreeMap<(NodeId, GroupId), DiskReplica>,
    /// The last entries that logs held which are gone: replicas were destroyed, or said that they were damaged.
    forgotten: BTreeMap<(NodeId, GroupId, Incarnation), Vec<LogId>>,
    /// Disks that were damaged, and were not opened since.
    rotten: BTreeSet<NodeId>,
    /// Replicas of which a snapshot was damaged.
    rotten_snapshots: BTreeSet<(NodeId, GroupId)>,
    /// Disks lost what these replicas were, or that they were destroyed, and said so; operators did not see to them yet.
    amiss: BTreeSet<(NodeId, GroupId)>,
}

/// What a disk holds of a group.
#[derive(Clone)]
pub(crate) struct DiskReplica {
    pub(crate) incarnation: Incarnation,
    pub(crate) hard_state: HardState,
    base: LogId,
    /// Of the entries after the base.
    terms: VecDeque<Term>,
    /// Entries that it held until the last write, and does not any more.
    dropped: Vec<LogId>,
    /// It said that it lost something.
    is_damaged: bool,
    /// It said that it is nothing that could go on.
    pub(super) is_lost: bool,
}

impl DiskReplica {
    /// One that begins with nothing.
    fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            hard_state: HardState::default(),
            base: LogId::ZERO,
            terms: VecDeque::new(),
            dropped: Vec::new(),
            is_damaged: false,
            is_lost: false,
        }
    }

    fn position(&self, index: LogIndex) -> Option<usize> {
        let distance = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        usize::try_from(distance).ok()
    }

    /// The term of the entry there, the base's included.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.terms.get(self.position(index)?).copied()
    }

    /// Its log goes on from there.
    pub(crate) fn base(&self) -> LogId {
        self.base
    }

    /// The last entry that it holds.
    pub(crate) fn last(&self) -> LogId {
        match self.terms.back() {
            Some(term) => LogId {
                term: *term,
                index: self.base.index.plus(self.terms.len()),
            },
            None => self.base,
        }
    }

    /// Whether it holds this entry, or a snapshot that it is part of.
    pub(crate) fn holds(&self, id: LogId) -> bool {
        id.index < self.base.index || self.term_at(id.index) == Some(id.term)
    }

    /// Entries that it held until the last write, and does not any more; none, if it said before that it lost something.
    pub(crate) fn dropped(&self) -> &[LogId] {
        if self.is_damaged { &[] } else { &self.dropped }
    }

    fn write(&mut self, persist: &Persist) {
        let is_cut = persist
            .entries
            .first()
            .is_some_and(|first| first.index <= self.last().index);
        let is_replaced = matches!(persist.base, Some(LogBase::Installed(_)));
        let before = (is_cut || is_replaced).then(|| (self.base.index, self.terms.clone()));
        self.replace(persist);
        self.dropped.clear();
        if let Some((base, terms)) = before {
            let held = (base.next().0..).map(LogIndex).zip(terms);
            let held = held.map(|(index, term)| LogId { term, index });
            self.dropped = held.filter(|id| !self.holds(*id)).collect();
        }
    }

    fn replace(&mut self, persist: &Persist) {
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        match persist.base {
            Some(LogBase::Installed(id)) => {
                self.terms.clear();
                self.base = id;
            }
            Some(LogBase::Compacted(id)) => {
                let dropped = self.position(id.index).map_or(0, |position| position + 1);
                self.terms.drain(..dropped.min(self.terms.len()));
                self.base = id;
            }
            None => {}
        }
        if let Some(first) = persist.entries.first() {
            self.terms.truncate(self.position(first.index).unwrap_or(0));
            self.terms.extend(persist.entries.iter().map(|entry| entry.term));
        }
    }
}

impl Shadow {
    /// What a node's disk holds of a group.
    pub(crate) fn replica(&self, node: NodeId, group: GroupId) -> Option<&DiskReplica> {
        self.replicas.get(&(node, group))
    }

    /// Whether a node's disk holds this entry, in this life of the group; or did, in a replica that was destroyed or
    /// said that it is damaged: what that acknowledged is remembered, and it helps nobody to be elected who lacks it.
    pub(crate) fn holds(&self, node: NodeId, life: Life, id: LogId) -> bool {
        let key = (node, life.group);
        let held = self.replicas.get(&key);
        let is_held = held.is_some_and(|replica| replica.incarnation == life.incarnation && replica.holds(id));
        let mut forgotten = self
            .forgotten
            .get(&(node, life.group, life.incarnation))
            .into_iter()
            .flatten();
        is_held || forgotten.any(|last| id.index <= last.index && id.term <= last.term)
    }

    /// Whether a node's disk held a replica of this life that is gone.
    pub(crate) fn had(&self, node: NodeId, life: Life) -> bool {
        self.forgotten.contains_key(&(node, life.group, life.incarnation))
    }

    /// Whether a node's disk was damaged, and was not opened since.
    pub(super) fn is_rotten(&self, node: NodeId) -> bool {
        self.rotten.contains(&node)
    }

    /// Whether a node's disk said that it does not know what it should of a group, and no operator saw to it yet.
    pub(super) fn is_amiss(&self, node: NodeId, group: GroupId) -> bool {
        self.amiss.contains(&(node, group))
    }

    /// The groups of a node that are amiss.
    pub(super) fn amiss(&self, node: NodeId) -> Vec<GroupId> {
        let here = self.amiss.range((node, GroupId(0))..=(node, GroupId(u64::MAX)));
        here.map(|(_, group)| *group).collect()
    }

    /// An operator saw to a group.
    pub(super) fn set_right(&mut self, node: NodeId, group: GroupId) {
        self.amiss.remove(&(node, group));
    }

    /// Whether a node's disk that was opened holds just what it should, had this happened before.
    pub(super) fn would_explain(&self, node: NodeId, events: &[Event<'_>], contents: &StoreContents) -> bool {
        let here = (node, GroupId(0))..=(node, GroupId(u64::MAX));
        let replicas = self.replicas.range(here).map(|(key, replica)| (*key, replica.clone()));
        let mut after = Self {
            replicas: replicas.collect(),
            rotten: self.rotten.clone(),
            rotten_snapshots: self.rotten_snapshots.clone(),
            ..Self::default()
        };
        let are_noted = events.iter().all(|event| after.note(node, event).is_ok());
        are_noted && after.note(node, &Event::Opens(contents)).is_ok() && after.replicas.len() == contents.groups.len()
    }

    /// Notes what happened; an error says in what a disk that was opened does not hold what it said it would.
    pub(super) fn note(&mut self, node: NodeId, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Creates(record) => {
                let replica = DiskReplica::new(record.incarnation);
                self.replicas.insert((node, record.group), replica);
            }
            Event::Destroys(life) => {
                if let Some(replica) = self.replicas.remove(&(node, life.group)) {
                    self.remember(node, life.group, &replica);
                }
            }
            Event::Writes(persist) => {
                if let Some(replica) = self.replicas.get_mut(&(node, persist.group)) {
                    replica.write(persist);
                }
            }
            Event::Forgets(group) => self.forget(node, *group)?,
            Event::Rots { snapshots_of } => {
                self.rotten.insert(node);
                self.rotten_snapshots
                    .extend(snapshots_of.iter().map(|group| (node, *group)));
            }
            Event::Opens(contents) => self.open(node, contents)?,
            Event::Stands(..) | Event::Applies { .. } | Event::Over(_) => {}
        }
        Ok(())
    }

    fn remember(&mut self, node: NodeId, group: GroupId, replica: &DiskReplica) {
        let forgotten = self.forgotten.entry((node, group, replica.incarnation)).or_default();
        forgotten.push(replica.last());
    }

    /// Only a log that is damaged, or goes on from a snapshot that is, may be of no use.
    fn forget(&mut self, node: NodeId, group: GroupId) -> Result<(), String> {
        let Some(replica) = self.replicas.get(&(node, group)).cloned() else {
            return Err(format!(
                "{node} forgets the log of {group}, which its disk does not hold"
            ));
        };
        if !replica.is_damaged && !self.rotten_snapshots.remove(&(node, group)) {
            return Err(format!("{node} forgets the log of {group}, which is whole"));
        }
        self.remember(node, group, &replica);
        let left = DiskReplica {
            hard_state: replica.hard_state,
            is_damaged: true,
            ..DiskReplica::new(replica.incarnation)
        };
        self.replicas.insert((node, group), left);
        Ok(())
    }
}
