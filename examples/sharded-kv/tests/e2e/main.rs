//! The real binary, driven over real sockets as clients and operators do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod commands;
mod crash;
mod disk;
mod expiry;
mod failover;
mod limits;
mod membership;
mod newcomers;
mod proxy;
mod proxy_all_keys;
mod proxy_leader;
mod refusals;
mod scale;
mod scan;
mod shutdown;
mod snapshots;
mod store_check;
mod support;
mod tls;
mod transactions;
mod wiped;
