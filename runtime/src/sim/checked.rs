//! A user's state machine with what the properties need to know beside it.

use super::properties::Once;
use crate::machine::StateMachine;
use crate::time::Timestamp;

/// A state machine that notices what is applied twice, and says with each answer how many commands it reflects.
pub(super) struct Checked<S> {
    pub(super) machine: S,
    pub(super) once: Once,
}

/// A command, after its number and the life of the group that it was asked in.
pub(super) type Asked<C> = (u64, u64, C);

impl<S: StateMachine> StateMachine for Checked<S> {
    type Command = Asked<S::Command>;
    type Response = (u64, S::Response);
    type Query = S::Query;
    type Answer = (u64, S::Answer);
    type Snapshot = (Vec<u64>, S::Snapshot);

    fn apply(&mut self, (number, incarnation, command): Self::Command, now: Timestamp) -> Self::Response {
        let applied = self.once.applies(number, incarnation);
        (applied, self.machine.apply(command, now))
    }

    fn query(&self, query: S::Query) -> Self::Answer {
        (self.once.count(), self.machine.query(query))
    }

    fn snapshot(&self) -> Self::Snapshot {
        (self.once.snapshot(), self.machine.snapshot())
    }

    fn restore(&mut self, (applied, snapshot): Self::Snapshot) {
        self.once.restore(applied);
        self.machine.restore(snapshot);
    }
}
