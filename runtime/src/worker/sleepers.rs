//! Which groups of a worker have to look when something happens between this node and a peer: those that sleep on
//! that peer's node.

use raftyard_groups::{Moment, NodeId, PairEvent};
use std::collections::BTreeMap;

/// Leaders woken per millisecond when many are: each may have to tell its peers something.
const WAKES_PER_MS: u64 = 5;

/// What a group that sleeps waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sleep<'a> {
    /// Nothing: it is awake.
    None,
    /// A follower: until the session ends that this node grants to its leader's.
    Follower(&'a [NodeId]),
    /// A leader: until what it counts on changes, by these nodes.
    Leader(&'a [NodeId]),
}

/// By what they wait for.
#[derive(Default)]
pub(crate) struct Sleepers {
    followers: Index,
    leaders: Index,
}

impl Sleepers {
    /// The group at `position` sleeps like that from now on.
    pub(crate) fn set(&mut self, position: usize, sleep: Sleep<'_>) {
        let (followed, backing) = match sleep {
            Sleep::None => (&[][..], &[][..]),
            Sleep::Follower(nodes) => (nodes, &[][..]),
            Sleep::Leader(nodes) => (&[][..], nodes),
        };
        self.followers.set(position, followed);
        self.leaders.set(position, backing);
    }

    /// Nobody is at this position any more.
    pub(crate) fn clear(&mut self, position: usize) {
        self.set(position, Sleep::None);
    }

    /// Who has to look after `event`, and when: leaders spread over a time that grows with their number, followers at
    /// once, since each then draws a moment to campaign at, and elections wait for each other (`elections.rs`).
    pub(crate) fn woken_by(&self, event: &PairEvent, now: Moment) -> impl Iterator<Item = (usize, Moment)> + '_ {
        let woken = match event {
            PairEvent::Ended { peer, .. } => Some((&self.followers, *peer, u64::MAX)),
            PairEvent::Lapsed { peer } | PairEvent::Regained { peer } | PairEvent::Changed { peer } => {
                Some((&self.leaders, *peer, WAKES_PER_MS))
            }
            // Nobody sleeps before.
            PairEvent::StartWaitOver => None,
        };
        let positions = woken.into_iter().flat_map(|(index, peer, per_ms)| {
            let turns = 0_u64..;
            turns
                .zip(index.on(peer))
                .map(move |(turn, position)| (position, turn / per_ms))
        });
        positions.map(move |(position, ms)| (position, now.plus(ms)))
    }
}

/// By peer, positions: a bit each, so that a hundred thousand groups fit a few pages.
#[derive(Default)]
struct Index(BTreeMap<NodeId, Vec<u64>>);

impl Index {
    /// `position` is found by these nodes, and by no others.
    fn set(&mut self, position: usize, nodes: &[NodeId]) {
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

    /// Who is found by a node, in order.
    fn on(&self, node: NodeId) -> impl Iterator<Item = usize> + '_ {
        let words = self.0.get(&node).into_iter().flatten().enumerate();
        words.flat_map(|(at, word)| {
            let bits = (0..64).filter(move |bit| (word >> bit) & 1 == 1);
            bits.map(move |bit| at * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftyard_groups::SessionId;

    const LAPSED: PairEvent = PairEvent::Lapsed { peer: NodeId(2) };

    fn on(index: &Index, node: u64) -> Vec<usize> {
        index.on(NodeId(node)).collect()
    }

    fn woken(sleepers: &Sleepers, event: &PairEvent) -> Vec<usize> {
        sleepers
            .woken_by(event, Moment(0))
            .map(|(position, _)| position)
            .collect()
    }

    #[test]
    fn a_group_is_found_by_each_node_that_it_sleeps_on() {
        let mut index = Index::default();
        index.set(0, &[NodeId(2), NodeId(3)]);
        index.set(63, &[NodeId(2)]);
        index.set(64, &[NodeId(2)]);
        index.set(700, &[NodeId(3)]);
        assert_eq!(on(&index, 2), [0, 63, 64]);
        assert_eq!(on(&index, 3), [0, 700]);
        assert_eq!(on(&index, 4), [0; 0]);
        index.set(0, &[NodeId(3)]);
        index.set(64, &[]);
        assert_eq!(on(&index, 2), [63]);
        assert_eq!(on(&index, 3), [0, 700]);
    }

    #[test]
    fn followers_and_leaders_are_woken_by_what_they_wait_for() {
        let mut sleepers = Sleepers::default();
        sleepers.set(0, Sleep::Follower(&[NodeId(2)]));
        sleepers.set(1, Sleep::Leader(&[NodeId(2), NodeId(3)]));
        let ended = PairEvent::Ended {
            peer: NodeId(2),
            session: SessionId::default(),
        };
        assert_eq!(woken(&sleepers, &ended), [0]);
        assert_eq!(woken(&sleepers, &LAPSED), [1]);
        assert_eq!(woken(&sleepers, &PairEvent::Regained { peer: NodeId(3) }), [1]);
        assert_eq!(woken(&sleepers, &PairEvent::StartWaitOver), [0; 0]);
        // The next time the other one leads.
        sleepers.set(0, Sleep::Leader(&[NodeId(2)]));
        sleepers.set(1, Sleep::None);
        assert_eq!(woken(&sleepers, &ended), [0; 0]);
        assert_eq!(woken(&sleepers, &LAPSED), [0]);
        sleepers.clear(0);
        assert_eq!(woken(&sleepers, &LAPSED), [0; 0]);
    }

    #[test]
    fn many_are_woken_one_after_the_other() {
        let mut sleepers = Sleepers::default();
        for position in 0..1_000 {
            sleepers.set(position, Sleep::Leader(&[NodeId(2)]));
        }
        let woken: Vec<_> = sleepers.woken_by(&LAPSED, Moment(50)).collect();
        assert_eq!(woken.len(), 1_000);
        assert_eq!(woken.first(), Some(&(0, Moment(50))));
        assert_eq!(woken.last(), Some(&(999, Moment(50 + 999 / WAKES_PER_MS))));
        assert!(woken.is_sorted_by_key(|(_, moment)| *moment));
        for position in 0..1_000 {
            sleepers.set(position, Sleep::Follower(&[NodeId(2)]));
        }
        let ended = PairEvent::Ended {
            peer: NodeId(2),
            session: SessionId::default(),
        };
        let woken: Vec<_> = sleepers.woken_by(&ended, Moment(50)).collect();
        assert_eq!(woken.len(), 1_000);
        assert!(woken.iter().all(|(_, moment)| *moment == Moment(50)));
    }
}
