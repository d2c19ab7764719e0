//! What every log store owes, checked against all; then what only the one on a disk owes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "log_store/begun_segments.rs"]
mod begun_segments;
#[path = "log_store/boot.rs"]
mod boot;
#[path = "log_store/bounded.rs"]
mod bounded;
#[path = "log_store/conformance.rs"]
mod conformance;
#[path = "log_store/crash.rs"]
mod crash;
#[path = "log_store/damage.rs"]
mod damage;
#[path = "log_store/directory.rs"]
mod directory;
#[path = "log_store/full_disk.rs"]
mod full_disk;
#[path = "log_store/harness.rs"]
mod harness;
#[path = "log_store/lives.rs"]
mod lives;
#[path = "log_store/model.rs"]
mod model;
#[path = "log_store/random.rs"]
mod random;
#[path = "log_store/start_over.rs"]
mod start_over;
#[path = "log_store/steps.rs"]
mod steps;
#[path = "log_store/stops.rs"]
mod stops;
#[path = "log_store/tame_disk.rs"]
mod tame_disk;
#[path = "log_store/tidy.rs"]
mod tidy;
#[path = "log_store/verdict.rs"]
mod verdict;
