//! Logs that have grown out of the journal into fjall's tables.

use crate::harness::{FjallDisk, Harness, append, entries};
use bytes::Bytes;
use raftyard_groups::{Entry, Payload, Persist};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn logs_outlive_their_way_into_tables() {
    let mut h = Harness::<FjallDisk>::with_groups(&[1, 2]);
    for first in (1..=80).step_by(4) {
        h.write(&[large(1, first, 4, 1), append(2, entries(first, 4, 1))]);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while !has_tables(h.disk().path()) {
        assert!(Instant::now() < deadline, "no table was written");
        std::thread::yield_now();
    }
    h.check_logs();
    h.reopen();
    // Replaces what is in tables by then, then reads across tables, journal and the cut.
    h.write_and_check(&[large(1, 6, 3, 2), append(2, entries(7, 2, 2))]);
    h.write_and_check(&[large(1, 9, 20, 2), append(2, entries(3, 70, 3))]);
}

/// Entries of 512 KiB each.
fn large(group: u64, first: u64, count: u64, term: u64) -> Persist {
    let entries: Vec<Entry> = entries(first, count, term)
        .into_iter()
        .map(|entry| Entry {
            payload: Payload::Command(Bytes::from(vec![entry.index.0.to_le_bytes()[0]; 512 << 10])),
            ..entry
        })
        .collect();
    append(group, entries)
}

/// Whether a keyspace (fjall's own, with number 0, apart) has a table.
fn has_tables(dir: &Path) -> bool {
    fs::read_dir(dir.join("log/keyspaces/1/tables")).is_ok_and(|mut tables| tables.next().is_some())
}
