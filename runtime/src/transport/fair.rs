//! Fair frames: a group that has megabytes to send to a peer does not make the other groups' messages wait for them.
//!
//! Messages fill one frame after the other. Once more than one frame waits, a group of which nothing waits in the
//! later frames puts its message into an earlier one, for which each frame keeps some room: so it leaves with the next
//! frame, not behind all that was queued before. A group's messages keep their order.

use crate::registry::IdMap;
use raftyard_groups::GroupId;

/// Which groups have messages in which of the frames that wait. Frames are numbered in the order in which they leave.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Of groups with messages in others than the first frame: the last frame that has one.
    last: IdMap<GroupId, u64>,
}

impl Places {
    /// A message of the group was put into frame `number`, which is not the first.
    pub(super) fn put(&mut self, group: GroupId, number: u64) {
        self.last.insert(group, number);
    }

    /// The earliest frame that a message of the group may be put into, if `first` is the first that waits.
    pub(super) fn earliest(&self, group: GroupId, first: u64) -> u64 {
        self.last.get(&group).map_or(first, |last| first.max(*last))
    }

    /// Whether a message of the group waits in the later half of the `frames` frames that wait.
    pub(super) fn is_far_behind(&self, group: GroupId, first: u64, frames: usize) -> bool {
        self.earliest(group, first) - first > frames as u64 / 2
    }

    /// At most one frame waits.
    pub(super) fn clear(&mut self) {
        if !self.last.is_empty() {
            self.last = IdMap::default();
        }
    }
}
