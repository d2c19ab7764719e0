//! Which groups of a worker have to look when something happens between this node and a peer: those that sleep on
//! that peer's node.

use raftyard_groups::{Moment, NodeId};
use std::collections::BTreeMap;

/// Groups woken per millisecond when many are: each costs its peers messages, and perhaps an election.
const WAKES_PER_MS: u64 = 5;

/// By peer, the positions that sleep on it: a bit each, so that a hundred thousand groups fit a few pages.
#[derive(Default)]
pub(crate) struct Sleepers(BTreeMap<NodeId, Vec<u64>>);

impl Sleepers {
    /// The group at `position` sleeps on these nodes from now on, and on no others; it is awake if there are none.
    pub(crate) fn set(&mut self, position: usize, nodes: &[NodeId]) {
        let (word, bit) = (position / 64, 1_u64 << (position % 64));
        for (node, positions) in &mut self.0 {
            if let Some(word) = positions.get_mut(word)
                && !nodes.contains(node)
            {
                *word &= !bit;
            }
        }
        for node in nodes {
            let positions = self.0.entry(*node).or_default();
            if positions.len() <= word {
                positions.resize(word + 1, 0);
            }
            if let Some(word) = positions.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Who sleeps on a node, in order.
    pub(crate) fn on(&self, node: NodeId) -> impl Iterator<Item = usize> + '_ {
        let words = self.0.get(&node).into_iter().flatten().enumerate();
        words.flat_map(|(at, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
    }

    /// Who has to look after something happened between this node and another, and when: spread over a time that
    /// grows with their number.
    pub(crate) fn wake(&self, node: NodeId, now: Moment) -> impl Iterator<Item = (usize, Moment)> + '_ {
        (0_u64..).zip(self.on(node)).map(move |(turn, position)| (position, now.plus(turn / WAKES_PER_MS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(sleepers: &Sleepers, node: u64) -> Vec<usize> {
        sleepers.on(NodeId(node)).collect()
    }

    #[test]
    fn a_group_is_found_by_each_node_that_it_sleeps_on() {
        let mut sleepers = Sleepers::default();
        sleepers.set(0, &[NodeId(2), NodeId(3)]);
        sleepers.set(63, &[NodeId(2)]);
        sleepers.set(64, &[NodeId(2)]);
        sleepers.set(700, &[NodeId(3)]);
        assert_eq!(on(&sleepers, 2), [0, 63, 64]);
        assert_eq!(on(&sleepers, 3), [0, 700]);
        assert_eq!(on(&sleepers, 4), [0; 0]);
        sleepers.set(0, &[NodeId(3)]);
        sleepers.set(64, &[]);
        assert_eq!(on(&sleepers, 2), [63]);
        assert_eq!(on(&sleepers, 3), [0, 700]);
    }

    #[test]
    fn many_are_woken_one_after_the_other() {
        let mut sleepers = Sleepers::default();
        for position in 0..1_000 {
            sleepers.set(position, &[NodeId(2)]);
        }
        let woken: Vec<_> = sleepers.wake(NodeId(2), Moment(50)).collect();
        assert_eq!(woken.len(), 1_000);
        assert_eq!(woken.first(), Some(&(0, Moment(50))));
        assert_eq!(woken.last(), Some(&(999, Moment(50 + 999 / WAKES_PER_MS))));
        assert!(woken.is_sorted_by_key(|(_, moment)| *moment));
    }
}
