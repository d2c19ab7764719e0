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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use raftyard::{GroupId, NodeId, RaftHost};

    use super::*;
    use crate::machine::KvMachine;

    /// A node of its own that leads groups.
    async fn groups(count: u64) -> (RaftHost, Vec<Replica>) {
        let host = RaftHost::in_memory(1).await.unwrap().remove(0);
        let mut groups = Vec::new();
        for id in 1..=count {
            let group = host.create_group(GroupId(id), [NodeId(1)], KvMachine::default).await;
            let group = group.unwrap();
            group.wait_for_leader().await.unwrap();
            groups.push(Replica::Memory(group));
        }
        (host, groups)
    }

    fn add(writes: &mut Writes, groups: &[Replica], place: u16) -> Ticket {
        let command = Command::Add {
            key: Bytes::from_static(b"n"),
            delta: 1,
        };
        let group = || groups.get(usize::from(place)).cloned().ok_or(());
        writes.add(place, command, group).unwrap()
    }

    #[tokio::test]
    async fn every_write_has_its_own_outcome() {
        let (host, groups) = groups(3).await;
        let mut writes = Writes::default();
        let mut sums = [0; 3];
        // Rounds of one write, of several to one group, and of several to all of them.
        for round in [&[0][..], &[1, 1], &[2, 0, 2, 1, 0, 2], &[1]] {
            let tickets: Vec<_> = round.iter().map(|place| add(&mut writes, &groups, *place)).collect();
            for (place, ticket) in round.iter().zip(tickets) {
                let sum = &mut sums[usize::from(*place)];
                *sum += 1;
                assert_eq!(writes.outcome(ticket).await, Ok(Response::Integer(*sum)), "{round:?}");
            }
        }
        host.shutdown().await;
    }

    #[tokio::test]
    async fn what_comes_while_outcomes_are_taken_gathers() {
        let (host, groups) = groups(2).await;
        let mut writes = Writes::default();
        let mut tickets: VecDeque<_> = [0, 1, 0].map(|place| add(&mut writes, &groups, place)).into();
        let mut sums = Vec::new();
        for _ in 0..3 {
            sums.push(writes.outcome(tickets.pop_front().unwrap()).await.unwrap());
            tickets.push_back(add(&mut writes, &groups, 1));
        }
        assert_eq!(
            (writes.rounds.len(), writes.batches.len()),
            (0, 1),
            "one batch of three"
        );
        for ticket in tickets {
            sums.push(writes.outcome(ticket).await.unwrap());
        }
        assert_eq!(sums, [1, 1, 2, 2, 3, 4].map(Response::Integer));
        host.shutdown().await;
    }

    #[tokio::test]
    async fn what_is_handed_over_is_carried_out_whether_anybody_waits_or_not() {
        let (host, groups) = groups(2).await;
        let mut writes = Writes::default();
        for place in [0, 1, 1] {
            add(&mut writes, &groups, place);
        }
        writes.hand_over();
        drop(writes);
        let mut writes = Writes::default();
        let ticket = add(&mut writes, &groups, 1);
        assert_eq!(writes.outcome(ticket).await, Ok(Response::Integer(3)));
        host.shutdown().await;
    }

    #[tokio::test]
    async fn a_replica_that_ends_leaves_no_write_without_an_outcome() {
        let (host, groups) = groups(2).await;
        let mut writes = Writes::default();
        let tickets = [0, 1, 1].map(|place| add(&mut writes, &groups, place));
        host.shutdown().await;
        for ticket in tickets {
            assert_eq!(writes.outcome(ticket).await, Err(ProposeError::Closed));
        }
    }
}
