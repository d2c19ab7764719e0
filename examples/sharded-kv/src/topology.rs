//! Who is in the cluster and who leads what: the picture that clients discover.

use std::collections::BTreeSet;

use raftyard::NodeId;

use crate::address::HostPort;
use crate::slots::ShardMap;

/// The nodes of the cluster and how slots are dealt to groups, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    me: NodeId,
    shard_map: ShardMap,
    /// Ordered by node id.
    members: Vec<Member>,
}

/// A node as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node: NodeId,
    /// The name clients know it by: 40 hexadecimal digits.
    pub(crate) name: String,
    /// Where clients find it.
    pub(crate) resp: HostPort,
    /// The port it speaks to other nodes on.
    pub(crate) peer_port: u16,
}

impl Member {
    /// A node of `cluster`.
    pub(crate) fn new(cluster: &str, node: NodeId, resp: HostPort, peer_port: u16) -> Self {
        Self {
            node,
            name: node_name(cluster, node),
            resp,
            peer_port,
        }
    }
}

/// 40 hexadecimal digits that stay the same for ever and differ between nodes: 24 mix the cluster's name
/// and the node's id (the short names that tools print differ too), 16 are the id itself.
fn node_name(cluster: &str, node: NodeId) -> String {
    let of_cluster = fnv1a(0xcbf2_9ce4_8422_2325, cluster.as_bytes());
    let of_both = spread(fnv1a(of_cluster, &node.0.to_be_bytes()));
    format!("{of_both:016x}{:08x}{:016x}", of_cluster >> 32, node.0)
}

/// The 64-bit FNV-1a hash.
fn fnv1a(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Lets every bit of `hash` change the first digits, which FNV leaves alike for ids that follow each other (the last
/// step of MurmurHash3).
fn spread(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Slots in a row that have the same leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LedRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) leader: NodeId,
}

impl Topology {
    /// `members` are all nodes of the cluster, `me` among them.
    pub(crate) fn new(me: NodeId, shard_map: ShardMap, mut members: Vec<Member>) -> Self {
        members.sort_by_key(|member| member.node);
        Self { me, shard_map, members }
    }

    /// The same with this node, in the place of what was known of it.
    pub(crate) fn with(&self, member: Member) -> Self {
        let mut members = self.members.clone();
        members.retain(|other| other.node != member.node);
        members.push(member);
        Self::new(self.me, self.shard_map, members)
    }

    /// The same with this node itself and `nodes` alone.
    pub(crate) fn only(&self, nodes: &BTreeSet<NodeId>) -> Self {
        let belongs = |member: &&Member| member.node == self.me || nodes.contains(&member.node);
        let members = self.members.iter().filter(belongs).cloned().collect();
        Self::new(self.me, self.shard_map, members)
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// The name of this node.
    pub(crate) fn my_name(&self) -> &str {
        self.member(self.me).map_or("", |member| member.name.as_str())
    }

    /// The master that `node` is a replica of, if it leads none of `ranges`, which are all that are led: the first of
    /// them all, as every node has a replica of everything.
    pub(crate) fn master_of(&self, node: NodeId, ranges: &[LedRange]) -> Option<&Member> {
        let leads = ranges.iter().any(|range| range.leader == node);
        let first = ranges.first().filter(|_| !leads)?;
        self.member(first.leader)
    }

    /// The slots that have a leader, in order. `leaders` has one place per group; a group whose leader is not known
    /// leaves a gap.
    pub(crate) fn led_ranges(&self, leaders: &[Option<NodeId>]) -> Vec<LedRange> {
        let mut ranges: Vec<LedRange> = Vec::new();
        for (place, leader) in (0..self.shard_map.groups()).zip(leaders) {
            let Some(leader) = *leader else { continue };
            let slots = self.shard_map.slots_of(place);
            match ranges.last_mut() {
                Some(range) if range.leader == leader && range.last + 1 == *slots.start() => {
                    range.last = *slots.end();
                }
                _ => ranges.push(LedRange {
                    first: *slots.start(),
                    last: *slots.end(),
                    leader,
                }),
            }
        }
        ranges
    }
}

#[cfg(test)]
impl Topology {
    /// The same cluster, seen from another node.
    pub(crate) fn seen_from(&self, me: NodeId) -> Self {
        Self { me, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_forty_hex_digits_and_differ() {
        let mut names: Vec<String> = ["a", "b", ""]
            .iter()
            .flat_map(|cluster| (1..=100).map(|node| node_name(cluster, NodeId(node))))
            .collect();
        for name in &names {
            assert_eq!(name.len(), 40);
            assert!(name.bytes().all(|b| b.is_ascii_hexdigit()));
        }
        let count = names.len();
        names.sort();
        names.dedup_by(|a, b| a[..8] == b[..8]);
        assert_eq!(names.len(), count, "short names differ too");
        // What clients remember a node by must not change with a new version.
        assert_eq!(
            node_name("example", NodeId(1)),
            "f2298fc256af52c3430b14830000000000000001"
        );
    }

    #[test]
    fn neighbours_with_one_leader_are_one_range() {
        let map = ShardMap::new(4).unwrap();
        let topology = Topology::new(NodeId(1), map, vec![]);
        let (one, two) = (Some(NodeId(1)), Some(NodeId(2)));
        let range = |first, last, node| LedRange {
            first,
            last,
            leader: NodeId(node),
        };
        assert_eq!(
            topology.led_ranges(&[one, one, two, one]),
            [range(0, 8191, 1), range(8192, 12287, 2), range(12288, 16383, 1)]
        );
        assert_eq!(
            topology.led_ranges(&[one, None, one, None]),
            [range(0, 4095, 1), range(8192, 12287, 1)]
        );
    }
}
