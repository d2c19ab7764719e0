//! What every disk must hold: written down when it says that something is durable, compared when it is opened.

use super::watch::Event;
use crate::life::Life;
use crate::store::StoreContents;
use raftyard_groups::{GroupId, HardState, Incarnation, LogBase, LogId, LogIndex, NodeId, Persist, Term};
use std::collections::{BTreeMap, VecDeque};

/// All disks of a world.
#[derive(Default)]
pub(crate) struct Shadow {
    replicas: BTreeMap<(NodeId, GroupId), DiskReplica>,
    /// What is left of replicas that were destroyed: the last entry that they held.
    tombstones: BTreeMap<(NodeId, GroupId), (Incarnation, LogId)>,
}

/// What a disk holds of a group.
#[derive(Clone)]
pub(crate) struct DiskReplica {
    pub(crate) incarnation: Incarnation,
    pub(crate) hard_state: HardState,
    base: LogId,
    /// Of the entries after the base.
    terms: VecDeque<Term>,
}

impl DiskReplica {
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

    fn write(&mut self, persist: &Persist) {
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

    /// Whether a node's disk holds this entry, in this life of the group; or did, in a replica that was destroyed: what
    /// that acknowledged its tombstone remembers, and helps nobody to be elected who lacks it.
    pub(crate) fn holds(&self, node: NodeId, life: Life, id: LogId) -> bool {
        let key = (node, life.group);
        let held = self.replicas.get(&key);
        let is_held = held.is_some_and(|replica| replica.incarnation == life.incarnation && replica.holds(id));
        let forgotten = self.tombstones.get(&key);
        is_held
            || forgotten.is_some_and(|(incarnation, last)| {
                *incarnation == life.incarnation && id.index <= last.index && id.term <= last.term
            })
    }

    /// Whether a node's disk that was opened holds just what it should, had this happened before.
    pub(super) fn would_explain(&self, node: NodeId, events: &[Event<'_>], contents: &StoreContents) -> bool {
        let here = (node, GroupId(0))..=(node, GroupId(u64::MAX));
        let replicas = self.replicas.range(here).map(|(key, replica)| (*key, replica.clone()));
        let mut after = Self {
            replicas: replicas.collect(),
            tombstones: BTreeMap::new(),
        };
        let are_noted = events.iter().all(|event| after.note(node, event).is_ok());
        are_noted && after.note(node, &Event::Opens(contents)).is_ok() && after.replicas.len() == contents.groups.len()
    }

    /// Notes what happened; an error says in what a disk that was opened does not hold what it said it would.
    pub(super) fn note(&mut self, node: NodeId, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Creates(record) => {
                let replica = DiskReplica {
                    incarnation: record.incarnation,
                    hard_state: HardState::default(),
                    base: LogId::ZERO,
                    terms: VecDeque::new(),
                };
                self.replicas.insert((node, record.group), replica);
            }
            Event::Destroys(life) => {
                let key = (node, life.group);
                if let Some(replica) = self.replicas.remove(&key) {
                    let before = self.tombstones.get(&key).filter(|before| before.0 == life.incarnation);
                    let last = before.map_or(LogId::ZERO, |before| before.1).max(replica.last());
                    self.tombstones.insert(key, (life.incarnation, last));
                }
            }
            Event::Writes(persist) => {
                if let Some(replica) = self.replicas.get_mut(&(node, persist.group)) {
                    replica.write(persist);
                }
            }
            Event::Opens(contents) => {
                let held: BTreeMap<_, _> = contents
                    .groups
                    .iter()
                    .map(|found| (found.record.group, found))
                    .collect();
                let here = self.replicas.range_mut((node, GroupId(0))..=(node, GroupId(u64::MAX)));
                for ((_, group), replica) in here {
                    let Some(found) = held.get(group) else {
                        return Err(format!("{node} was opened without {group}, which its disk held"));
                    };
                    let (held, wanted) = (found.state.last_id(), replica.last());
                    if held != wanted {
                        return Err(format!(
                            "{node} was opened with {group} up to {held}, its disk held {wanted}"
                        ));
                    }
                    let hard_state = found.state.hard_state;
                    // Terms at which a replica starts, the shadow is not told of.
                    if hard_state.term < replica.hard_state.term {
                        let lost = replica.hard_state.term;
                        return Err(format!(
                            "{node} was opened with {group} in {}, it was in {lost}",
                            hard_state.term
                        ));
                    }
                    if hard_state.term == replica.hard_state.term && hard_state.vote != replica.hard_state.vote {
                        return Err(format!(
                            "{node} forgot whom it voted for in {group} in {}",
                            hard_state.term
                        ));
                    }
                }
            }
            Event::Stands(..) | Event::Applies { .. } | Event::Over(_) => {}
        }
        Ok(())
    }
}
