//! What the nodes of a cluster say of the groups that they host, at one moment.

use std::collections::{BTreeMap, BTreeSet};

use super::ask::Fields;
use super::{CtlError, Groups};

/// The names under which a node says who belongs to a group, by role.
pub(super) const ROLES: [&str; 6] = [
    "voters",
    "outgoing",
    "learners",
    "witnesses",
    "next-voters",
    "next-learners",
];

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
        self.state() == "running"
    }

    /// `running`, `damaged` or `stopped`.
    pub(super) fn state(&self) -> &str {
        self.fields.get("state").map_or("", String::as_str)
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

    /// The nodes that belong to the group in whatever role, as far as it knows.
    pub(super) fn members(&self) -> BTreeSet<u64> {
        ROLES.iter().flat_map(|role| self.nodes(role)).collect()
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

    /// Whether a replica is none of the group that others host under its name: it knows none of `nodes`, and none of the
    /// others knows it. So is one of a node that created all groups by itself. What it holds would be taken for the
    /// beginning of the log that they have. (One of another incarnation is not: it makes room before it is added.)
    ///
    /// If its node is none of `nodes`, it does not matter whom it knows: several nodes that created all groups together may
    /// have been told of some of `nodes` by their configuration.
    pub(super) fn is_alien(&self, replica: &Replica, nodes: &BTreeSet<u64>) -> bool {
        let others = || {
            self.of(replica.group())
                .iter()
                .filter(|other| other.node != replica.node)
        };
        let newest = others().map(Replica::incarnation).max();
        let knows = |node: &u64| *node != replica.node && nodes.contains(node);
        let founded = if nodes.contains(&replica.node) {
            newest == Some(replica.incarnation()) && !replica.members().iter().any(knows)
        } else {
            newest.is_some()
        };
        founded && !replica.waits() && others().all(|other| !other.members().contains(&replica.node))
    }

    /// The groups that are meant by `wanted`.
    pub(super) fn meant(&self, wanted: &Groups) -> Vec<u64> {
        match wanted.group {
            Some(group) => vec![group],
            None => self.groups.keys().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::ask::fields;

    /// As `node` says it, of group 1.
    fn replica(node: u64, line: &str) -> Replica {
        let fields = fields(&format!("group=1 {line}"));
        Replica { node, fields }
    }

    #[test]
    fn who_created_a_group_by_itself_is_alien_to_it() {
        let cases = [
            ("incarnation=1 voters=4", true),
            ("incarnation=1 voters=4,5", true),
            ("incarnation=1", false),
            // It was rebuilt since, and gives up what it holds.
            ("incarnation=0 voters=4", false),
            // It belonged to the group, and comes back.
            ("incarnation=1 voters=1,2,4", false),
        ];
        for (line, is_alien) in cases {
            for members in ["voters=1,2", "voters=1,2 learners=4"] {
                let mut survey = Survey::default();
                for node in [1, 2] {
                    let said = replica(node, &format!("incarnation=1 {members}"));
                    survey.add(node, Ok(vec![said.fields]));
                }
                let nodes = BTreeSet::from([1, 2, 4]);
                let expected = is_alien && !members.contains('4');
                assert_eq!(
                    survey.is_alien(&replica(4, line), &nodes),
                    expected,
                    "{line}, {members}"
                );
            }
        }
        let alone = Survey::default();
        let founder = replica(4, "incarnation=1 voters=4");
        assert!(!alone.is_alien(&founder, &BTreeSet::from([4])), "nobody else hosts it");
    }

    /// It may have elected a leader together with others that nobody knows either, and names whom its configuration named.
    #[test]
    fn of_a_node_that_nobody_knows_only_what_waits_is_taken() {
        let cases = [
            ("incarnation=1", false),
            ("incarnation=1 voters=1,2,3", true),
            ("incarnation=1 voters=1,2,3,4", true),
            ("incarnation=2 voters=4", true),
            ("incarnation=0 voters=1,4", true),
        ];
        for (line, is_alien) in cases {
            let mut survey = Survey::default();
            survey.add(1, Ok(vec![replica(1, "incarnation=1 voters=1,2").fields]));
            let nodes = BTreeSet::from([1, 2]);
            assert_eq!(survey.is_alien(&replica(4, line), &nodes), is_alien, "{line}");
        }
        let mut survey = Survey::default();
        survey.add(1, Ok(vec![replica(1, "incarnation=1 voters=1,2,4").fields]));
        let member = replica(4, "incarnation=1 voters=1,2,4");
        let nodes = BTreeSet::from([1, 2]);
        assert!(!survey.is_alien(&member, &nodes), "whom it was added by told others");
    }
}
