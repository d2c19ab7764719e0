//! A log that is compacted does not grow on disk, however much is written to it.

use crate::harness::{Disk, FjallDisk, append, compact, record};
use bytes::Bytes;
use raftyard::store::LogStore;
use raftyard_groups::{Entry, LogIndex, Payload, Term};
use std::path::Path;

const ENTRY_BYTES: usize = 1 << 20;
const ENTRIES: u64 = 400;
/// Two journals, what is being flushed, and tables that are about to be merged.
const DISK_BYTES_MAX: u64 = 250 << 20;

#[test]
fn a_compacted_log_stays_small() {
    let disk = FjallDisk::blank();
    let mut store = disk.open();
    store.recover().unwrap();
    store.create(&[record(1)]).unwrap();
    let mut largest = 0;
    for index in 1..=ENTRIES {
        let entry = Entry {
            index: LogIndex(index),
            term: Term(1),
            payload: Payload::Command(Bytes::from(vec![0x5A; ENTRY_BYTES])),
        };
        let write = match index % 10 {
            0 => compact(1, index - 3, 1, vec![entry]),
            _ => append(1, vec![entry]),
        };
        store.write(&[write]).unwrap();
        largest = largest.max(size(disk.path()));
    }
    assert!(largest < DISK_BYTES_MAX, "{} MiB on disk", largest >> 20);
    drop(store);
    let mut store = disk.open();
    let state = store.recover().unwrap().groups.remove(0).state;
    assert_eq!(
        (state.base.index, state.last),
        (LogIndex(ENTRIES - 3), LogIndex(ENTRIES))
    );
}

/// Bytes that the files below a directory take.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    // What is allocated ahead does not count.
    metadata.len() * u64::from(metadata.is_file()) + below.map(|entry| size(&entry.path())).sum::<u64>()
}
