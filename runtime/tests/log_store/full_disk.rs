//! Writes that the disk does not take: for want of room, which leaves all as it was; and in a way that nobody knows what
//! is there, in a process whose files may not grow beyond a limit.

use crate::harness::{DirectoryDisk, Disk, Harness, append, compact, entries, hard_state, record, vote};
use crate::tame_disk::TameDisk;
use bytes::Bytes;
use raftyard::store::{LogStore, StoreError};
use raftyard_groups::{Entry, GroupId, LogIndex, Payload, Persist};

const INSIDE: &str = "RAFTYARD_TEST_FILE_LIMIT";

/// Runs the tests of `inside`, with files limited to 80 MiB: the journal's 64 MiB are allocated ahead.
#[cfg(unix)]
#[test]
fn a_failed_write_poisons_the_store_and_reads_go_on() {
    let me = std::env::current_exe().unwrap();
    // Without the trap the process would be killed instead of being told.
    let script = "trap '' XFSZ; ulimit -f 163840; exec \"$0\" \"$@\"";
    let output = std::process::Command::new("sh")
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
    let error = h.store().create(&[record(2)]).unwrap_err();
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

/// The disk ends at every possible place, in a batch, in what ends a segment, and in a new segment.
#[test]
fn what_there_is_no_room_for_leaves_nothing_and_goes_through_once_there_is() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    let mut refused = 0;
    for round in 0..600_u64 {
        let last = h.model.last(GroupId(1)).index.0;
        let log = entries(last + 1, 1 + round % 5, 1);
        let batch = match round % 10 {
            9 => [compact(1, last, 1, log)],
            _ => [append(1, log)],
        };
        let bytes = h.disk().files().bytes();
        h.disk().files().room = Some(bytes + round * 7 % 90);
        match h.store().write(&batch) {
            Ok(()) => h.model.write(&batch),
            Err(StoreError::Full { .. }) => {
                refused += 1;
                h.check_logs();
                match round % 4 {
                    // The machine stops: nothing of it is found, and it can be asked anew.
                    0 => {
                        h.disk().files().crash(|_| round % 8 == 0);
                        h.reopen();
                        h.check_logs();
                    }
                    // Something smaller may find room.
                    1 => {
                        let less = [vote(2, hard_state(round, None))];
                        match h.store().write(&less) {
                            Ok(()) => h.model.write(&less),
                            Err(error) => assert!(matches!(error, StoreError::Full { .. }), "{error}"),
                        }
                    }
                    _ => {}
                }
                h.disk().files().room = None;
                h.write(&batch);
            }
            Err(error) => panic!("round {round}: {error}"),
        }
        h.disk().files().room = None;
        if round % 7 == 0 {
            h.check_logs();
            h.reopen();
        }
    }
    assert!(refused > 50, "{refused} writes found no room");
    h.check_logs();
    h.reopen();
    h.check_logs();
}

#[test]
fn groups_neither_come_nor_go_without_room_for_the_note() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    h.write(&[append(1, entries(1, 3, 1))]);
    let bytes = h.disk().files().bytes();
    h.disk().files().room = Some(bytes);
    let later = raftyard::store::GroupRecord {
        incarnation: raftyard_groups::Incarnation(900),
        ..record(1)
    };
    let refusals = [
        h.store().create(&[record(3)]),
        h.store().destroy(&[GroupId(1)]).map(drop),
        h.store().rebuild(&later),
        h.store().forget(GroupId(1)).map(drop),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(StoreError::Full { .. })), "{refusal:?}");
    }
    h.check_logs();
    h.reopen();
    h.check_logs();
    h.disk().files().room = None;
    h.create(&record(3));
    h.destroy(&[1]);
    h.reopen();
    h.check_logs();
}

/// A failed sync that says that there is no room says nothing of what is on disk.
#[test]
fn a_sync_that_fails_is_terminal_whatever_it_says() {
    let mut h = Harness::<TameDisk>::with_groups(&[1]);
    h.disk().files().fails_sync = true;
    let batch = [append(1, entries(1, 3, 1))];
    let error = h.store().write(&batch).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    h.disk().files().fails_sync = false;
    let error = h.store().write(&batch).unwrap_err();
    assert!(matches!(error, StoreError::Poisoned), "{error}");
}
