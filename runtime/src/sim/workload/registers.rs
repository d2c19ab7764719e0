//! Registers that are put, added to and read.

use super::Workload;
use crate::machine::StateMachine;
use crate::sim::properties::Kind;
use crate::sim::random::Random;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Calls after which clients turn to other registers: long histories take long to check.
const CALLS_PER_REGISTER: u64 = 60;
/// Registers that are in use at a time.
const REGISTERS: u64 = 3;

/// Clients put values into registers, count in them, and read them.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    calls: u64,
}

/// A register by number, with values that are numbers.
#[derive(Clone, Debug, Default)]
pub struct RegistersMachine(BTreeMap<u64, u64>);

/// What changes a register; answers what it holds then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Puts a value.
    Put(u64, u64),
    /// Adds one.
    Count(u64),
}

/// Reads a register.
#[derive(Clone, Debug)]
pub struct Query(pub u64);

impl StateMachine for RegistersMachine {
    type Command = Command;
    type Response = u64;
    type Query = Query;
    type Answer = Option<u64>;
    type Snapshot = BTreeMap<u64, u64>;

    fn apply(&mut self, command: Command, _: Timestamp) -> u64 {
        let (register, value) = match command {
            Command::Put(register, value) => (register, value),
            Command::Count(register) => (register, self.0.get(&register).copied().unwrap_or(0).wrapping_add(1)),
        };
        self.0.insert(register, value);
        value
    }

    fn query(&self, Query(register): Query) -> Option<u64> {
        self.0.get(&register).copied()
    }

    fn snapshot(&self) -> Self::Snapshot {
        self.0.clone()
    }

    fn restore(&mut self, snapshot: Self::Snapshot) {
        self.0 = snapshot;
    }
}

impl Workload for Registers {
    type Machine = RegistersMachine;

    fn machine(&self) -> RegistersMachine {
        RegistersMachine::default()
    }

    fn next(&mut self, random: &mut Random) -> Kind<RegistersMachine> {
        self.calls += 1;
        let round = self.calls / (CALLS_PER_REGISTER * REGISTERS);
        let register = round * REGISTERS + random.below(REGISTERS);
        match random.below(10) {
            0..4 => Kind::Read(Query(register)),
            4..7 => Kind::Propose(Command::Count(register)),
            _ => Kind::Propose(Command::Put(register, random.below(1_000_000))),
        }
    }

    fn part(&self, asked: &Kind<RegistersMachine>) -> u64 {
        match asked {
            Kind::Propose(Command::Put(register, _) | Command::Count(register)) | Kind::Read(Query(register)) => {
                *register
            }
        }
    }
}
