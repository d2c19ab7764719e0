//! Writes of one connection that leave together: what a client sends at once goes to each group as one message, and the
//! connection is woken once, when the last of them is answered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec;

use futures::FutureExt;
use futures::future::BoxFuture;
use raftyard::ProposeError;
use tokio::sync::oneshot;

use crate::machine::{Command, Response};
use crate::state::Replica;

/// What became of a write.
pub(crate) type Outcome = Result<Response, ProposeError>;

/// The writes that were begun and whose outcomes were not taken.
#[derive(Default)]
pub(crate) struct Writes {
    /// The groups of `batches`, by their places.
    places: Vec<u16>,
    /// Not handed to their groups yet; for one group in the order in which they came.
    batches: Vec<Batch>,
    /// Handed over, in that order.
    rounds: VecDeque<Round>,
}

struct Batch {
    group: Replica,
    commands: Vec<Command>,
}

/// Writes that were handed over at once.
struct Round {
    /// Outcomes that were not taken.
    left: usize,
    progress: Progress,
}

enum Progress {
    /// A single write.
    One(BoxFuture<'static, Outcome>),
    Waiting(oneshot::Receiver<Vec<Vec<Outcome>>>),
    /// By batch.
    Answered(Vec<vec::IntoIter<Outcome>>),
}

/// Which outcome belongs to a write, among those of its round: the batch's next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

impl Writes {
    /// Takes in a write for the group at `place`, which is asked for if no other write waits for it.
    ///
    /// # Errors
    ///
    /// Why there is no group to write to; the command is dropped.
    pub(crate) fn add<E>(
        &mut self,
        place: u16,
        command: Command,
        group: impl FnOnce() -> Result<Replica, E>,
    ) -> Result<Ticket, E> {
        if let Some(at) = self.places.iter().position(|known| *known == place)
            && let Some(batch) = self.batches.get_mut(at)
        {
            batch.commands.push(command);
            return Ok(Ticket(at));
        }
        let group = group()?;
        self.places.push(place);
        self.batches.push(Batch {
            group,
            commands: vec![command],
        });
        Ok(Ticket(self.batches.len() - 1))
    }

    /// Hands what was taken in to the groups. From then on it has its place in their order.
    pub(crate) fn hand_over(&mut self) {
        let left = self.batches.iter().map(|batch| batch.commands.len()).sum();
        if left == 0 {
            return;
        }
        self.places.clear();
        let progress = if left == 1
            && let Some((group, command)) = self.batches.pop().and_then(Batch::into_single)
        {
            Progress::One(group.propose(command).boxed())
        } else {
            let (reply, outcomes) = oneshot::channel();
            let gathering = Gathering::new(self.batches.len(), reply);
            for (at, batch) in self.batches.drain(..).enumerate() {
                let gathering = Arc::clone(&gathering);
                batch
                    .group
                    .propose_many_then(batch.commands, move |outcomes| gathering.put(at, outcomes));
            }
            Progress::Waiting(outcomes)
        };
        self.rounds.push_back(Round { left, progress });
    }

    /// Waits for an outcome: of the write that came first of those whose outcome was not taken. What has not come to its
    /// group yet does not wait for that.
    pub(crate) async fn outcome(&mut self, Ticket(at): Ticket) -> Outcome {
        if !self.rounds.front().is_some_and(Round::is_answered) {
            self.hand_over();
        }
        let Some(round) = self.rounds.front_mut() else {
            return unknown();
        };
        let outcome = round.outcome(at).await;
        round.left -= 1;
        if round.left == 0 {
            self.rounds.pop_front();
        }
        outcome
    }
}

impl Batch {
    /// The group and the command, if it is only one.
    fn into_single(mut self) -> Option<(Replica, Command)> {
        self.commands.pop().map(|command| (self.group, command))
    }
}

impl Round {
    fn is_answered(&self) -> bool {
        matches!(self.progress, Progress::Answered(_))
    }

    async fn outcome(&mut self, at: usize) -> Outcome {
        if let Progress::Waiting(outcomes) = &mut self.progress {
            let outcomes = outcomes.await.unwrap_or_default();
            self.progress = Progress::Answered(outcomes.into_iter().map(Vec::into_iter).collect());
        }
        match &mut self.progress {
            Progress::One(outcome) => outcome.await,
            Progress::Answered(batches) => batches.get_mut(at).and_then(Iterator::next).unwrap_or_else(unknown),
            Progress::Waiting(_) => unknown(),
        }
    }
}

/// Nobody said what became of a write.
fn unknown() -> Outcome {
    Err(ProposeError::OutcomeUnknown { request: None })
}

/// Where groups put the outcomes of a round, each on a thread of its own.
struct Gathering(Mutex<Gathered>);

struct Gathered {
    outcomes: Vec<Vec<Outcome>>,
    /// Batches that are not answered.
    open: usize,
    /// Who waits for all of them.
    reply: Option<oneshot::Sender<Vec<Vec<Outcome>>>>,
}

impl Gathering {
    fn new(count: usize, reply: oneshot::Sender<Vec<Vec<Outcome>>>) -> Arc<Self> {
        let gathered = Gathered {
            outcomes: vec![Vec::new(); count],
            open: count,
            reply: Some(reply),
        };
        Arc::new(Self(Mutex::new(gathered)))
    }

    /// Puts the outcomes of the batch `at` in their place; the last tells who waits, who may be gone.
    fn put(&self, at: usize, outcomes: Vec<Outcome>) {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = gathered.outcomes.get_mut(at) {
            *place = outcomes;
        }
        gathered.open -= 1;
        if gathered.open == 0
            && let Some(reply) = gathered.reply.take()
        {
            reply.send(std::mem::take(&mut gathered.outcomes)).ok();
        }
    }
}
