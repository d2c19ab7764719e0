//! How many groups of a worker elect at once.
//!
//! An election is a dozen messages and three writes on all members. If a hundred thousand groups campaign at once,
//! because they were just created or the nodes just started, none is elected in time: each waits for the messages of
//! all the others, times out, and campaigns again. So who wants to campaign stands in line, and the line moves as
//! fast as elections come to an end.
//!
//! Groups of which, as far as the node knows, no quorum lives stand in a line of their own, so that those that can be
//! elected don't wait for them.

use raftyard_groups::Moment;
use std::collections::{BTreeMap, VecDeque};

/// Elections of a worker's groups at once.
const AT_ONCE: usize = 256;

/// And how many of them may be of groups that hardly can be elected.
const HOPELESS_AT_ONCE: usize = 32;

/// An election that takes longer does not count any more. Milliseconds.
const PATIENCE_MS: u64 = 200;

/// Who campaigns, and who waits to. By position on the worker.
#[derive(Default)]
pub(crate) struct Elections {
    /// Until when they count.
    running: BTreeMap<usize, Moment>,
    waiting: VecDeque<usize>,
    hopeless: VecDeque<usize>,
}

impl Elections {
    /// Whether the group may campaign now. If not it stands in line until [`next`](Self::next) names it.
    pub(super) fn enter(&mut self, position: usize, is_hopeful: bool, now: Moment) -> bool {
        if self.running.contains_key(&position) {
            return true;
        }
        let (line, at_once) = if is_hopeful {
            (&mut self.waiting, AT_ONCE)
        } else {
            (&mut self.hopeless, HOPELESS_AT_ONCE)
        };
        let may = line.is_empty() && self.running.len() < at_once;
        if may {
            self.running.insert(position, now.plus(PATIENCE_MS));
        } else {
            line.push_back(position);
        }
        may
    }

    /// The group's election is over.
    pub(super) fn leave(&mut self, position: usize) {
        self.running.remove(&position);
    }

    /// Nobody is at this position any more.
    pub(super) fn clear(&mut self, position: usize) {
        self.leave(position);
        self.waiting.retain(|waits| *waits != position);
        self.hopeless.retain(|waits| *waits != position);
    }

    /// It has changed which nodes live: everybody may hope again.
    pub(super) fn hope(&mut self) {
        self.waiting.append(&mut self.hopeless);
    }

    /// No longer counts elections that take too long.
    pub(super) fn expire(&mut self, now: Moment) {
        self.running.retain(|_, until| now < *until);
    }

    /// The next group that may campaign, if there is room: it is to be given a turn. And whether it was hopeful when
    /// it was told to wait, or had reason to hope since.
    pub(super) fn next(&mut self, now: Moment) -> Option<(usize, bool)> {
        let hopeful = |position| (position, true);
        let next = match self.running.len() {
            AT_ONCE.. => None,
            HOPELESS_AT_ONCE.. => self.waiting.pop_front().map(hopeful),
            _ => {
                let hopeless = &mut self.hopeless;
                let next = self.waiting.pop_front().map(hopeful);
                next.or_else(|| hopeless.pop_front().map(|position| (position, false)))
            }
        }?;
        self.running.insert(next.0, now.plus(PATIENCE_MS));
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(1_000);

    fn named(elections: &mut Elections, now: Moment) -> Vec<usize> {
        std::iter::from_fn(|| elections.next(now).map(|(position, _)| position)).collect()
    }

    #[test]
    fn who_does_not_fit_waits_until_others_are_done() {
        let mut elections = Elections::default();
        let entered = (0..AT_ONCE + 3).filter(|position| elections.enter(*position, true, NOW));
        assert_eq!(entered.count(), AT_ONCE);
        assert!(elections.enter(5, true, NOW), "it does already");
        assert_eq!(named(&mut elections, NOW), [0; 0]);
        elections.leave(7);
        elections.leave(9);
        assert!(!elections.enter(7, true, NOW), "others came before");
        assert_eq!(named(&mut elections, NOW), [AT_ONCE, AT_ONCE + 1]);
        elections.clear(AT_ONCE + 2);
        elections.expire(NOW.plus(PATIENCE_MS - 1));
        assert_eq!(named(&mut elections, NOW), [0; 0]);
        elections.expire(NOW.plus(PATIENCE_MS));
        assert_eq!(named(&mut elections, NOW), [7]);
    }

    #[test]
    fn who_can_not_be_elected_keeps_nobody_waiting() {
        let mut elections = Elections::default();
        let entered = (0..1_000).filter(|position| elections.enter(*position, false, NOW));
        assert_eq!(entered.count(), HOPELESS_AT_ONCE);
        assert!(elections.enter(2_000, true, NOW));
        assert_eq!(named(&mut elections, NOW), [0; 0]);
        elections.expire(NOW.plus(PATIENCE_MS));
        assert_eq!(named(&mut elections, NOW).len(), HOPELESS_AT_ONCE, "each has its turn");
        elections.hope();
        assert_eq!(named(&mut elections, NOW).len(), AT_ONCE - HOPELESS_AT_ONCE);
    }
}
