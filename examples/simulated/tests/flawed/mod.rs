//! State machines that are wrong, each for as long as it lives: what it restores, it is right about. So the machine that
//! says what is right, which is made and restored for each call, is none of them.

use raftyard::sim::{Kind, Random, Workload};
use raftyard::{StateMachine, Timestamp};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Every so many commands one is applied twice.
    AppliesTwice,
    /// Every so many commands queries don't know the last one.
    ReadsStale,
}

/// So many commands.
const EVERY: u64 = 16;

/// A workload on a machine that is wrong.
#[derive(Clone)]
pub(crate) struct Flawed<W> {
    workload: W,
    flaw: Flaw,
}

impl<W> Flawed<W> {
    pub(crate) fn new(workload: W, flaw: Flaw) -> Self {
        Self { workload, flaw }
    }
}

impl<W: Workload> Workload for Flawed<W> {
    type Machine = FlawedMachine<W::Machine>;

    fn machine(&self) -> Self::Machine {
        FlawedMachine {
            machine: self.workload.machine(),
            stale: self.workload.machine(),
            last: None,
            applied: 0,
            flaw: self.flaw,
        }
    }

    fn next(&mut self, random: &mut Random) -> Kind<Self::Machine> {
        flawed(self.workload.next(random))
    }

    fn part(&self, asked: &Kind<Self::Machine>) -> u64 {
        self.workload.part(&flawed(asked.clone()))
    }
}

/// The same, asked of a machine that is asked the same.
fn flawed<A, B>(asked: Kind<A>) -> Kind<B>
where
    A: StateMachine,
    B: StateMachine<Command = A::Command, Query = A::Query>,
{
    match asked {
        Kind::Propose(command) => Kind::Propose(command),
        Kind::Read(query) => Kind::Read(query),
    }
}

pub(crate) struct FlawedMachine<M: StateMachine> {
    machine: M,
    /// Lacks the last command.
    stale: M,
    last: Option<(M::Command, Timestamp)>,
    /// Commands since it was made or restored.
    applied: u64,
    flaw: Flaw,
}

impl<M: StateMachine<Command: Clone>> StateMachine for FlawedMachine<M> {
    type Command = M::Command;
    type Response = M::Response;
    type Query = M::Query;
    type Answer = M::Answer;
    type Snapshot = M::Snapshot;

    fn apply(&mut self, command: M::Command, now: Timestamp) -> M::Response {
        self.applied += 1;
        if let Some((command, then)) = self.last.replace((command.clone(), now)) {
            self.stale.apply(command, then);
        }
        if self.flaw == Flaw::AppliesTwice && self.applied.is_multiple_of(EVERY) {
            self.machine.apply(command.clone(), now);
        }
        self.machine.apply(command, now)
    }

    fn query(&self, query: M::Query) -> M::Answer {
        if self.flaw == Flaw::ReadsStale && self.applied > 0 && self.applied.is_multiple_of(EVERY) {
            self.stale.query(query)
        } else {
            self.machine.query(query)
        }
    }

    fn snapshot(&self) -> M::Snapshot {
        self.machine.snapshot()
    }

    fn restore(&mut self, snapshot: M::Snapshot) {
        self.machine.restore(snapshot);
        self.stale.restore(self.machine.snapshot());
        (self.last, self.applied) = (None, 0);
    }
}
