//! The machine stops at any step, and what was not synced is there in part or not at all.

use crate::harness::{Disk, Harness, append, entries, hard_state, record, vote};
use crate::stops::{contents, steps, stop_at};
use crate::tame_disk::TameDisk;
use raftyard::store::{LogStore, StoreError};
use raftyard_groups::{GroupId, LogIndex, Persist};

#[test]
fn nothing_that_was_not_synced_is_there() {
    stop_at(|_| true, |_, _| false);
}

#[test]
fn all_that_was_not_synced_is_there() {
    stop_at(|_| true, |_, _| true);
}

#[test]
fn parts_of_what_was_not_synced_are_there() {
    stop_at(|_| true, |step, byte| (byte / 64) as u64 % 2 == step % 2);
}

/// Another process looks at what the machine has in its memory alone, and tells others. Then the machine stops.
fn found_outlives_the_machine(disk: &TameDisk, what: &str) {
    let found = contents(disk).unwrap();
    disk.files().crash(|_| false);
    assert_eq!(contents(disk).unwrap(), found, "{what}");
}

#[test]
fn what_a_start_found_of_a_process_that_ended_outlives_the_machine() {
    for stop in 0.. {
        let disk = TameDisk::blank();
        let mut store = disk.open();
        store.recover().unwrap();
        disk.files().steps_left = Some(stop);
        let ended = steps().iter().any(|step| step(&mut store).is_err());
        drop(store);
        disk.files().steps_left = None;
        found_outlives_the_machine(&disk, &format!("ended at step {stop}"));
        if !ended {
            assert!(stop > 300, "{stop}");
            break;
        }
    }
}

#[test]
fn what_a_start_found_of_a_failed_sync_outlives_the_machine() {
    let steps = steps();
    for failing in 0..steps.len() {
        let disk = TameDisk::blank();
        let mut store = disk.open();
        for step in &steps[..failing] {
            step(&mut store).unwrap();
        }
        disk.files().fails_sync = true;
        let error = steps[failing](&mut store).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        drop(store);
        disk.files().fails_sync = false;
        found_outlives_the_machine(&disk, &format!("write {failing} was not synced"));
    }
}

/// What can't be made durable is told to nobody, however often it is asked for.
#[test]
fn a_start_whose_sync_fails_finds_nothing() {
    let h = Harness::<TameDisk>::with_groups(&[1]);
    let disk = h.into_disk();
    disk.files().fails_sync = true;
    let mut store = disk.open();
    assert!(matches!(store.recover(), Err(StoreError::Io { .. })));
    disk.files().fails_sync = false;
    assert!(matches!(store.recover(), Err(StoreError::Poisoned)));
    assert_eq!(contents(&disk).unwrap().0.groups.len(), 1, "another start does");
}

/// They begin a segment, and the one before is sealed first.
#[test]
fn groups_that_were_being_created_when_the_machine_stopped_are_missed_by_nobody() {
    for stop in 0.. {
        let mut h = Harness::<TameDisk>::with_groups(&[1]);
        let before = h.disk().files().segments.len();
        h.disk().files().steps_left = Some(stop);
        let new: Vec<_> = (2..100).map(record).collect();
        let created = h.store().create(&new);
        let disk = h.disk().clone();
        disk.files().crash(|_| false);
        let found = contents(&disk).unwrap().0;
        assert_eq!((found.lost, found.findings), (None, vec![]), "stopped at {stop}");
        if created.is_ok() {
            assert!(disk.files().segments.len() > before, "they don't begin a segment");
            break;
        }
    }
}

/// The last batch is cut at each of its bytes: it is gone, and all before it is there.
#[test]
fn a_torn_tail_is_dropped_whatever_is_left_of_it() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    h.write(&[append(1, entries(1, 3, 1)), append(2, entries(1, 2, 1))]);
    let disk = h.disk().clone();
    let before = contents(&disk).unwrap();
    let after = {
        let disk = disk.copy();
        let mut store = disk.open();
        store.recover().unwrap();
        store.write(&torn()).unwrap();
        contents(&disk).unwrap()
    };
    // It is written, but not synced.
    disk.files().steps_left = Some(1);
    let error = h.store().write(&torn()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    let bytes = disk.files().unsynced_bytes();
    assert!(bytes > 100);
    let mut whole = 0;
    for kept in 0..bytes {
        for tail_alone in [false, true] {
            if kept == 0 && tail_alone {
                continue;
            }
            let disk = disk.copy();
            disk.files().crash(|byte| (byte < kept) != tail_alone);
            let found = contents(&disk).unwrap();
            if found == after {
                // What is missing was zero.
                whole += 1;
                continue;
            }
            assert_eq!(found, before, "{kept} bytes");
            let mut store = disk.open();
            store.recover().unwrap();
            store.write(&[append(1, entries(4, 1, 2))]).unwrap();
            let read = store.read(GroupId(1), LogIndex(4), LogIndex(9), usize::MAX);
            drop(store);
            assert_eq!(read.unwrap(), entries(4, 1, 2));
            assert_eq!(contents(&disk).unwrap().0.groups[0].state.last, LogIndex(4));
        }
    }
    assert!(whole < 12, "{whole}");
}

/// What is left of a torn batch stands where a segment was to end, and the process ends between the next one's beginning and
/// the end of that one.
#[test]
fn a_segment_that_is_begun_behind_a_torn_batch_does_not_make_it_one_that_counts() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    h.write(&[append(1, entries(1, 3, 1)), append(2, entries(1, 2, 1))]);
    let disk = h.disk().clone();
    let before = contents(&disk).unwrap();
    disk.files().steps_left = Some(1);
    h.store().write(&torn()).unwrap_err();
    // Its header is whole.
    disk.files().crash(|byte| byte < 70);
    let mut begun = 0;
    for kept in [0, 20, usize::MAX] {
        for stop in 0.. {
            let disk = disk.copy();
            let mut store = disk.open();
            assert_eq!(store.recover().unwrap(), before.0);
            disk.files().steps_left = Some(stop);
            // It fits into no segment in which anything stands.
            let large = [append(1, entries(4, 200, 2))];
            if store.write(&large).is_ok() {
                break;
            }
            drop(store);
            disk.files().crash(|byte| byte < kept);
            begun += u32::from(disk.files().segments.len() > 1);
            let mut after = contents(&disk).unwrap();
            if after.0.groups[0].state.last == LogIndex(203) {
                after.0.groups[0] = before.0.groups[0].clone();
                after.1[0].truncate(3);
            }
            assert_eq!(after, before, "stopped at {stop}, {kept} bytes of a write are left");
        }
    }
    assert!(begun > 9, "{begun}");
}

fn torn() -> [Persist; 2] {
    [append(1, entries(4, 3, 1)), vote(2, hard_state(2, None))]
}
