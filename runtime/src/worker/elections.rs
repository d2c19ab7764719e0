//! How many groups of a worker elect at once.
//!
//! An election is a dozen messages and three writes on all members. If a hundred thousand groups campaign at once,
//! because they were just created or the nodes just started, none is elected in time: each waits for the messages of
//! all the others, times out, and campaigns again. So who wants to campaign stands in line, and the line moves as
//! fast as elections come to an end. On a worker that has more to do than fits into its turns it hardly moves: the
//! groups that were elected have to get to sleep first.
//!
//! Groups of which, as far as the node knows, no quorum lives stand in a line of their own, so that those that can be
//! elected don't wait for them.

use raftyard_groups::{Moment, Outlook};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Elections of a worker's groups at once.
const AT_ONCE: usize = 64;

/// And how many of them may be of groups that hardly can be elected.
const HOPELESS_AT_ONCE: usize = 16;

/// An election that takes longer does not count any more. Milliseconds.
const PATIENCE_MS: u64 = 1_000;

/// The same of a group that hardly can be elected.
const HOPELESS_PATIENCE_MS: u64 = 200;

/// One of so many that are called is none of the first ones, should there be others.
const OTHERS: usize = 8;

/// Elections that begin per tick on a worker that is behind.
const PER_TICK_BEHIND: usize = 16;

/// Who campaigns, and who waits to. By position on the worker.
#[derive(Default)]
pub(crate) struct Elections {
    /// Until when they count.
    running: BTreeMap<usize, Moment>,
    /// Those that shall lead from the start: whoever else is in their groups waits for them.
    first: VecDeque<usize>,
    waiting: VecDeque<usize>,
    hopeless: VecDeque<usize>,
    /// Those that may not campaign at all for now.
    barred: Vec<usize>,
    /// All of those four. Who gave up the wish to campaign keeps its place, and has no second one when the wish is back.
    in_line: BTreeSet<usize>,
    /// How many were called, to call some of those that wait beside the first ones.
    called: usize,
    /// The worker is behind; so many elections may begin before its next tick.
    behind: Option<usize>,
}

impl Elections {
    /// Whether the group may campaign now. If not it stands in line until [`next`](Self::next) names it.
    pub(super) fn enter(&mut self, position: usize, is_first: bool, outlook: Outlook, now: Moment) -> bool {
        if self.running.contains_key(&position) {
            return true;
        }
        if self.in_line.contains(&position) {
            return false;
        }
        let (line, at_once) = match outlook {
            Outlook::Good if is_first => (&mut self.first, AT_ONCE),
            Outlook::Good => (&mut self.waiting, AT_ONCE),
            Outlook::Poor => (&mut self.hopeless, HOPELESS_AT_ONCE),
            Outlook::None => {
                self.barred.push(position);
                self.in_line.insert(position);
                return false;
            }
        };
        let may = line.is_empty() && self.running.len() < at_once && self.behind != Some(0);
        if may {
            self.begin(position, outlook == Outlook::Good, now);
        } else {
            line.push_back(position);
            self.in_line.insert(position);
        }
        may
    }

    fn begin(&mut self, position: usize, is_hopeful: bool, now: Moment) {
        let patience = if is_hopeful { PATIENCE_MS } else { HOPELESS_PATIENCE_MS };
        self.running.insert(position, now.plus(patience));
        if let Some(left) = &mut self.behind {
            *left = left.saturating_sub(1);
        }
    }

    /// The group's election is over.
    pub(super) fn leave(&mut self, position: usize) {
        self.running.remove(&position);
    }

    /// Nobody is at this position any more.
    pub(super) fn clear(&mut self, position: usize) {
        self.leave(position);
        if !self.in_line.remove(&position) {
            return;
        }
        self.first.retain(|waits| *waits != position);
        self.waiting.retain(|waits| *waits != position);
        self.hopeless.retain(|waits| *waits != position);
        self.barred.retain(|waits| *waits != position);
    }

    /// It has changed which nodes live: everybody may hope again.
    pub(super) fn hope(&mut self) {
        self.waiting.append(&mut self.hopeless);
        self.waiting.extend(self.barred.drain(..));
    }

