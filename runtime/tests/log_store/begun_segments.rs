//! What a segment says in which nothing stands: it was begun for a batch that never came to be.

use crate::harness::{Disk, Harness, append, entries, hard_state, large, vote};
use crate::start_over::{end_early, rot_second_large, stop_early, written};
use crate::tame_disk::{Files, TameDisk};
use raftyard::store::LogStore;
use raftyard_groups::{GroupId, LogId, LogIndex, Term};
use std::ops::Range;

/// Steps of the disk after which the next segment is there, and the one before goes on.
const BEGUN: u64 = 1;

/// After which the one before is durably at its end, too.
const SEALED: u64 = 3;

/// A batch begins a segment, the disk stops after so many steps, and then so does the machine.
fn begin_next(mut h: Harness<TameDisk>, steps: u64) -> TameDisk {
    let segments = h.disk().files().segments.len();
    let next = h.recovered(GroupId(1)).last.0 + 1;
    h.disk().files().steps_left = Some(steps);
    h.store().write(&[append(1, vec![large(next, 5, 2_000)])]).unwrap_err();
    let disk = h.into_disk();
    disk.files().crash(|_| false);
    assert_eq!(disk.files().segments.len(), segments + 1);
    disk
}

/// A segment that was begun, with nothing in it, is all that says that the batch before it was durable, and that nothing came
/// behind it. A record of that batch is damaged.
#[test]
fn what_a_segment_in_which_nothing_stands_says_is_not_forgotten() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2, 3]);
    h.write(&[vote(1, hard_state(9, Some(3)))]);
    let begins = h.disk().files().segments[&1].len();
    h.write(&[vote(1, hard_state(8, Some(3))), vote(2, hard_state(8, Some(3)))]);
    let end = h.disk().files().segments[&1].len();
    h.disk().files().crash(|_| false);
    let disk = begin_next(h, BEGUN);
    // In the record of the first group, or of the second.
    for (damaged, at) in [(0, begins + 56 + 4 + 20), (1, end - 1)] {
        let disk = disk.copy();
        disk.files().segments.get_mut(&1).unwrap()[at] ^= 1;
        let check = |disk: &TameDisk, what: &str| {
            let found = disk.open().recover().unwrap();
            for (place, found) in found.groups.iter().enumerate() {
                let forgets = found.state.forgotten.index == LogIndex(u64::MAX);
                assert_eq!(forgets, place == damaged, "{what}: {found:?}");
                assert!(!forgets || found.state.hard_state.term > Term(9), "{what}: {found:?}");
            }
        };
        end_early(&disk, 0, &check);
        disk.open().recover().unwrap();
        disk.files().crash(|_| false);
        check(&disk, "not cut short");
    }
}

/// A segment in which nothing stands is all that says that batches before it are lost, which the mark on disk does not name. Once
/// that was noticed, the segment is lost, too.
#[test]
fn what_a_lost_segment_had_said_is_not_forgotten() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    h.write(&[vote(1, hard_state(9, Some(3)))]);
    h.disk().files().crash(|_| false);
    let begins = h.disk().files().segments[&1].len();
    h.write(&[vote(2, hard_state(8, Some(3)))]);
    h.write(&[vote(1, hard_state(9, Some(3)))]);
    let disk = begin_next(h, SEALED);
    disk.files().segments.get_mut(&1).unwrap()[begins..].fill(0);
    stop_early(&disk, 4, &|disk, what| {
        disk.files().segments.remove(&2);
        let found = disk.open().recover().unwrap();
        for group in &found.groups {
            assert!(group.state.hard_state.term > Term(9), "{what}: {group:?}");
        }
    });
}

/// A start over is killed in the midst of its first batch, of which the machine's memory has a part. The next one is cut short, and
/// with it the machine stops: the batch is gone, or its beginning.
#[test]
fn what_a_killed_start_over_had_begun_and_lost_is_missed_by_nobody() {
    for is_behind_a_stray in [false, true] {
        let h = written(100);
        let disk = match is_behind_a_stray {
            true => begin_next(h, BEGUN),
            false => h.into_disk(),
        };
        rot_second_large(&mut disk.files());
        disk.files().crash(|_| true);
        for lost in [0..usize::MAX, 0..200] {
            check_killed(&disk, &|byte| !lost.contains(&byte));
        }
    }
}

