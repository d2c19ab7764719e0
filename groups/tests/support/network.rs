//! The simulated network: one queue per directed link, which can be cut, shuffled and emptied.

use raftyard_groups::{Message, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// From, to.
pub(crate) type Link = (NodeId, NodeId);

#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    /// What is on its way.
    pub(crate) queues: BTreeMap<Link, VecDeque<Message>>,
    /// What was put aside to arrive late.
    pub(crate) late: BTreeMap<Link, VecDeque<Message>>,
    /// Links that lose everything.
    pub(crate) cut: BTreeSet<Link>,
}

impl Network {
    /// False if the message is lost.
    pub(crate) fn send(&mut self, message: Message) -> bool {
        let link = (message.from, message.to);
        if self.cut.contains(&link) {
            return false;
        }
        self.queues.entry(link).or_default().push_back(message);
        true
    }

    pub(crate) fn queue(&mut self, link: Link) -> &mut VecDeque<Message> {
        self.queues.entry(link).or_default()
    }

    pub(crate) fn busy_links(&self) -> Vec<Link> {
        let busy = self.queues.iter().filter(|(_, queue)| !queue.is_empty());
        busy.map(|(link, _)| *link).collect()
    }

    /// From now on the link loses everything, what is on its way included.
    pub(crate) fn cut(&mut self, link: Link) {
        self.cut.insert(link);
        self.queue(link).clear();
    }

    /// Cuts all links, both ways, between the two sides.
    pub(crate) fn cut_between(&mut self, one: &[NodeId], other: &[NodeId]) {
        for a in one {
            for b in other {
                self.cut((*a, *b));
                self.cut((*b, *a));
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }
}
