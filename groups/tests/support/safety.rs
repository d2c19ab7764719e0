//! What must hold in the whole cluster after every step of every test (paper, figure 3), checked against
//! what the disks really hold, not against what the replicas believe.

use super::cluster::Node;
use super::strip;
use raftyard_groups::{
    Body, Entry, Group, LogId, LogIndex, Membership, Message, NodeId, NodeSet, Payload, Persist, Promise, ReadId,
    ReadOutcome, RoleKind, Term,
};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

type Nodes = BTreeMap<NodeId, Rc<Node>>;

#[derive(Clone)]
pub(crate) struct Safety {
    /// What was committed, the newest last; it begins with what the group was created with.
    memberships: Vec<Arc<Membership>>,
    /// What was in force at each replica after its last step.
    in_force: BTreeMap<NodeId, Arc<Membership>>,
    /// Those that are or were witnesses: they hold entries without commands.
    witnesses: BTreeSet<NodeId>,
    leaders: BTreeMap<Term, NodeId>,
    /// Position `i - 1` holds the entry committed at index `i`.
    pub(crate) committed: Vec<LogId>,
    /// In which term each of them was.
    committed_in: Vec<Term>,
    /// What each leader put at each position: the same id never names two entries.
    written: BTreeMap<LogId, Entry>,
    votes: BTreeMap<(Term, NodeId), NodeId>,
    /// Up to here each replica's commit index was checked.
    commits: BTreeMap<NodeId, LogIndex>,
    applied: BTreeMap<NodeId, LogIndex>,
    /// What each read must see at least: all that was committed when it was asked.
    reads: BTreeMap<ReadId, LogIndex>,
}

