//! Disks that are opened: what they do not say to be damaged is there, and equal.

use super::{DiskReplica, Shadow};
use crate::store::{RecoveredGroup, StoreContents};
use raftyard_groups::{GroupId, HardState, LogId, LogIndex, NodeId, Recovered, Term};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

impl DiskReplica {
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
}

impl Shadow {
    /// Compares a disk that was opened: what it does not say to be damaged is there, and equal.
    pub(super) fn open(&mut self, node: NodeId, contents: &StoreContents) -> Result<(), String> {
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
