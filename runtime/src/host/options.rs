//! What can be said of a group when it is created.

use raftyard_groups::Incarnation;

/// What can be said of a group when it is created. The default says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupOptions {
    pub(super) incarnation: Option<Incarnation>,
    pub(super) priority: u8,
}

impl GroupOptions {
    /// Which life of the group this is. By default the one after the last that was destroyed on this node, the first
    /// if none was.
    ///
    /// Replicas of different incarnations never hear each other, so all members have to agree. They do by themselves
    /// if the group was destroyed on all of them equally often. If not, take the greatest
    /// [`next_incarnation`](crate::RaftHost::next_incarnation) of all members.
    #[must_use]
    pub fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = Some(incarnation);
        self
    }

    /// How much this node's replica wants to lead, 0 by default: those of a higher priority campaign earlier when a
    /// leader is lost, and get the leadership handed over by one of a lower. Of this run alone: it is not kept on disk.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }
}