/// Only the second group is damaged, whenever the first start is killed, and the second is cut short by a crash that keeps so much.
fn check_killed(disk: &TameDisk, keep: &dyn Fn(usize) -> bool) {
    let newest = *disk.files().segments.last_key_value().unwrap().0;
    let mut begun = 0;
    for killed in 0.. {
        let disk = disk.copy();
        disk.files().steps_left = Some(killed);
        if disk.open().recover().is_ok() {
            break;
        }
        disk.files().steps_left = None;
        let unsynced = disk.files().unsynced_bytes();
        if let Some(bytes) = disk.files().segments.get_mut(&(newest + 1))
            && unsynced > 300
        {
            bytes[100..140].fill(0);
            begun += 1;
        }
        for stop in 0..9 {
            let disk = disk.copy();
            disk.files().steps_left = Some(stop);
            // It may have come to its end.
            disk.open().recover().map(drop).ok();
            disk.files().crash(keep);
            let synced = disk.files().synced_mark.clone();
            disk.files().mark = synced;
            let found = disk.open().recover().unwrap();
            let damaged = found.groups.iter().map(|found| found.state.forgotten != LogId::ZERO);
            let expected = [false, true, false];
            assert!(damaged.eq(expected), "killed at {killed}, stopped at {stop}: {found:?}");
        }
    }
    assert!(begun > 0);
}

/// A segment was ended, and nothing stands in the one behind it.
fn ended() -> TameDisk {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    h.write(&[vote(1, hard_state(9, Some(3))), vote(2, hard_state(9, Some(3)))]);
    let disk = begin_next(h, SEALED);
    // The mark names the end.
    disk.open().recover().unwrap();
    disk
}

fn rot_last_byte(disk: &TameDisk, segment: u32) {
    *disk.files().segments.get_mut(&segment).unwrap().last_mut().unwrap() ^= 1;
}

/// The end rots: the segment behind it says that no record was there.
#[test]
fn a_damaged_end_of_a_segment_is_nobodys() {
    let disk = ended();
    rot_last_byte(&disk, 1);
    // A start may be killed, or its sync fail, and what is written there next be torn: of all its bytes those are there that were
    // damaged, or none, or all.
    let limits: [fn(&mut Files, u64); 2] = [
        |files, steps| files.steps_left = Some(steps),
        |files, syncs| files.syncs_left = Some(syncs),
    ];
    for limit in limits {
        for kept in [55..56, 0..0, 0..usize::MAX] {
            for left in 0.. {
                let disk = disk.copy();
                limit(&mut disk.files(), left);
                let started = disk.open().recover().map(drop);
                disk.files().steps_left = None;
                disk.files().syncs_left = None;
                check_torn(&disk, &kept);
                if started.is_ok() {
                    assert!(left > 1, "{left}");
                    break;
                }
            }
        }
    }
}

fn check_torn(disk: &TameDisk, kept: &Range<usize>) {
    let mut store = disk.open();
    let found = store.recover().unwrap();
    for found in &found.groups {
        assert_eq!(found.damage, None);
        assert_eq!(found.state.hard_state, hard_state(9, Some(3)));
    }
    // It is written, and not synced.
    disk.files().steps_left = Some(1);
    store.write(&[append(1, entries(1, 1, 9))]).unwrap_err();
    drop(store);
    disk.files().crash(|byte| kept.contains(&byte));
    let found = disk.open().recover().unwrap();
    for found in &found.groups {
        assert_eq!(found.damage, None, "{kept:?}");
    }
    let last = LogIndex(u64::from(kept.contains(&0)));
    assert_eq!(found.groups[0].state.last, last, "{kept:?}");
}

/// The end rots, and so does the only batch behind it, which the mark does not name.
#[test]
fn what_stood_behind_a_damaged_end_of_a_segment_is_missed() {
    let disk = ended();
    let mut store = disk.open();
    store.recover().unwrap();
    store.write(&[append(1, entries(1, 1, 9))]).unwrap();
    drop(store);
    // The mark is in the machine's memory alone.
    disk.files().crash(|_| false);
    rot_last_byte(&disk, 1);
    disk.files().segments.get_mut(&2).unwrap()[40] ^= 1;
    let found = disk.open().recover().unwrap();
    for found in &found.groups {
        assert!(found.state.hard_state.term > Term(9), "{found:?}");
    }
}
