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
mod world;

use explorer::{Limits, Model, explore};
use raftyard_groups::{Body, Membership, Message, NodeId, Prompt, RoleKind};
use support::cluster::Cluster;
use support::n;
use world::{Bounds, World};

fn voters(count: u64) -> World {
    World::new(&Membership::of_voters((1..=count).map(NodeId)).unwrap())
}

/// Pre-votes change nothing at who is asked.
fn pre_votes(message: &Message) -> bool {
    matches!(
        message.body,
        Body::Prompt(Prompt::PreVote { .. } | Prompt::PreVoteReply { .. })
    )
}

fn leads(cluster: &Cluster) -> bool {
    cluster.leader().is_some()
}

fn commits(cluster: &Cluster) -> bool {
    cluster.safety.committed.len() >= 2
}

const CI: Limits = Limits {
    states: 300_000,
    heal_every: 1_000,
};

#[test]
fn election() {
    let mut start = voters(3);
    start.at_once = pre_votes;
    start.left = Bounds { timeouts: 2, crashes: 1, ..Bounds::default() };
    for id in [1, 2, 3] { start.cluster.node_mut(n(id)).hold_fsync = true; }
    explore(Model { name: "election", start, depth: 12, sometimes: vec![("leads", leads)] }, CI);
}

#[test]
fn replication() {
    let mut start = voters(3);
    start.elect(n(1));
    start.at_once = pre_votes;
    start.left = Bounds { timeouts: 1, proposals: 2, duplicates: 1, heartbeats: 1, ..Bounds::default() };
    explore(Model { name: "replication", start, depth: 10, sometimes: vec![("leads", leads), ("commits", commits)] }, CI);
}
