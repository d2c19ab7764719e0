//! Writes that the disk does not take. The real thing, in a process whose files may not grow beyond a limit.
#![cfg(unix)]

use crate::harness::{DirectoryDisk, Disk, Harness, append, entries, hard_state, vote};
use bytes::Bytes;
use raftyard::store::{LogStore, StoreError};
use raftyard_groups::{Entry, GroupId, LogIndex, Payload, Persist};
use std::process::Command;

const INSIDE: &str = "RAFTYARD_TEST_FILE_LIMIT";

/// Runs the tests of `inside`, with files limited to 80 MiB: the journal's 64 MiB are allocated ahead.
#[test]
fn a_failed_write_poisons_the_store_and_reads_go_on() {
    let me = std::env::current_exe().unwrap();
    // Without the trap the process would be killed instead of being told.
    let script = "trap '' XFSZ; ulimit -f 163840; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(me)
        .args(["--exact", "full_disk::inside_the_limit", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn inside_the_limit() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let mut h = Harness::<DirectoryDisk>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 5, 1))]);

    let error = h.store().write(&[too_much()]).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");

    // What would fit is not taken any more. Nor is a barrier: what waits for it waits for the failed write too.
    let barrier = append(1, Vec::new());
    let fits = append(1, entries(6, 1, 1));
    for batch in [&[barrier], &[fits], &[vote(1, hard_state(9, None))]] {
        let error = h.store().write(batch).unwrap_err();
        assert!(matches!(error, StoreError::Poisoned), "{error}");
    }
    let error = h.store().create(&[crate::harness::record(2)]).unwrap_err();
    assert!(matches!(error, StoreError::Poisoned), "{error}");
    h.check_logs();

    // What was acknowledged outlives it. The failed batch may be there or not, but all of it or nothing.
    let disk = h.into_disk();
    let mut store = disk.open();
    let last = store.recover().unwrap().groups[0].state.last;
    assert!([LogIndex(5), LogIndex(105)].contains(&last), "{last}");
    let found = store.read(GroupId(1), LogIndex(1), LogIndex(5), usize::MAX);
    assert_eq!(found.unwrap(), entries(1, 5, 1));
}

/// 100 MiB in one write.
fn too_much() -> Persist {
    let mib = Bytes::from(vec![7; 1 << 20]);
    let large: Vec<Entry> = entries(6, 100, 1)
        .into_iter()
        .map(|entry| Entry {
            payload: Payload::Command(mib.clone()),
            ..entry
        })
        .collect();
    append(1, large)
}
