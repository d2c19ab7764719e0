//! What clients ask of the groups of a simulation.

mod registers;

pub use registers::{Command, Query, Registers, RegistersMachine};

use super::properties::Kind;
use super::random::Random;
use crate::machine::StateMachine;
use std::fmt::Debug;

/// A state machine, and what clients ask of it. Each group has a clone of its own.
///
/// The state machine itself says what is right: all that clients are told must be what it would answer alone, asked
/// by one after the other, in an order that goes with when they asked and were answered (linearizability). So its
/// answers must not depend on the time that commands are stamped with.
pub trait Workload: Clone + 'static {
    /// What the groups replicate.
    type Machine: StateMachine<
            Command: Clone + Debug,
            Response: Clone + PartialEq + Debug,
            Query: Clone + Debug,
            Answer: Clone + PartialEq + Debug,
        >;

    /// It, before the first command.
    fn machine(&self) -> Self::Machine;

    /// What the next client asks. Every so often it must be a command.
    fn next(&mut self, random: &mut Random) -> Kind<Self::Machine>;

    /// What part of the state it is about: what is asked of one part must not have to do with another one. Histories
    /// are checked part by part, so parts make that quick; a part of more than some hundred calls does not.
    fn part(&self, _asked: &Kind<Self::Machine>) -> u64 {
        0
    }
}
