//! Sees everything that happens to groups and disks, and has it checked at once.

use super::properties::{self, Property};
use super::shadow::Shadow;
use super::trace::Trace;
use crate::life::Life;
use crate::store::{GroupRecord, StoreContents};
use parking_lot::Mutex;
use raftyard_groups::{Group, GroupId, LogId, NodeId, Payload, Persist, RoleKind, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What can happen to groups and disks.
pub(crate) enum Event<'a> {
    /// A replica took a turn, and this is how it stands.
    Stands(Life, &'a Group),
    /// A replica applies an entry.
    Applies {
        life: Life,
        id: LogId,
        payload: &'a Payload,
    },
    /// A write became durable.
    Writes(&'a Persist),
    /// A replica was noted on a disk.
    Creates(&'a GroupRecord),
    /// A replica was removed from a disk.
    Destroys(Life),
    /// A replica's log was forgotten, because it is of no use.
    Forgets(GroupId),
    /// What is durable on a disk was damaged.
    Rots {
        /// Groups whose snapshots were.
        snapshots_of: &'a [GroupId],
    },
    /// A disk was opened, and holds this.
    Opens(&'a StoreContents),
    /// All members of a group destroyed this life of it.
    Over(Life),
}

/// What was found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property that does not hold.
    pub property: &'static str,
    /// How that shows.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

/// All that is watched in a world. Clones are the same.
#[derive(Clone)]
pub(crate) struct Watchman(Arc<Mutex<State>>);

struct State {
    shadow: Shadow,
    properties: Vec<Box<dyn Property>>,
    /// Who led which life last, as far as the timeline says.
    leaders: BTreeMap<(GroupId, u64), (Term, NodeId)>,
    elections: u64,
    /// How often another replica, or one in another term, led a group than when it was looked before.
    changes_of_leader: BTreeMap<GroupId, u64>,
    /// Replicas whose disks hold all that they know to be committed.
    on_disk: BTreeSet<(NodeId, GroupId)>,
    violation: Option<Violation>,
    trace: Trace,
}

impl Watchman {
    pub(crate) fn new(trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            shadow: Shadow::default(),
            properties: properties::all(),
            leaders: BTreeMap::new(),
            elections: 0,
            changes_of_leader: BTreeMap::new(),
            on_disk: BTreeSet::new(),
            violation: None,
            trace,
        })))
    }

    /// What watches one node.
    pub(crate) fn of(&self, node: NodeId) -> Watch {
        Watch {
            node,
            watchman: self.clone(),
        }
    }

    /// The first thing that was wrong.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.0.lock().violation.clone()
    }

    /// How many leaders were seen.
    pub(crate) fn elections(&self) -> u64 {
        self.0.lock().elections
    }

    /// A number that changes whenever another replica turns out to lead the group, and again and again while two do.
    pub(crate) fn changes_of_leader(&self, group: GroupId) -> u64 {
        self.0.lock().changes_of_leader.get(&group).copied().unwrap_or_default()
    }

    /// Notes that a property does not hold.
    pub(crate) fn violated(&self, property: &'static str, what: String) {
        self.0.lock().violated(property, what);
    }

    /// All members of a group destroyed this life of it.
    pub(crate) fn over(&self, life: Life) {
        self.0.lock().check(NodeId(0), &Event::Over(life));
    }
}

impl State {
    fn violated(&mut self, property: &'static str, what: String) {
        if self.violation.is_none() {
            self.trace.line(format!("VIOLATION of {property}: {what}"));
            self.violation = Some(Violation { property, what });
        }
    }

    fn check(&mut self, node: NodeId, event: &Event<'_>) {
        if self.violation.is_some() {
            return;
        }
        let mut violations = Vec::new();
        if let Err(what) = self.shadow.note(node, event) {
            violations.push(("durability", what));
        }
        for property in &mut self.properties {
            if let Err(what) = property.check(node, event, &self.shadow) {
                violations.push((property.name(), what));
            }
        }
        for (name, what) in violations {
            self.violated(name, what);
        }
    }

    fn note_leader(&mut self, life: Life, group: &Group) {
        if group.role() != RoleKind::Leader {
            return;
        }
        let key = (group.id(), life.incarnation.0);
        let now = (group.term(), group.node());
        let before = self.leaders.get(&key).copied();
        if before != Some(now) {
            *self.changes_of_leader.entry(group.id()).or_default() += 1;
        }
        if before.is_none_or(|before| before.0 < now.0) {
            self.leaders.insert(key, now);
            self.elections += 1;
            let (node, id, term) = (group.node(), group.id(), group.term());
            self.trace.line(format!("{node} leads {id} in {term}"));
        }
    }
}

/// What watches one node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Watch {
    node: NodeId,
    watchman: Watchman,
}

impl Watch {
    /// A replica took a turn.
    pub(crate) fn stands(&self, life: Life, group: &Group) {
        let mut state = self.watchman.0.lock();
        state.check(self.node, &Event::Stands(life, group));
        state.note_leader(life, group);
        let replica = (self.node, life.group);
        if group.commit() <= group.durable() {
            state.on_disk.insert(replica);
        } else {
            state.on_disk.remove(&replica);
        }
    }

    /// A replica applies an entry.
    pub(crate) fn applies(&self, life: Life, id: LogId, payload: &Payload) {
        let event = Event::Applies { life, id, payload };
        self.see(&event);
    }

    /// Something happened to the node's disk.
    pub(crate) fn see(&self, event: &Event<'_>) {
        self.watchman.0.lock().check(self.node, event);
    }

    /// Whether a disk that was opened holds just what it should, had this happened before.
    pub(crate) fn would_explain(&self, events: &[Event<'_>], contents: &StoreContents) -> bool {
        let state = self.watchman.0.lock();
        state.shadow.would_explain(self.node, events, contents)
    }

    /// Whether the node's disk was damaged, and was not opened since.
    pub(crate) fn is_rotten(&self) -> bool {
        self.watchman.0.lock().shadow.is_rotten(self.node)
    }

    /// Groups of which the node's disk lost what it was or that it was destroyed: an operator has to see to them.
    pub(crate) fn amiss(&self) -> Vec<GroupId> {
        self.watchman.0.lock().shadow.amiss(self.node)
    }

    /// Whether the node's disk said of what it holds of a group that it is nothing that could go on.
    pub(crate) fn is_lost(&self, group: GroupId) -> bool {
        let state = self.watchman.0.lock();
        state
            .shadow
            .replica(self.node, group)
            .is_some_and(|replica| replica.is_lost)
    }

    /// An operator saw to a group.
    pub(crate) fn set_right(&self, group: GroupId) {
        self.watchman.0.lock().shadow.set_right(self.node, group);
    }

    /// Whether all that the node's replica of a group may have applied is on its disk.
    pub(crate) fn is_on_disk(&self, group: GroupId) -> bool {
        self.watchman.0.lock().on_disk.contains(&(self.node, group))
    }

    /// The life that the node's disk holds of a group.
    pub(crate) fn life_of(&self, group: GroupId) -> Option<Life> {
        let state = self.watchman.0.lock();
        let incarnation = state.shadow.replica(self.node, group)?.incarnation;
        Some(Life { group, incarnation })
    }
}
