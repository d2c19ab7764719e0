//! What the tests of this crate share: a simulated cluster around the real core, the safety checks that run
//! after each of its steps, and the runner of golden scripts.

// Every test target compiles this module for itself and uses a part of it.
#![allow(dead_code)]

pub(crate) mod beats;
pub(crate) mod cluster;
pub(crate) mod commands;
pub(crate) mod disk;
pub(crate) mod golden;
pub(crate) mod inject;
pub(crate) mod network;
pub(crate) mod patience;
pub(crate) mod replica;
pub(crate) mod rng;
pub(crate) mod safety;

use raftyard_groups::{Entry, LogIndex, NodeId, Payload};

/// Takes an entry's command away, as witnesses get it.
pub(crate) fn strip(entry: &mut Entry) {
    if let Payload::Command(_) = entry.payload {
        entry.payload = Payload::Noop;
    }
}

/// A node by its number.
pub(crate) fn n(number: u64) -> NodeId {
    NodeId(number)
}

/// Entries with these terms, from index 1 on, each naming itself.
pub(crate) fn entries_of_terms(terms: &[u64]) -> Vec<Entry> {
    (1..)
        .zip(terms)
        .map(|(index, term)| Entry {
            index: LogIndex(index),
            term: (*term).into(),
            payload: Payload::Command(format!("old{index}").into()),
        })
        .collect()
}
