//! What every disk must hold: written down when it says that something is durable, compared when it is opened.

use super::watch::Event;
use crate::life::Life;
use crate::store::{RecoveredGroup, StoreContents};
use raftyard_groups::{GroupId, HardState, Incarnation, LogBase, LogId, LogIndex, NodeId, Persist, Recovered, Term};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// All disks of a world.
#[derive(Default)]
pub(crate) struct Shadow {
    replicas: BTreeMap<(NodeId, GroupId), DiskReplica>,
    /// The last entries that logs held which are gone: replicas were destroyed, or said that they were damaged.
    forgotten: BTreeMap<(NodeId, GroupId, Incarnation), Vec<LogId>>,
    /// Disks that were damaged, and were not opened since.
    rotten: BTreeSet<NodeId>,
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
            is_damaged: false,
            is_lost: false,
        }
    }

    /// What is left of one that is damaged.
    fn left_of(found: &RecoveredGroup) -> Self {
        let RecoveredGroup { record, state, damage } = found;
        Self {
            hard_state: state.hard_state,
            base: state.base,
            terms: terms_of(state),
            is_damaged: true,
            is_lost: damage.as_ref().is_some_and(|damage| damage.is_lost),
            ..Self::new(record.incarnation)
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
            Event::Rots => drop(self.rotten.insert(node)),
            Event::Opens(contents) => self.open(node, contents)?,
            Event::Stands(..) | Event::Applies { .. } | Event::Over(_) => {}
        }
        Ok(())
    }

    fn remember(&mut self, node: NodeId, group: GroupId, replica: &DiskReplica) {
        let forgotten = self.forgotten.entry((node, group, replica.incarnation)).or_default();
        forgotten.push(replica.last());
    }

    /// Only a damaged log may be of no use.
    fn forget(&mut self, node: NodeId, group: GroupId) -> Result<(), String> {
        let Some(replica) = self.replicas.get(&(node, group)).cloned() else {
            return Err(format!(
                "{node} forgets the log of {group}, which its disk does not hold"
            ));
        };
        if !replica.is_damaged {
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

    /// Compares a disk that was opened: what it does not say to be damaged is there, and equal.
    fn open(&mut self, node: NodeId, contents: &StoreContents) -> Result<(), String> {
        let is_rotten = self.rotten.remove(&node);
        if let Some(finding) = contents.findings.first().filter(|_| !is_rotten) {
            return Err(format!(
                "{node} was opened as damaged, which its disk is not: {finding}"
            ));
        }
        let found: BTreeMap<_, _> = contents
            .groups
            .iter()
            .map(|found| (found.record.group, found))
            .collect();
        let here = self.replicas.range((node, GroupId(0))..=(node, GroupId(u64::MAX)));
        let here: Vec<(GroupId, DiskReplica)> = here.map(|((_, group), replica)| (*group, replica.clone())).collect();
        for (group, replica) in &here {
            match found.get(group) {
                Some(found) => {
                    let is_whole = open_whole(node, found, replica);
                    if is_whole.is_err() && is_rotten && says_damaged(found, replica.last()) {
                        self.open_damaged(node, found, replica)?;
                    } else {
                        is_whole?;
                    }
                }
                None if is_rotten && is_said_gone(*group, contents) => {
                    self.remember(node, *group, replica);
                    self.replicas.remove(&(node, *group));
                    self.amiss.insert((node, *group));
                }
                None => return Err(format!("{node} was opened without {group}, which its disk held")),
            }
        }
        // That it was destroyed is lost. One that does not say so, its node takes for one that it was never told of.
        let unknown = found
            .values()
            .filter(|found| is_rotten && says_damaged(found, LogId::ZERO));
        for found in unknown {
            let key = (node, found.record.group);
            if let Entry::Vacant(vacant) = self.replicas.entry(key) {
                vacant.insert(DiskReplica::left_of(found));
                self.amiss.insert(key);
            }
        }
        Ok(())
    }

    /// A replica said that it lost something: it goes on as one that may have voted for anybody, and acknowledged
    /// anything, up to now.
    fn open_damaged(&mut self, node: NodeId, found: &RecoveredGroup, replica: &DiskReplica) -> Result<(), String> {
        let (group, state) = (found.record.group, &found.state);
        let left = DiskReplica::left_of(found);
        let HardState { term, vote } = state.hard_state;
        if !left.is_lost && (term <= replica.hard_state.term || vote.is_some()) {
            let lost = replica.hard_state;
            return Err(format!(
                "{node} was opened with {group} in {term}, damaged, and may vote again: it was in {lost:?}"
            ));
        }
        if !left.is_lost && state.forgotten < replica.last() {
            let (forgotten, last) = (state.forgotten, replica.last());
            return Err(format!(
                "{node} was opened with {group}, damaged: it counts as if it had held up to {forgotten}, it held {last}"
            ));
        }
        if left.is_lost || left.incarnation != replica.incarnation {
            self.amiss.insert((node, group));
        }
        self.remember(node, group, replica);
        self.replicas.insert((node, group), left);
        Ok(())
    }
}

/// Whether a replica says that it lost something, of a log that ended with `last`. Where the start at which that was
/// found was cut short, only what it goes on from says so.
fn says_damaged(found: &RecoveredGroup, last: LogId) -> bool {
    let forgotten = found.state.forgotten;
    found.damage.is_some() || (forgotten.index == LogIndex(u64::MAX) && forgotten > last)
}

/// Whether a disk says that it may have lost all of a group.
fn is_said_gone(group: GroupId, contents: &StoreContents) -> bool {
    let mut tombstones = contents.tombstones.iter();
    contents.lost.is_some() || tombstones.any(|tombstone| tombstone.group == group && tombstone.is_uncertain)
}

fn open_whole(node: NodeId, found: &RecoveredGroup, replica: &DiskReplica) -> Result<(), String> {
    let group = found.record.group;
    if replica.is_lost && found.damage.as_ref().is_some_and(|damage| damage.is_lost) {
        return Ok(());
    }
    if let Some(damage) = &found.damage {
        return Err(format!(
            "{node} was opened with {group} damaged, which its disk held: {}",
            damage.what
        ));
    }
    let (there, wanted) = (found.record.incarnation, replica.incarnation);
    if there != wanted {
        return Err(format!(
            "{node} was opened with {group} {there}, its disk held {wanted}"
        ));
    }
    let (held, wanted) = (found.state.last_id(), replica.last());
    if held != wanted {
        return Err(format!(
            "{node} was opened with {group} up to {held}, its disk held {wanted}"
        ));
    }
    let hard_state = found.state.hard_state;
    // Terms at which a replica starts, the shadow is not told of.
    if hard_state.term < replica.hard_state.term {
        let (term, lost) = (hard_state.term, replica.hard_state.term);
        return Err(format!("{node} was opened with {group} in {term}, it was in {lost}"));
    }
    if hard_state.term == replica.hard_state.term && hard_state.vote != replica.hard_state.vote {
        let term = hard_state.term;
        return Err(format!("{node} forgot whom it voted for in {group} in {term}"));
    }
    Ok(())
}

/// The terms of the entries after the base.
fn terms_of(state: &Recovered) -> VecDeque<Term> {
    let mut terms = VecDeque::new();
    let mut runs = state.runs.iter().peekable();
    while let Some(run) = runs.next() {
        let end = runs.peek().map_or(state.last.next(), |next| next.index);
        terms.extend((run.index.0..end.0).map(|_| run.term));
    }
    terms
}
