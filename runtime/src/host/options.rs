//! What can be said of a group when it is created.

use raftyard_groups::Incarnation;

/// What can be said of a group when it is created. The default says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupOptions {
    pub(super) incarnation: Option<Incarnation>,
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
}
