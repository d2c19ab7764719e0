//! The log store and the snapshots on disks that do what disks do: bits flip, blocks vanish or land elsewhere, files are
//! cut or gone, machines stop between any two writes, processes are killed. Whatever it was, the store opens and all
//! that was acknowledged is there, or it says who lost something, or it is refused by name.
//!
//! `RAFTYARD_SEED` takes a printed seed back; `RAFTYARD_FLIPS`, `RAFTYARD_DOUBLE_FAULTS`, `RAFTYARD_STOPS` and
//! `RAFTYARD_KILLS` say how many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "shared with the tests of the log store"
)]

#[path = "log_store/harness.rs"]
mod harness;
#[path = "torture/killed.rs"]
mod killed;
#[path = "log_store/model.rs"]
mod model;
#[path = "torture/real_files.rs"]
mod real_files;
#[path = "torture/simulated.rs"]
mod simulated;
#[path = "log_store/steps.rs"]
mod steps;
#[path = "log_store/stops.rs"]
mod stops;
#[path = "log_store/tame_disk.rs"]
mod tame_disk;
#[path = "log_store/verdict.rs"]
mod verdict;

use std::time::{SystemTime, UNIX_EPOCH};

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A new one each time, unless it is given.
fn seed() -> u64 {
    let seed = number("RAFTYARD_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("RAFTYARD_SEED={seed}");
    seed
}
