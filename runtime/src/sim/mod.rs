//! Whole clusters on one thread, where time, chance, network and disks are simulated: the actors that ship, under
//! faults, in a run that can be had again from its seed.
//!
//! A [`Simulation`] takes a [`Workload`], which says what the groups replicate and what clients ask. Each seed makes
//! a [`Scenario`] of it: how nodes are set up, and which faults happen when. For a while the faults happen; then
//! everything heals, and every group must get on. What the paper promises is checked after every turn of every
//! replica and every write to every disk, and at the end whether what clients were told is linearizable. A
//! [`Failure`] names the seed, the smallest scenario that still fails, and what happened in it.
//!
//! ```
//! use raftyard::sim::{Registers, Simulation};
//! use std::time::Duration;
//!
//! let simulation = Simulation::new(Registers::default()).nodes(3).groups(2).faulty(Duration::from_secs(5));
//! let report = simulation.run(1).expect("what raftyard promises holds");
//! assert!(report.answers > 0);
//! ```

mod checked;
mod clock;
mod disk;
mod network;
mod properties;
mod random;
mod run;
mod scenario;
mod seeds;
mod settings;
mod shadow;
mod shrink;
mod threads;
mod trace;
mod vital;
mod watch;
mod workload;
mod world;

pub use properties::Kind;
pub use random::Random;
pub use run::{Failure, Report, Simulation};
pub use scenario::{Absence, Fault, LeaderFault, Missing, Scenario, Step};
pub use seeds::seeds;
pub(crate) use threads::ThreadHandle;
pub use trace::Line;
pub use watch::Violation;
pub(crate) use watch::Watch;
pub use workload::{Command, Query, Registers, RegistersMachine, Workload};

use crate::host::placement::Spots;

/// The part of a simulated world that a node is.
#[derive(Clone)]
pub(crate) struct Simulated {
    /// Where its actors run.
    pub(crate) spots: Spots,
    /// Who watches them.
    pub(crate) watch: Watch,
}