    /// Whether nobody campaigns or waits to: those that may not at all wait for news, not for a tick.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.first.is_empty() && self.waiting.is_empty() && self.hopeless.is_empty()
    }

    /// Time has passed: no longer counts elections that take too long.
    pub(super) fn tick(&mut self, now: Moment) {
        self.running.retain(|_, until| now < *until);
        self.behind = self.behind.map(|_| PER_TICK_BEHIND);
    }

    /// Whether the worker has more to do than fits into its turns.
    pub(super) fn set_behind(&mut self, is_behind: bool) {
        self.behind = is_behind.then(|| self.behind.unwrap_or(0));
    }

    /// The next group that may campaign, if there is room: it is to be given a turn. And whether it was hopeful when
    /// it was told to wait, or had reason to hope since.
    pub(super) fn next(&mut self, now: Moment) -> Option<(usize, bool)> {
        if self.running.len() >= AT_ONCE || self.behind == Some(0) {
            return None;
        }
        self.called = self.called.wrapping_add(1);
        let (mut lines, is_other) = ([&mut self.first, &mut self.waiting], self.called.is_multiple_of(OTHERS));
        if is_other {
            lines.reverse();
        }
        let next = lines.into_iter().find_map(VecDeque::pop_front);
        let mut next = next.map(|position| (position, true));
        if next.is_none() && self.running.len() < HOPELESS_AT_ONCE {
            next = self.hopeless.pop_front().map(|position| (position, false));
        }
        let (position, is_hopeful) = next?;
        self.in_line.remove(&position);
        self.begin(position, is_hopeful, now);
        next
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
        let entered = (0..AT_ONCE + 3).filter(|position| elections.enter(*position, false, Outlook::Good, NOW));
        assert_eq!(entered.count(), AT_ONCE);
        assert!(elections.enter(5, false, Outlook::Good, NOW), "it does already");
        assert_eq!(named(&mut elections, NOW), [0; 0]);
        elections.leave(7);
        elections.leave(9);
        assert!(!elections.enter(7, false, Outlook::Good, NOW), "others came before");
        assert_eq!(named(&mut elections, NOW), [AT_ONCE, AT_ONCE + 1]);
        elections.clear(AT_ONCE + 2);
        elections.tick(NOW.plus(PATIENCE_MS - 1));
        assert_eq!(named(&mut elections, NOW), [0; 0]);
        elections.tick(NOW.plus(PATIENCE_MS));
        assert_eq!(named(&mut elections, NOW), [7]);
    }

    #[test]
    fn who_can_not_be_elected_keeps_nobody_waiting() {
        let mut elections = Elections::default();
        let entered = (0..1_000).filter(|position| elections.enter(*position, false, Outlook::Poor, NOW));
        assert_eq!(entered.count(), HOPELESS_AT_ONCE);
        assert!(elections.enter(2_000, false, Outlook::Good, NOW));
        assert_eq!(named(&mut elections, NOW), [0; 0]);
        elections.leave(2_000);
        elections.tick(NOW.plus(HOPELESS_PATIENCE_MS));
        assert_eq!(named(&mut elections, NOW).len(), HOPELESS_AT_ONCE, "each has its turn");
        elections.hope();
        assert_eq!(named(&mut elections, NOW).len(), AT_ONCE - HOPELESS_AT_ONCE);
    }

    #[test]
    fn a_worker_that_is_behind_begins_few() {
        let mut elections = Elections::default();
        elections.set_behind(true);
        let entered = (0..50).filter(|position| elections.enter(*position, false, Outlook::Good, NOW));
        assert_eq!(entered.count(), 0);
        assert_eq!(named(&mut elections, NOW), [0; 0]);
        elections.tick(NOW);
        elections.set_behind(true);
        assert_eq!(named(&mut elections, NOW).len(), PER_TICK_BEHIND);
        assert_eq!(named(&mut elections, NOW), [0; 0]);
        elections.set_behind(false);
        assert_eq!(named(&mut elections, NOW).len(), 50 - PER_TICK_BEHIND);
    }

    #[test]
    fn who_wants_to_campaign_again_has_one_place_in_line() {
        let mut elections = Elections::default();
        elections.set_behind(true);
        for outlook in [Outlook::Good, Outlook::Good, Outlook::Poor, Outlook::None] {
            assert!(!elections.enter(1, false, outlook, NOW));
        }
        elections.set_behind(false);
        elections.hope();
        assert_eq!(named(&mut elections, NOW), [1]);
        elections.leave(1);
        assert!(elections.enter(1, false, Outlook::Good, NOW), "it stands there no more");
    }

    #[test]
    fn who_may_not_campaign_waits_for_better_times() {
        let mut elections = Elections::default();
        assert!(!elections.enter(1, false, Outlook::None, NOW));
        elections.tick(NOW.plus(PATIENCE_MS));
        assert_eq!(named(&mut elections, NOW), [0; 0]);
        elections.hope();
        assert_eq!(named(&mut elections, NOW), [1]);
    }

    #[test]
    fn the_first_ones_come_first_and_the_others_all_the_same() {
        let mut elections = Elections::default();
        elections.set_behind(true);
        (0..8).for_each(|position| assert!(!elections.enter(position, false, Outlook::Good, NOW)));
        (100..108).for_each(|position| assert!(!elections.enter(position, true, Outlook::Good, NOW)));
        elections.set_behind(false);
        let named = named(&mut elections, NOW);
        assert_eq!(named.len(), 16);
        let early = named.iter().take(8).filter(|position| **position < 100);
        assert_eq!(early.count(), 1, "{named:?}");
    }
}
