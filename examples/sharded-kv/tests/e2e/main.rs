//! The real binary, driven over real sockets as clients and operators do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commands;
mod crash;
mod failover;
mod proxy;
mod proxy_leader;
mod refusals;
mod scale;
mod snapshots;
mod support;
