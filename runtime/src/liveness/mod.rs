//! Which nodes live, on the real runtime: the one owner of a node's [`Liveness`](raftyard_groups::Liveness), beside
//! the transport, and what it and the rest of the node tell each other.

mod actor;
mod board;
mod config;
mod moving;

pub(crate) use actor::{LivenessActor, LivenessWork, Stop, Surroundings};
pub(crate) use board::Board;
pub use config::LivenessTuning;