impl Safety {
    pub(crate) fn new(membership: Membership) -> Self {
        Self {
            witnesses: membership.witnesses().collect(),
            memberships: vec![Arc::new(membership)],
            in_force: BTreeMap::new(),
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            committed_in: Vec::new(),
            written: BTreeMap::new(),
            votes: BTreeMap::new(),
            commits: BTreeMap::new(),
            applied: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }

    /// What happened, as far as it is needed to notice what must not happen next.
    pub(crate) fn fingerprint(&self, state: &mut impl Hasher) {
        (
            &self.leaders,
            &self.committed,
            &self.committed_in,
            &self.votes,
            &self.reads,
        )
            .hash(state);
        (&self.written, &self.memberships, &self.in_force, &self.witnesses).hash(state);
    }

    pub(crate) fn restarted(&mut self, id: NodeId) {
        self.commits.remove(&id);
        self.applied.remove(&id);
        self.in_force.remove(&id);
    }

    /// The newest configuration that is committed.
    pub(crate) fn membership(&self) -> &Membership {
        self.memberships.last().expect("the first")
    }

    pub(crate) fn is_witness(&self, id: NodeId) -> bool {
        self.witnesses.contains(&id)
    }

    /// After a step of one replica.
    pub(crate) fn stepped(&mut self, id: NodeId, nodes: &Nodes) {
        let Some(group) = nodes.get(&id).and_then(|node| node.group.as_ref()) else {
            return;
        };
        if group.role() == RoleKind::Leader {
            self.leads(group);
        }
        // What the step appended, it did not count with: it committed first.
        let in_force = group.membership();
        let counted = self
            .in_force
            .insert(id, in_force.clone())
            .unwrap_or_else(|| in_force.clone());
        let checked = self.commits.get(&id).copied().unwrap_or_default();
        for index in checked.0 + 1..=group.commit().0 {
            if let Some(term) = group.term_at(LogIndex(index)) {
                self.commits_entry(id, LogId::new(term.0, index), &counted, nodes);
            }
        }
        if group.role() == RoleKind::Leader && counted != *in_force && Some(&group.term()) == self.newest_term() {
            let committed = self.memberships.last().expect("the first");
            assert!(
                quorums_meet(committed, in_force),
                "{group}: ({in_force}) could decide without ({committed})"
            );
        }
        self.commits.insert(id, group.commit());
        let durable = group.durable();
        let on_disk = nodes[&id].disk.term_at(durable);
        if let Some(position) = usize::try_from(group.base().index.0)
            .expect("an index fits")
            .checked_sub(1)
        {
            let committed = self.committed.get(position);
            assert_eq!(
                committed,
                Some(&group.base()),
                "{group}: its log begins after what is not committed"
            );
        }
        assert!(
            group.term_at(durable) == on_disk || is_compacted(group, durable),
            "{group}: the disk holds {on_disk:?} at {durable}"
        );
    }

    fn leads(&mut self, group: &Group) {
        let (term, id) = (group.term(), group.node());
        if let Some(other) = self.leaders.insert(term, id) {
            assert_eq!(other, id, "Election Safety: two leaders in {term}");
            return;
        }
        // New in its term. Leader Completeness: it holds all that was committed in terms before. (Of a later one it
        // may know nothing, if it learns late that it was elected.)
        let before = self
            .committed
            .iter()
            .zip(&self.committed_in)
            .filter(|(_, committed)| **committed < term);
        for (entry, _) in before {
            let held = group.term_at(entry.index);
            assert!(
                held == Some(entry.term) || is_compacted(group, entry.index),
                "Leader Completeness: {group} lacks the committed {entry}"
            );
        }
    }

    fn commits_entry(&mut self, id: NodeId, entry: LogId, counted: &Membership, nodes: &Nodes) {
        let position = usize::try_from(entry.index.prev().0).expect("an index fits");
        if let Some(committed) = self.committed.get(position) {
            assert_eq!(*committed, entry, "State Machine Safety: {id} commits another entry");
            return;
        }
        assert_eq!(
            position,
            self.committed.len(),
            "{id} commits {entry} with a gap before it"
        );
        let holds = |node: &NodeId| {
            let disk = &nodes[node].disk;
            // Who forgot it helps nobody to be elected who lacks it.
            let is_forgotten = entry.index <= disk.forgotten.index && entry.term <= disk.forgotten.term;
            disk.term_at(entry.index) == Some(entry.term) || entry.index < disk.base.index || is_forgotten
        };
        let is_majority = |voters: BTreeSet<NodeId>| {
            voters.is_empty() || voters.iter().filter(|node| holds(node)).count() * 2 > voters.len()
        };
        assert!(
            is_majority(counted.voters().collect()) && is_majority(counted.outgoing().collect()),
            "{id} commits {entry}, which is not on the disks of a quorum of {counted}"
        );
        self.committed.push(entry);
        let group = nodes[&id].group.as_ref();
        self.committed_in.push(group.map_or(entry.term, Group::term));
        let payload = self.written.get(&entry).map(|entry| entry.payload.clone());
        if let Some(Payload::Membership(membership)) = payload {
            let before = self.memberships.last().expect("the first");
            assert!(
                is_legal(before, &membership),
                "({membership}) at {entry} can't come after ({before})"
            );
            self.memberships.push(membership);
        }
    }

    fn newest_term(&self) -> Option<&Term> {
        self.leaders.last_key_value().map(|(term, _)| term)
    }

    pub(crate) fn prompt_leaves(&self, message: &Message) {
        assert!(
            matches!(message.body, Body::Prompt(_)),
            "a promise leaves without its write: {message}"
        );
    }

    /// A message leaves of which the sender's disk must know.
    pub(crate) fn promise_leaves(&mut self, message: &Message, nodes: &Nodes) {
        let (term, from, to) = (message.term, message.from, message.to);
        let disk = &nodes[&from].disk;
        let Body::Promise(promise) = message.body else {
            panic!("a prompt waits for a write: {message}");
        };
        assert!(disk.hard.term >= term, "{message} left before its term was durable");
        let is_current = disk.hard.term == term;
        match promise {
            Promise::Vote { .. } => {
                assert!(
                    !is_current || disk.hard.vote == Some(from),
                    "{message}: own vote is not durable"
                );
                self.voted(term, from, from);
            }
            Promise::VoteGranted => {
                assert!(
                    !is_current || disk.hard.vote == Some(to),
                    "{message}: vote is not durable"
                );
                self.voted(term, from, to);
            }
            Promise::AppendAccepted { matched, .. } => {
                let leader = nodes.get(&to).and_then(|node| node.group.as_ref());
                let leader = leader.filter(|leader| leader.term() == term && leader.role() == RoleKind::Leader);
                if let (true, Some(leader)) = (is_current, leader) {
                    let held = disk.term_at(matched);
                    assert!(
                        held.is_some() && (held == leader.term_at(matched) || is_compacted(leader, matched)),
                        "{message}: the disk holds {held:?} there"
                    );
                }
            }
        }
    }

    fn voted(&mut self, term: Term, voter: NodeId, candidate: NodeId) {
        let before = self.votes.insert((term, voter), candidate);
        assert!(
            before.is_none_or(|before| before == candidate),
            "{voter} votes for {before:?} and {candidate} in {term}"
        );
    }

    pub(crate) fn written(&mut self, id: NodeId, write: &Persist) {
        for entry in &write.entries {
            if let Payload::Membership(membership) = &entry.payload {
                self.witnesses.extend(membership.witnesses());
                self.witnesses
                    .extend(membership.next().iter().flat_map(|next| next.witnesses()));
            }
            if self.is_witness(id) {
                assert!(
                    !matches!(entry.payload, Payload::Command(_)),
                    "{id} is a witness and was sent {entry}"
                );
                assert!(self.is_as_written(id, entry), "{id} writes a changed entry");
                continue;
            }
            let before = self.written.insert(entry.id(), entry.clone());
            assert!(
                before.as_ref().is_none_or(|before| before == entry),
                "Log Matching: {entry} and {before:?} share an id"
            );
        }
    }

    /// Whether an entry is what its leader made it, as far as this replica gets to see that.
    fn is_as_written(&self, id: NodeId, entry: &Entry) -> bool {
        self.written.get(&entry.id()).is_none_or(|written| {
            let mut written = written.clone();
            if self.is_witness(id) {
                strip(&mut written);
            }
            written == *entry
        })
    }

    /// A state machine takes the state of a snapshot: it must be what the committed entries make.
    pub(crate) fn restores(&mut self, id: NodeId, state: &[Entry]) {
        for (entry, committed) in state.iter().zip(&self.committed) {
            assert_eq!(entry.id(), *committed, "{id} restores what was not committed");
            assert!(self.is_as_written(id, entry), "{id} restores a changed entry");
        }
        assert!(
            state.len() <= self.committed.len(),
            "{id} restores what was not committed"
        );
        let last = state.last().map_or(LogIndex::ZERO, |entry| entry.index);
        assert_eq!(last.0, state.len() as u64, "{id} restores a state with gaps");
        self.applied.insert(id, last);
    }

    pub(crate) fn applies(&mut self, id: NodeId, entries: &[Entry]) {
        for entry in entries {
            let applied = self.applied.entry(id).or_default();
            assert_eq!(entry.index, applied.next(), "{id} applies out of order");
            *applied = entry.index;
            let position = usize::try_from(entry.index.prev().0).expect("an index fits");
            // The replica's own step made the entry committed, at the latest; that is checked after it.
            if let Some(committed) = self.committed.get(position) {
                assert_eq!(
                    *committed,
                    entry.id(),
                    "State Machine Safety: {id} applies another entry"
                );
            }
            assert!(self.is_as_written(id, entry), "{id} applies a changed entry");
        }
    }

    pub(crate) fn read_asked(&mut self, read: ReadId) {
        self.reads.insert(read, LogIndex(self.committed.len() as u64));
    }

    pub(crate) fn read_answered(&mut self, read: ReadId, outcome: ReadOutcome) {
        let must_see = self.reads.remove(&read).expect("a read is answered once");
        if let ReadOutcome::Ready { index } = outcome {
            assert!(index >= must_see, "stale read: ready at {index}, must see {must_see}");
        }
    }
}

fn is_compacted(group: &Group, index: LogIndex) -> bool {
    index < group.base().index
}

/// Whether no two sets of nodes that could decide, one by each configuration, are without a common node: tried
/// for every set.
pub(crate) fn quorums_meet(one: &Membership, other: &Membership) -> bool {
    let nodes: NodeSet = one.nodes().into_iter().chain(other.nodes()).collect();
    let decides = |membership: &Membership, has: &dyn Fn(NodeId) -> bool| {
        let is_majority = |voters: Vec<NodeId>| {
            voters.is_empty() || voters.iter().filter(|node| has(**node)).count() * 2 > voters.len()
        };
        is_majority(membership.voters().collect()) && is_majority(membership.outgoing().collect())
    };
    (0..1_u32 << nodes.len()).all(|set| {
        let is_in = |node: NodeId| {
            (0..)
                .zip(&nodes)
                .any(|(bit, other)| *other == node && set >> bit & 1 == 1)
        };
        !(decides(one, &is_in) && decides(other, &|node| !is_in(node)))
    })
}

/// Whether a configuration may be committed right after another (paper §6): never one that could decide without
/// the other, and never other voters but through a joint configuration of both.
fn is_legal(before: &Membership, after: &Membership) -> bool {
    let voters = |membership: &Membership| membership.voters().collect::<Vec<_>>();
    let is_step = match (before.is_joint(), after.is_joint()) {
        (true, joint) => !joint && voters(before) == voters(after),
        (false, true) => after.outgoing().collect::<Vec<_>>() == voters(before),
        (false, false) => voters(before) == voters(after),
    };
    is_step && quorums_meet(before, after)
}
