//! Whether what groups send to each peer arrives there.

use crate::transport::Flow;
use raftyard_groups::{Moment, NodeId};
use std::collections::BTreeMap;

/// Since when nothing moved, by peer.
#[derive(Debug, Default)]
pub(super) struct Moving(BTreeMap<NodeId, (u64, Moment)>);

impl Moving {
    /// What the flows are now, of all peers.
    pub(super) fn look(&mut self, now: Moment, flows: &BTreeMap<NodeId, Flow>) {
        self.0.retain(|peer, _| flows.contains_key(peer));
        for (peer, flow) in flows {
            let seen = self.0.entry(*peer).or_insert((flow.moved, now));
            if !flow.owes || seen.0 != flow.moved {
                *seen = (flow.moved, now);
            }
        }
    }

    /// Whether nothing was owed to the peer, or something moved towards it, within the last `limit_ms`.
    pub(super) fn moves(&self, peer: NodeId, now: Moment, limit_ms: u64) -> bool {
        self.0
            .get(&peer)
            .is_some_and(|(_, since)| now.since(*since) <= limit_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(moving: &mut Moving, now: u64, owes: bool, moved: u64) -> bool {
        let flow = Flow { owes, moved };
        moving.look(Moment(now), &BTreeMap::from([(NodeId(2), flow)]));
        moving.moves(NodeId(2), Moment(now), 300)
    }

    #[test]
    fn what_is_owed_has_to_move() {
        let mut moving = Moving::default();
        assert!(look(&mut moving, 0, false, 0));
        assert!(look(&mut moving, 1_000, false, 0), "nothing is owed");
        assert!(look(&mut moving, 1_300, true, 0));
        assert!(!look(&mut moving, 1_301, true, 0), "it stands");
        assert!(look(&mut moving, 1_400, true, 1), "it moved");
        assert!(!look(&mut moving, 1_701, true, 1));
        assert!(look(&mut moving, 1_702, false, 2));
    }

    #[test]
    fn a_peer_that_is_gone_is_forgotten() {
        let mut moving = Moving::default();
        look(&mut moving, 0, true, 0);
        moving.look(Moment(1), &BTreeMap::new());
        assert!(!moving.moves(NodeId(2), Moment(1), 300));
        assert!(look(&mut moving, 5_000, true, 0), "it begins anew");
    }
}
