//! When each group of a worker wants to be ticked: an array, scanned by one timer, because a timer per group
//! would cost more than the groups. It is scanned only when something can be due: groups that sleep want nothing.

use raftyard_groups::Moment;

/// By a group's position on its worker.
pub(crate) struct Deadlines {
    wanted: Vec<u64>,
    /// None of them is earlier.
    earliest: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            wanted: Vec::new(),
            earliest: u64::MAX,
        }
    }
}

impl Deadlines {
    pub(crate) fn set(&mut self, position: usize, deadline: Moment) {
        if self.wanted.len() <= position {
            self.wanted.resize(position + 1, u64::MAX);
        }
        if let Some(slot) = self.wanted.get_mut(position) {
            *slot = deadline.0;
        }
        self.earliest = self.earliest.min(deadline.0);
    }

    /// No later than this.
    pub(crate) fn bring_forward(&mut self, position: usize, deadline: Moment) {
        let wanted = self.wanted.get(position).copied().unwrap_or(u64::MAX);
        self.set(position, Moment(wanted.min(deadline.0)));
    }

    /// Nobody is at this position any more.
    pub(crate) fn clear(&mut self, position: usize) {
        if let Some(slot) = self.wanted.get_mut(position) {
            *slot = u64::MAX;
        }
    }

    /// Whether one may come before `moment`.
    pub(crate) fn is_any_before(&self, moment: Moment) -> bool {
        self.earliest < moment.0
    }

    /// Positions whose deadline has come: those that have waited longest, at most `max`. They are due until they are
    /// set again.
    pub(crate) fn due(&mut self, now: Moment, max: usize) -> Vec<usize> {
        if now.0 < self.earliest {
            return Vec::new();
        }
        self.earliest = self.wanted.iter().copied().min().unwrap_or(u64::MAX);
        let wanted = self.wanted.iter().enumerate();
        let mut due: Vec<(u64, usize)> = wanted
            .filter_map(|(position, deadline)| (*deadline <= now.0).then_some((*deadline, position)))
            .collect();
        due.sort_unstable();
        due.truncate(max);
        due.into_iter().map(|(_, position)| position).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines(wanted: &[u64]) -> Deadlines {
        let mut deadlines = Deadlines::default();
        for (position, deadline) in wanted.iter().enumerate() {
            deadlines.set(position, Moment(*deadline));
        }
        deadlines
    }

    #[test]
    fn what_is_due_stays_due_until_it_is_set_again() {
        let mut deadlines = deadlines(&[5, 9, 5]);
        assert_eq!(deadlines.due(Moment(4), 9), [0; 0]);
        assert_eq!(deadlines.due(Moment(5), 9), [0, 2]);
        assert_eq!(deadlines.due(Moment(5), 9), [0, 2]);
        deadlines.set(0, Moment(20));
        deadlines.clear(2);
        assert_eq!(deadlines.due(Moment(8), 9), [0; 0]);
        assert_eq!(deadlines.due(Moment(9), 9), [1]);
    }

    #[test]
    fn a_deadline_that_is_brought_forward_is_never_put_off() {
        let mut deadlines = deadlines(&[5]);
        deadlines.bring_forward(0, Moment(9));
        assert_eq!(deadlines.due(Moment(5), 9), [0]);
        deadlines.bring_forward(0, Moment(2));
        deadlines.bring_forward(3, Moment(2));
        assert_eq!(deadlines.due(Moment(2), 9), [0, 3]);
    }

    #[test]
    fn those_who_wait_longest_come_first() {
        let mut deadlines = deadlines(&[9, 5, 7, 5, 20]);
        assert_eq!(deadlines.due(Moment(10), 3), [1, 3, 2]);
        deadlines.set(1, Moment(30));
        assert_eq!(deadlines.due(Moment(10), 3), [3, 2, 0]);
    }

    #[test]
    fn who_sleeps_is_never_due() {
        let mut deadlines = deadlines(&[u64::MAX, 3]);
        assert_eq!(deadlines.due(Moment(3), 9), [1]);
        deadlines.set(1, Moment(u64::MAX));
        assert_eq!(deadlines.due(Moment(u64::MAX - 1), 9), [0; 0]);
        assert_eq!(deadlines.due(Moment(u64::MAX - 1), 9), [0; 0]);
        deadlines.set(1, Moment(7));
        assert_eq!(deadlines.due(Moment(7), 9), [1]);
    }
}
