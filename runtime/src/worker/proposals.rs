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
        self.waiting.front().is_some_and(|waiting| waiting.id == id)
            || self.displaced.iter().any(|waiting| waiting.id == id)
    }

    /// The entry `id` was applied, with this response if it was awaited. Whoever waits for another entry at
    /// its index waits in vain: what is applied there is committed.
    pub(crate) fn applied(&mut self, id: LogId, response: Option<Vec<u8>>) {
        let mut response = response;
        let mut settle = |waiting: Waiting| {
            let result = match response.take() {
                Some(response) if waiting.id == id => Ok(response),
                _ => Err(ProposeError::Dropped),
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

    /// A snapshot took the place of the log up to `through`: whether they are part of it, nobody here knows.
    pub(crate) fn overtaken(&mut self, through: LogIndex) {
        let waiting = std::iter::from_fn(|| self.waiting.pop_front_if(|waiting| waiting.id.index <= through));
        let displaced = self.displaced.extract_if(.., |waiting| waiting.id.index <= through);
        for waiting in waiting.chain(displaced) {
            drop(waiting.reply.send(Err(ProposeError::OutcomeUnknown)));
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
