//! The log store and the snapshots on disks that do what disks do: bits flip, blocks vanish or land elsewhere, files are
//! cut or gone, machines stop between any two writes, processes are killed. Whatever it was, the store opens and all
//! that was acknowledged is there, or it says who lost something, or it is refused by name.
//!
//! `RAFTYARD_SEED` takes a printed seed back; `RAFTYARD_FLIPS`, `RAFTYARD_DOUBLE_FAULTS`, `RAFTYARD_STOPS`,
//! `RAFTYARD_KILLS` and `RAFTYARD_CALLS` say how many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "shared with the tests of the log store"
)]

#[path = "torture/calls.rs"]
mod calls;
#[path = "torture/full.rs"]
mod full;
#[path = "log_store/harness.rs"]
mod harness;
#[path = "torture/killed.rs"]
mod killed;
#[path = "log_store/model.rs"]
mod model;
#[path = "torture/real_files.rs"]
mod real_files;
#[path = "torture/script.rs"]
mod script;
#[path = "torture/simulated.rs"]
mod simulated;
#[path = "log_store/steps.rs"]
mod steps;
#[path = "log_store/stops.rs"]
mod stops;
#[path = "support"]
mod support {
    pub(crate) mod calls;
    pub(crate) mod child;
    pub(crate) mod settings;
    pub(crate) mod small_disk;
}
#[path = "log_store/tame_disk.rs"]
mod tame_disk;
#[path = "log_store/verdict.rs"]
mod verdict;
