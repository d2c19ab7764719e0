//! A model checker over the core itself: from a start, all that can happen within some bounds, in every
//! order. After every step the invariants of the core and the safety properties of the paper's figure 3 are
//! checked against what the disks hold (`support/safety.rs`); some states are healed to see whether the cluster
//! gets on; and each model names what must come up in it.
//!
//! `cargo test --release -p raftyard-groups --test model -- --ignored --nocapture` explores further;
//! `RAFTYARD_MODEL_DEPTH` and `RAFTYARD_MODEL_STATES` say how far at most.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod explorer;
mod gets_on;
mod lives;
mod models;
mod world;

use explorer::{Limits, explore};

/// A number from the environment.
fn number(variable: &str) -> Option<usize> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}: no number")))
}

macro_rules! models {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            explore_within_reason(models::$name());
        })*

        mod further {
            $(#[test]
            #[ignore = "takes minutes"]
            fn $name() {
                super::explore_further(super::models::$name());
            })*
        }
    };
}

/// As far as it is stated; or, for who is in a hurry, up to some number of states, whatever comes up in them.
fn explore_within_reason(model: explorer::Model) {
    let limits = Limits {
        states: number("RAFTYARD_MODEL_STATES").unwrap_or(usize::MAX),
        heal_every: 500,
    };
    explore(model, limits);
}

/// With all that may happen happening once more, to a greater depth.
fn explore_further(mut model: explorer::Model) {
    model.start.left = model.start.left.once_more();
    model.depth = number("RAFTYARD_MODEL_DEPTH").map_or(64, |depth| u32::try_from(depth).unwrap());
    let limits = Limits {
        states: number("RAFTYARD_MODEL_STATES").unwrap_or(1_500_000),
        heal_every: 5_000,
    };
    explore(model, limits);
}

models! {
    elections
    pre_votes
    replication
    diverged_logs
    late_writes
    reads
    reads_at_followers
    transfers
    snapshots
    two_voters
    learner
    replaced_voter
    leader_removed
    replaced_alone
    growing
    leases
    leases_and_restarts
    leases_and_transfers
    leases_of_two_terms
    sleepers
}
