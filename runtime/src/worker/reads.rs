//! Reads between being asked and being answered.

use super::ReadJob;
use crate::error::ReadError;
use raftyard_groups::{LogId, LogIndex, Moment, ReadId, ReadOutcome};
use std::any::Any;
use std::collections::VecDeque;

pub(crate) struct Reads {
    next: u64,
    /// Batches whose read index is not known yet, ascending by id.
    asked: VecDeque<Batch>,
    /// The last of them that nobody waits for any more, until the core was told.
    given_up: Option<ReadId>,
    /// Batches that wait until their read index is applied. (Read indexes ascend within a term; a handful of
    /// batches is all that ever waits.)
    ready: Vec<(LogIndex, Batch)>,
    /// The last entry of the log that this life began with. Once it is applied, or an entry of a later term
    /// is, so is all of that log that was ever committed: terms don't fall along a log, so the rest of it
    /// was replaced. One that began with nothing may have lost all, with its disk: it waits until anything is applied.
    /// `None` once that is so.
    replaying: Option<LogId>,
    /// Reads of the state as it is, until the log is replayed.
    held: Vec<Batch>,
    is_held_first: bool,
}

struct Batch {
    id: ReadId,
    deadline: Moment,
    jobs: Vec<ReadJob>,
}

impl Reads {
    /// Of a replica whose log ends at `replaying`.
    pub(crate) fn new(replaying: LogId) -> Self {
        Self {
            next: 0,
            asked: VecDeque::new(),
            given_up: None,
            ready: Vec::new(),
            replaying: Some(replaying),
            held: Vec::new(),
            is_held_first: false,
        }
    }

    /// From turn to turn the other kind comes first: a flood of one does not hold up the other.
    pub(crate) fn begin_turn(&mut self) {
        self.is_held_first = !self.is_held_first;
    }

    /// Reads of the state as it is: to be answered at the end of the turn, or once the log is replayed.
    pub(crate) fn hold(&mut self, jobs: Vec<ReadJob>, deadline: Moment) {
        if !jobs.is_empty() {
            let id = ReadId(0);
            self.held.push(Batch { id, deadline, jobs });
        }
    }

    /// All reads of a turn: they share one read index.
    pub(crate) fn ask(&mut self, jobs: Vec<ReadJob>, deadline: Moment) -> ReadId {
        self.next += 1;
        let id = ReadId(self.next);
        self.asked.push_back(Batch { id, deadline, jobs });
        id
    }

    /// The core said what becomes of a batch.
    pub(crate) fn decided(&mut self, id: ReadId, outcome: ReadOutcome) {
        let Ok(position) = self.asked.binary_search_by_key(&id, |batch| batch.id) else {
            return;
        };
        let Some(batch) = self.asked.remove(position) else {
            return;
        };
        match outcome {
            ReadOutcome::Ready { index } => self.ready.push((index, batch)),
            ReadOutcome::NotLeader { leader } => batch.fail(&ReadError::NotLeader { leader }),
        }
    }

    /// Answers those whose read index is applied, as long as there `is_time`, which is asked after each; none that has a
    /// read index while it is not known that what is applied `is_all` that the group committed up to there. Returns whether
    /// some are left that could be answered.
    pub(crate) fn answer(
        &mut self,
        applied: LogId,
        is_all: bool,
        machine: &dyn Any,
        mut is_time: impl FnMut() -> bool,
    ) -> bool {
        let is_replayed = |last: &mut LogId| applied.index >= last.index || applied.term > last.term;
        self.replaying
            .take_if(|last| applied.index > LogIndex::ZERO && is_replayed(last));
        let is_applied = |index: &LogIndex| is_all && *index <= applied.index;
        let mut is_time_left = true;
        for is_of_held in [self.is_held_first, !self.is_held_first] {
            if !is_of_held {
                let mut ready = self.ready.iter_mut().filter(|(index, _)| is_applied(index));
                is_time_left = is_time_left && ready.all(|(_, batch)| batch.run(machine, &mut is_time));
            } else if self.replaying.is_none() {
                is_time_left = is_time_left && self.held.iter_mut().all(|batch| batch.run(machine, &mut is_time));
            }
        }
        self.ready.retain(|(_, batch)| !batch.jobs.is_empty());
        self.held.retain(|batch| !batch.jobs.is_empty());
        let is_held_left = self.replaying.is_none() && !self.held.is_empty();
        is_held_left || self.ready.iter().any(|(index, _)| is_applied(index))
    }

    /// Gives up on those whose deadline has come.
    pub(crate) fn expire(&mut self, now: Moment) {
        while let Some(batch) = self.asked.pop_front_if(|batch| batch.deadline <= now) {
            self.given_up = Some(batch.id);
            batch.fail(&ReadError::TimedOut);
        }
        for (_, batch) in self.ready.extract_if(.., |(_, batch)| batch.deadline <= now) {
            batch.fail(&ReadError::TimedOut);
        }
        for batch in self.held.extract_if(.., |batch| batch.deadline <= now) {
            batch.fail(&ReadError::TimedOut);
        }
    }

    /// What the core has to be told: nobody waits any more for this batch, and those before it.
    pub(crate) fn take_given_up(&mut self) -> Option<ReadId> {
        self.given_up.take()
    }

    /// Gives back the memory that it has no use for while nothing is read.
    pub(crate) fn shrink(&mut self) {
        self.asked.shrink_to_fit();
        self.ready.shrink_to_fit();
        self.held.shrink_to_fit();
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let asked = self.asked.front().map(|batch| batch.deadline);
        let ready = self.ready.iter().map(|(_, batch)| batch.deadline).min();
        let held = self.held.iter().map(|batch| batch.deadline).min();
        asked.into_iter().chain(ready).chain(held).min()
    }
}

impl Batch {
    /// Answers its reads as long as there is time. Whether there is some left.
    fn run(&mut self, machine: &dyn Any, is_time: &mut impl FnMut() -> bool) -> bool {
        let mut jobs = std::mem::take(&mut self.jobs).into_iter();
        while let Some(ReadJob { run, permit, .. }) = jobs.next() {
            // First, so that who is answered finds the room.
            drop(permit);
            run(Ok(machine));
            if !is_time() {
                self.jobs = jobs.collect();
                return false;
            }
        }
        true
    }

    fn fail(self, error: &ReadError) {
        refuse(self.jobs, error);
    }
}

/// Answers reads that are not served.
pub(crate) fn refuse(jobs: impl IntoIterator<Item = ReadJob>, error: &ReadError) {
    for ReadJob { run, permit, .. } in jobs {
        drop(permit);
        run(Err(error.clone()));
    }
}
