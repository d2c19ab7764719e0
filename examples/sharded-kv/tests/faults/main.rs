//! Real nodes under faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod history;
mod linearizability;
mod random;
