//! Proposals between being appended and being applied.

use super::Proposal;
use crate::budget::BytePermit;
use crate::error::ProposeError;
use raftyard_groups::{LogId, LogIndex, Moment, Term};
use std::collections::VecDeque;
use tokio::sync::oneshot;

#[derive(Default)]
pub(crate) struct Proposals {
    /// Ascending by index.
    waiting: VecDeque<Waiting>,
    /// Appended in an earlier term at indexes that this replica has since appended to again. Their fate is
    /// open until something is applied there: another replica may still hold them and lead.
    displaced: Vec<Waiting>,
    /// Those that were given up, ascending by index: nobody waits, but their commands are in the log and in
    /// memory until they are applied or replaced. Without this a group that commits nothing would take more
    /// for ever.
    given_up: VecDeque<(LogIndex, BytePermit)>,
}

struct Waiting {
    id: LogId,
    deadline: Moment,
    reply: oneshot::Sender<Result<Vec<u8>, ProposeError>>,
    /// Held until the proposal is answered.
    permit: BytePermit,
}

/// More room than this is given back once nobody waits.
const ROOM_KEPT: usize = 64;

impl Proposals {
    /// Proposals were appended from `first` on.
    pub(crate) fn appended(
        &mut self,
        first: LogIndex,
        term: Term,
        deadline: Moment,
        proposals: impl IntoIterator<Item = (oneshot::Sender<Result<Vec<u8>, ProposeError>>, BytePermit)>,
    ) {
        while let Some(displaced) = self.waiting.pop_back_if(|waiting| waiting.id.index >= first) {
            self.displaced.push(displaced);
        }
        while self.given_up.pop_back_if(|(index, _)| *index >= first).is_some() {}
        let mut index = first;
        for (reply, permit) in proposals {
            self.waiting.push_back(Waiting {
                id: LogId { term, index },
                deadline,
                reply,
                permit,
            });
            index = index.next();
        }
    }

    /// Whether somebody waits for the response to this entry.
    pub(crate) fn is_awaited(&self, id: LogId) -> bool {
        // Usually the first: those before it stay only if what took their place was not told of.
        let waiting = self.waiting.iter().take_while(|waiting| waiting.id.index <= id.index);
        waiting.chain(&self.displaced).any(|waiting| waiting.id == id)
    }

    /// Whether somebody waits for a response at all.
    pub(crate) fn is_any_awaited(&self) -> bool {
        !self.waiting.is_empty() || !self.displaced.is_empty()
    }

    /// The entry `id` was applied, with this result if it was awaited. To be called for every entry, in log
    /// order: whoever waits for another entry at its index waits in vain, since what is applied is committed.
    pub(crate) fn applied(&mut self, id: LogId, mut result: Option<Result<Vec<u8>, ProposeError>>) {
        let mut settle = |waiting: Waiting| {
            let result = if waiting.id == id {
                // Without a result nobody waited when it was applied. That never says that it was not.
                result.take().unwrap_or(Err(ProposeError::OutcomeUnknown))
            } else {
                Err(ProposeError::Dropped)
            };
            waiting.answer(result);
        };
        while self.given_up.pop_front_if(|(index, _)| *index <= id.index).is_some() {}
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.id.index <= id.index) {
            settle(waiting);
        }
        if !self.displaced.is_empty() {
            self.displaced
                .extract_if(.., |waiting| waiting.id.index <= id.index)
                .for_each(settle);
        }
    }

    /// A snapshot took the place of the log up to `through`: whether they are part of it, nobody here knows.
    pub(crate) fn overtaken(&mut self, through: LogIndex) {
        while self.given_up.pop_front_if(|(index, _)| *index <= through).is_some() {}
        let waiting = std::iter::from_fn(|| self.waiting.pop_front_if(|waiting| waiting.id.index <= through));
        let displaced = self.displaced.extract_if(.., |waiting| waiting.id.index <= through);
        for waiting in waiting.chain(displaced) {
            waiting.answer(Err(ProposeError::OutcomeUnknown));
        }
    }

    /// Gives up on those whose deadline has come: they may be applied or not.
    pub(crate) fn expire(&mut self, now: Moment) {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.deadline <= now) {
            self.given_up.push_back((waiting.id.index, waiting.permit));
            waiting.reply.send(Err(ProposeError::OutcomeUnknown)).ok();
        }
        for waiting in self.displaced.extract_if(.., |waiting| waiting.deadline <= now) {
            waiting.answer(Err(ProposeError::OutcomeUnknown));
        }
        if self.waiting.is_empty() && self.waiting.capacity() > ROOM_KEPT {
            // A group that went quiet gives its memory back.
            self.waiting.shrink_to(0);
        }
    }

    /// Gives up on all: the replica stops.
    pub(crate) fn abandon(&mut self) {
        self.expire(Moment(u64::MAX));
        self.given_up = VecDeque::new();
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let waiting = self.waiting.front().map(|waiting| waiting.deadline);
        let displaced = self.displaced.iter().map(|waiting| waiting.deadline).min();
        waiting.into_iter().chain(displaced).min()
    }
}

impl Waiting {
    fn answer(self, result: Result<Vec<u8>, ProposeError>) {
        // First, so that who is answered finds the room.
        drop(self.permit);
        // Who gave up waiting has dropped the other end.
        self.reply.send(result).ok();
    }
}

