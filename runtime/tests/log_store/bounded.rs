//! A log that is compacted does not grow on disk, however much is written to it; nor do groups that come and go.

use crate::harness::{DirectoryDisk, Disk, append, compact, record};
use bytes::Bytes;
use raftyard::store::{GroupRecord, LogStore};
use raftyard_groups::{Entry, GroupId, Incarnation, LogIndex, Payload, Term};
use std::path::Path;

const ENTRY_BYTES: usize = 1 << 20;
const ENTRIES: u64 = 400;
/// Two journals, what is being flushed, and tables that are about to be merged.
const DISK_BYTES_MAX: u64 = 250 << 20;

#[test]
fn a_compacted_log_stays_small() {
    let disk = DirectoryDisk::blank();
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

#[test]
fn destroyed_groups_leave_no_bytes_behind() {
    let disk = DirectoryDisk::blank();
    let mut store = disk.open();
    store.recover().unwrap();
    let mut largest = 0;
    for life in 1..=ENTRIES / 10 {
        let record = GroupRecord {
            incarnation: Incarnation(life),
            ..record(1)
        };
        store.create(&[record]).unwrap();
        for index in 1..=10 {
            let entry = Entry {
                index: LogIndex(index),
                term: Term(1),
                payload: Payload::Command(Bytes::from(vec![0x5A; ENTRY_BYTES])),
            };
            store.write(&[append(1, vec![entry])]).unwrap();
        }
        store.destroy(&[GroupId(1)]).unwrap();
        largest = largest.max(size(disk.path()));
    }
    assert!(largest < DISK_BYTES_MAX, "{} MiB on disk", largest >> 20);
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
