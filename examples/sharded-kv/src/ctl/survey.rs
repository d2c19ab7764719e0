//! What the nodes of a cluster say of the groups that they host, at one moment.

use std::collections::{BTreeMap, BTreeSet};

use super::ask::Fields;
use super::{CtlError, Groups};

/// A replica as its node describes it.
pub(super) struct Replica {
    pub(super) node: u64,
    pub(super) fields: Fields,
}

impl Replica {
    pub(super) fn group(&self) -> u64 {
        self.number("group")
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.number("incarnation")
    }

    /// Who leads, as far as it knows.
    pub(super) fn leader(&self) -> Option<u64> {
        Some(self.number("leader")).filter(|leader| *leader > 0)
    }

    pub(super) fn leads(&self) -> bool {
        self.leader() == Some(self.node)
    }

    /// The term and the index of the last entry of its log: of two logs the greater is newer.
    pub(super) fn last(&self) -> (u64, u64) {
        (self.number("last-term"), self.number("last"))
    }

    /// Whether it runs and lacks nothing of what it acknowledged.
    pub(super) fn is_whole(&self) -> bool {
        self.fields.get("state").is_some_and(|state| state == "running")
    }

    /// Whether it knows nothing yet, and waits to be added.
    pub(super) fn waits(&self) -> bool {
        !["voters", "learners"]
            .iter()
            .any(|role| self.fields.contains_key(*role))
    }

    /// The nodes of the group's newest configuration, in one of its roles.
    pub(super) fn nodes(&self, role: &str) -> BTreeSet<u64> {
        let nodes = self.fields.get(role).map_or("", String::as_str).split(',');
        nodes.filter_map(|node| node.parse().ok()).collect()
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        let value = self.fields.get(name).and_then(|value| value.parse().ok());
        value.unwrap_or_default()
    }
}

/// What all nodes said.
#[derive(Default)]
pub(super) struct Survey {
    groups: BTreeMap<u64, Vec<Replica>>,
    /// The number of replicas on each node, or why it did not say.
    nodes: BTreeMap<u64, Result<usize, CtlError>>,
}

impl Survey {
    /// Takes in what `node` said of the replicas that it hosts.
    pub(super) fn add(&mut self, node: u64, answer: Result<Vec<Fields>, CtlError>) {
        let said = answer.map(|lines| {
            let count = lines.len();
            for fields in lines {
                let replica = Replica { node, fields };
                self.groups.entry(replica.group()).or_default().push(replica);
            }
            count
        });
        self.nodes.insert(node, said);
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (u64, Result<usize, &CtlError>)> {
        self.nodes
            .iter()
            .map(|(node, said)| (*node, said.as_ref().map(|count| *count)))
    }

    /// All replicas of each group.
    pub(super) fn groups(&self) -> impl Iterator<Item = (u64, &[Replica])> {
        self.groups.iter().map(|(group, replicas)| (*group, &replicas[..]))
    }

    /// All replicas of a group, by node.
    pub(super) fn of(&self, group: u64) -> &[Replica] {
        self.groups.get(&group).map_or(&[], Vec::as_slice)
    }

    /// Who leads a group, as far as can be told: a replica that does, or one that hears a leader.
    pub(super) fn leader(&self, group: u64) -> Option<u64> {
        let known = self.of(group).iter().filter(|replica| replica.leader().is_some());
        let newest = known.max_by_key(|replica| (replica.incarnation(), replica.leads(), replica.number("term")));
        newest.and_then(Replica::leader)
    }

    /// The groups that are meant by `wanted`.
    pub(super) fn meant(&self, wanted: &Groups) -> Vec<u64> {
        match wanted.group {
            Some(group) => vec![group],
            None => self.groups.keys().copied().collect(),
        }
    }
}
