//! When each group of a worker wants to be ticked: an array, scanned by one timer, because a timer per group
//! would cost more than the groups.

use raftyard_groups::Moment;

/// By a group's position on its worker.
#[derive(Default)]
pub(crate) struct Deadlines(Vec<u64>);

impl Deadlines {
    pub(crate) fn set(&mut self, position: usize, deadline: Moment) {
        if self.0.len() <= position {
            self.0.resize(position + 1, u64::MAX);
        }
        if let Some(slot) = self.0.get_mut(position) {
            *slot = deadline.0;
        }
    }

    /// Nobody is at this position any more.
    pub(crate) fn clear(&mut self, position: usize) {
        if let Some(slot) = self.0.get_mut(position) {
            *slot = u64::MAX;
        }
    }

    /// Positions whose deadline has come, in order.
    pub(crate) fn due(&self, now: Moment) -> impl Iterator<Item = usize> + '_ {
        self.0
            .iter()
            .enumerate()
            .filter_map(move |(position, deadline)| (*deadline <= now.0).then_some(position))
    }
}