/// Answers proposals that were never appended.
pub(crate) fn refuse(proposals: impl IntoIterator<Item = Proposal>, error: &ProposeError) {
    for Proposal { reply, permit, .. } in proposals {
        drop(permit);
        reply.send(Err(error.clone())).ok();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::budget::ByteBudget;

    type Answer = oneshot::Receiver<Result<Vec<u8>, ProposeError>>;

    fn propose(proposals: &mut Proposals, term: u64, first: u64, count: usize) -> Vec<Answer> {
        let budget = ByteBudget::new(count);
        let (replies, answers): (Vec<_>, Vec<_>) = (0..count)
            .map(|_| {
                let (reply, answer) = oneshot::channel();
                ((reply, budget.try_acquire(1).unwrap()), answer)
            })
            .unzip();
        proposals.appended(LogIndex(first), Term(term), Moment(9), replies);
        answers
    }

    /// Applies an entry as a replica does: a response only if it is awaited.
    fn apply(proposals: &mut Proposals, id: LogId) {
        let response = proposals.is_awaited(id).then(|| Ok(vec![1]));
        proposals.applied(id, response);
    }

    const DONE: Result<Vec<u8>, ProposeError> = Ok(Vec::new());

    fn outcome(answer: &mut Answer) -> Result<Vec<u8>, ProposeError> {
        answer.try_recv().unwrap().map(|_| Vec::new())
    }

    /// Deposed, it leads again and appends anew, before it applies what the leader in between put at the
    /// index of its first proposal.
    #[test]
    fn a_proposal_that_another_leaders_entry_replaced_does_not_cost_a_later_one_its_answer() {
        let mut proposals = Proposals::default();
        let mut lost = propose(&mut proposals, 1, 5, 1);
        let mut kept = propose(&mut proposals, 3, 7, 2);
        for (term, index) in [(2, 5), (3, 6), (3, 7), (3, 8)] {
            apply(&mut proposals, LogId::new(term, index));
        }
        assert_eq!(outcome(&mut lost[0]), Err(ProposeError::Dropped));
        assert_eq!(outcome(&mut kept[0]), DONE);
        assert_eq!(outcome(&mut kept[1]), DONE);
    }

    /// Even if nobody told of the entry that replaced the first.
    #[test]
    fn what_is_applied_is_never_reported_as_dropped() {
        let mut proposals = Proposals::default();
        let mut lost = propose(&mut proposals, 1, 5, 1);
        let mut kept = propose(&mut proposals, 3, 7, 1);
        apply(&mut proposals, LogId::new(3, 7));
        assert_eq!(outcome(&mut lost[0]), Err(ProposeError::Dropped));
        assert_eq!(outcome(&mut kept[0]), DONE);
    }

    /// Of two proposals at one index, of two of its own leaderships, either may be the one that is committed.
    #[test]
    fn of_two_proposals_at_one_index_the_one_applied_is_answered() {
        for (committed, other) in [(0, 1), (1, 0)] {
            let mut proposals = Proposals::default();
            let mut answers = propose(&mut proposals, 1, 5, 1);
            answers.append(&mut propose(&mut proposals, 3, 5, 1));
            let term = [1, 3][committed];
            apply(&mut proposals, LogId::new(term, 5));
            assert_eq!(outcome(&mut answers[committed]), DONE);
            assert_eq!(outcome(&mut answers[other]), Err(ProposeError::Dropped));
            assert_eq!(proposals.deadline(), None);
        }
    }

    #[test]
    fn who_is_answered_finds_the_room_its_proposal_took() {
        let budget = ByteBudget::new(1);
        let mut proposals = Proposals::default();
        let (reply, _answer) = oneshot::channel();
        let waiting = [(reply, budget.try_acquire(1).unwrap())];
        proposals.appended(LogIndex(1), Term(1), Moment(9), waiting);
        assert_eq!(budget.used(), 1, "held while it waits");
        apply(&mut proposals, LogId::new(1, 1));
        assert_eq!(budget.used(), 0);
    }

    /// Its command is still in the log: a group that commits nothing must not take more and more.
    #[test]
    fn a_proposal_that_was_given_up_keeps_its_room_until_its_entry_is_applied_or_replaced() {
        let budget = ByteBudget::new(4);
        let mut proposals = Proposals::default();
        let (replies, mut answers): (Vec<_>, Vec<_>) = (0..4)
            .map(|_| {
                let (reply, answer) = oneshot::channel();
                ((reply, budget.try_acquire(1).unwrap()), answer)
            })
            .unzip();
        proposals.appended(LogIndex(5), Term(1), Moment(9), replies);
        proposals.expire(Moment(9));
        for answer in &mut answers {
            assert_eq!(outcome(answer), Err(ProposeError::OutcomeUnknown));
        }
        assert_eq!(budget.used(), 4);
        apply(&mut proposals, LogId::new(1, 5));
        assert_eq!(budget.used(), 3, "applied");
        proposals.appended(LogIndex(7), Term(3), Moment(19), []);
        assert_eq!(budget.used(), 1, "replaced from 7 on");
        proposals.abandon();
        assert_eq!(budget.used(), 0, "the replica stopped");
    }

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        let mut proposals = Proposals::default();
        let answers = propose(&mut proposals, 1, 1, 10_000);
        for index in 1..=10_000 {
            apply(&mut proposals, LogId::new(1, index));
        }
        proposals.expire(Moment(0));
        assert!(proposals.waiting.capacity() <= ROOM_KEPT);
        drop(answers);
    }
}
