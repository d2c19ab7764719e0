//! What of the key-value store others test: its readers of bytes that others wrote (`examples/fuzz`), and, with the feature
//! `sim`, its state machine in memory (`examples/simulated`). The store itself is the program beside it.

#[allow(dead_code, reason = "of these modules only what reads is used here")]
mod access;
#[allow(dead_code, reason = "of these modules only what reads is used here")]
mod address;
#[allow(dead_code, reason = "of these modules only what reads is used here")]
mod config;
#[cfg(test)]
mod random;
mod readers;
#[allow(dead_code, unused_imports, reason = "of these modules only what reads is used here")]
mod resp;
#[allow(dead_code, reason = "of these modules only what reads is used here")]
mod slots;

#[cfg(feature = "sim")]
#[allow(dead_code, reason = "nobody waits for deadlines here")]
mod bell;
#[cfg(feature = "sim")]
#[allow(dead_code, reason = "only the state machine on disk asks for all of it")]
mod glob;
#[cfg(feature = "sim")]
#[allow(
    dead_code,
    unused_imports,
    reason = "of the state machines only that in memory is used here"
)]
mod machine;
#[cfg(feature = "sim")]
#[allow(dead_code, reason = "connections count their replies")]
mod replies;

pub use readers::{COMMANDS, CONFIG, REPLIES, Reader};

/// What clients ask of the state machine in memory, for a [`Simulation`](raftyard::sim::Simulation): commands and queries
/// of all kinds that concern few keys each.
#[cfg(feature = "sim")]
pub fn workload() -> impl raftyard::sim::Workload {
    machine::simulated::Clients::default()
}
