//! Nodes that notice whether others live, groups that sleep, and leaders that answer from their lease: on the real
//! runtime, by what it counts, never by how long something takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    missing_docs
)]

mod support;

#[path = "liveness/asleep.rs"]
mod asleep;
#[path = "liveness/dormitory.rs"]
mod dormitory;
#[path = "liveness/many.rs"]
mod many;
#[path = "liveness/nodes.rs"]
mod nodes;
#[path = "liveness/partition.rs"]
mod partition;
#[path = "liveness/resigned.rs"]
mod resigned;
#[path = "liveness/restart.rs"]
mod restart;
#[path = "liveness/stuck.rs"]
mod stuck;
