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
}

struct Waiting {
    id: LogId,
    deadline: Moment,
    reply: oneshot::Sender<Result<Vec<u8>, ProposeError>>,
    /// Held until the proposal is answered.
    _permit: BytePermit,
}

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
        let mut index = first;
        for (reply, permit) in proposals {
            self.waiting.push_back(Waiting {
                id: LogId { term, index },
                deadline,
                reply,
                _permit: permit,
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

    /// The entry `id` was applied, with this response if it was awaited. Whoever waits for another entry at
    /// its index waits in vain: what is applied there is committed.
    pub(crate) fn applied(&mut self, id: LogId, response: Option<Vec<u8>>) {
        let mut response = response;
        let mut settle = |waiting: Waiting| {
            let result = if waiting.id == id {
                // Without a response nobody waited when it was applied. It never says that it was not.
                response.take().ok_or(ProposeError::OutcomeUnknown)
            } else {
                Err(ProposeError::Dropped)
            };
            // Who gave up waiting has dropped the other end.
            drop(waiting.reply.send(result));
        };
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.id.index <= id.index) {
            settle(waiting);
        }
        if !self.displaced.is_empty() {
            self.displaced
                .extract_if(.., |waiting| waiting.id.index <= id.index)
                .for_each(settle);
        }
    }

    /// Gives up on those whose deadline has come: they may be applied or not.
    pub(crate) fn expire(&mut self, now: Moment) {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.deadline <= now) {
            drop(waiting.reply.send(Err(ProposeError::OutcomeUnknown)));
        }
        for waiting in self.displaced.extract_if(.., |waiting| waiting.deadline <= now) {
            drop(waiting.reply.send(Err(ProposeError::OutcomeUnknown)));
        }
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let waiting = self.waiting.front().map(|waiting| waiting.deadline);
        let displaced = self.displaced.iter().map(|waiting| waiting.deadline).min();
        waiting.into_iter().chain(displaced).min()
    }
}

/// Answers proposals that were never appended.
pub(crate) fn refuse(proposals: impl IntoIterator<Item = Proposal>, error: &ProposeError) {
    for proposal in proposals {
        drop(proposal.reply.send(Err(error.clone())));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::budget::ByteBudget;

    type Outcome = oneshot::Receiver<Result<Vec<u8>, ProposeError>>;

    fn append(proposals: &mut Proposals, term: u64, index: u64) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let permit = ByteBudget::new(1).try_acquire(1).unwrap();
        proposals.appended(LogIndex(index), Term(term), Moment(1_000), [(reply, permit)]);
        outcome
    }

    /// Applies an entry as a group actor does.
    fn apply(proposals: &mut Proposals, term: u64, index: u64) {
        let id = LogId::new(term, index);
        let response = proposals.is_awaited(id).then(|| vec![7]);
        proposals.applied(id, response);
    }

    #[test]
    fn what_took_the_place_of_a_proposal_does_not_take_the_response_of_a_later_one() {
        let mut proposals = Proposals::default();
        // Appended in term 1, replaced in term 2, and led again in term 3.
        let mut replaced = append(&mut proposals, 1, 5);
        let mut applied = append(&mut proposals, 3, 7);
        apply(&mut proposals, 3, 7);
        assert_eq!(replaced.try_recv().unwrap(), Err(ProposeError::Dropped));
        assert_eq!(applied.try_recv().unwrap(), Ok(vec![7]));
    }

    #[test]
    fn a_displaced_proposal_that_is_applied_after_all_gets_its_response() {
        let mut proposals = Proposals::default();
        let mut first = append(&mut proposals, 1, 6);
        let mut second = append(&mut proposals, 3, 6);
        apply(&mut proposals, 1, 6);
        assert_eq!(first.try_recv().unwrap(), Ok(vec![7]));
        assert_eq!(second.try_recv().unwrap(), Err(ProposeError::Dropped));
    }
}
