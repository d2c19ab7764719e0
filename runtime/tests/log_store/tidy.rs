//! Segments are given up once nobody needs anything in them, and no sooner.

use crate::harness::{Disk, Harness, append, compact, entries, hard_state, record};
use crate::tame_disk::TameDisk;
use raftyard::store::LogStore;
use raftyard_groups::{GroupId, LogIndex};

/// One busy group that is compacted, and others that wrote once, long ago.
fn slow_beside_busy(h: &mut Harness<TameDisk>, rounds: u64) {
    let first = h.model.last(GroupId(1)).index.0;
    for index in first + 1..=first + rounds {
        let write = match index % 10 {
            0 => compact(1, index - 1, 1, entries(index, 1, 1)),
            _ => append(1, entries(index, 1, 1)),
        };
        h.write(&[write]);
    }
}

fn with_slow_groups() -> Harness<TameDisk> {
    let slow: Vec<u64> = (2..12).collect();
    let mut h = Harness::<TameDisk>::with_groups(&[1]);
    slow.iter().for_each(|group| h.create(&record(*group)));
    for group in slow {
        let mut write = append(group, entries(1, group % 4, 1));
        write.hard_state = (group % 3 == 0).then(|| hard_state(group, Some(2)));
        h.write(&[write]);
    }
    h.destroy(&[11]);
    h
}

#[test]
fn what_slow_groups_wrote_long_ago_stays() {
    let mut h = with_slow_groups();
    for _ in 0..8 {
        slow_beside_busy(&mut h, 100);
        h.check_logs();
        h.reopen();
        h.check_logs();
    }
    let removed = h.disk().files().removed.len();
    assert!(removed > 8, "{removed} segments were given up");
}

#[test]
fn the_disk_stays_within_a_multiple_of_what_is_needed() {
    let mut h = with_slow_groups();
    // Far more than is written at a time: the slow groups' logs, nothing of which is compacted.
    for group in 2..9 {
        let last = h.model.last(GroupId(group)).index.0;
        h.write(&[append(group, entries(last + 1, 300, 1))]);
    }
    let live = h.disk().files().bytes();
    let mut largest = 0;
    for _ in 0..60 {
        slow_beside_busy(&mut h, 100);
        largest = largest.max(h.disk().files().bytes());
    }
    assert!(
        largest <= 4 * live + 2 * 2_000,
        "{largest} bytes, {live} of them needed"
    );
    assert!(
        largest > 2 * live,
        "{largest} bytes, {live} of them needed: not what this test is for"
    );
    h.check_logs();
    h.reopen();
    h.check_logs();
}

/// A segment is removed only once a batch is durable without which it would be needed: so a copy of the disk from
/// before each removal, and one from after it, hold the same.
#[test]
fn a_segment_in_which_something_is_needed_is_never_removed() {
    let mut h = with_slow_groups();
    let mut removed = 0;
    for _ in 0..600 {
        slow_beside_busy(&mut h, 1);
        let now = h.disk().files().removed.len();
        if now > removed {
            removed = now;
            let mut other = h.disk().copy().open();
            assert_eq!(other.recover().unwrap(), h.model.recovered());
            for group in h.model.groups() {
                let from = h.model.base(group).index.next().0;
                let read = other.read(group, LogIndex(from), LogIndex(u64::MAX), usize::MAX);
                assert_eq!(read.unwrap(), h.model.read(group, from, u64::MAX, usize::MAX));
            }
        }
    }
    assert!(removed > 5, "{removed}");
}

#[test]
fn groups_that_only_come_and_go_leave_nothing_behind() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    for life in 1..400_u64 {
        let mut record = record(3);
        record.incarnation.0 = 10 + life;
        h.create(&record);
        h.destroy(&[3]);
    }
    assert!(h.disk().files().segments.len() < 5);
    h.check_logs();
    h.reopen();
}

/// A disk that can't be read for a while costs nothing but that while.
#[test]
fn a_read_that_fails_keeps_no_segment_for_good() {
    for failing in [1, 5] {
        let mut h = with_slow_groups();
        slow_beside_busy(&mut h, 100);
        h.disk().files().failing_reads = failing;
        slow_beside_busy(&mut h, 400);
        assert_eq!(h.disk().files().failing_reads, 0, "all of them failed");
        let removed = h.disk().files().removed.len();
        slow_beside_busy(&mut h, 400);
        let since = h.disk().files().removed.len() - removed;
        assert!(since > 5, "{since} segments were given up after {failing} reads failed");
        h.check_logs();
        h.reopen();
        h.check_logs();
    }
}

/// A log of fifty segments, of which nobody needs one any more; a batch that is durable says so. With the index of its
/// last entry.
fn with_dead_segments() -> (Harness<TameDisk>, u64) {
    let mut h = Harness::<TameDisk>::with_groups(&[1]);
    let mut last = 0;
    while h.disk().files().segments.len() < 50 {
        h.write(&[append(1, entries(last + 1, 5, 1))]);
        last += 5;
    }
    h.write(&[compact(1, last, 1, Vec::new())]);
    h.write(&[append(1, entries(last + 1, 1, 1))]);
    (h, last + 1)
}

#[test]
fn what_nobody_needs_is_removed_before_a_write_is_refused_for_want_of_room() {
    for is_reopened in [false, true] {
        let (mut h, last) = with_dead_segments();
        if is_reopened {
            h.reopen();
        }
        let full = h.disk().files().bytes();
        h.disk().files().room = Some(full);
        h.write(&[append(1, entries(last + 1, 1, 1))]);
        assert!(h.disk().files().segments.len() < 5);
        h.check_logs();
        h.reopen();
        h.check_logs();
    }
}

#[test]
fn a_few_batches_remove_all_that_nobody_needs() {
    let (mut h, last) = with_dead_segments();
    for index in last + 1..=last + 15 {
        h.write(&[append(1, entries(index, 1, 1))]);
    }
    let bytes = h.disk().files().bytes();
    assert!(bytes < 4 * 2_000, "{bytes} bytes");
    h.check_logs();
    h.reopen();
}

/// It costs little while it can't be removed, and goes once it can.
#[test]
fn a_segment_that_can_not_be_removed_is_tried_ever_less_often() {
    let (mut h, last) = with_dead_segments();
    h.disk().files().fails_remove = true;
    for index in last + 1..=last + 100 {
        h.write(&[append(1, entries(index, 1, 1))]);
    }
    let failed = h.disk().files().removals_failed;
    assert!((2..10).contains(&failed), "{failed} times in a hundred batches");
    h.disk().files().fails_remove = false;
    for index in last + 101..=last + 300 {
        h.write(&[append(1, entries(index, 1, 1))]);
    }
    let segments = h.disk().files().segments.len();
    assert!(segments < 20, "{segments}");
    h.check_logs();
    h.reopen();
}

/// Whatever it was that kept it from being removed before.
#[test]
fn a_segment_that_could_not_be_removed_is_tried_at_once_for_want_of_room() {
    let (mut h, last) = with_dead_segments();
    h.disk().files().fails_remove = true;
    for index in last + 1..=last + 40 {
        h.write(&[append(1, entries(index, 1, 1))]);
    }
    h.disk().files().fails_remove = false;
    let full = h.disk().files().bytes();
    h.disk().files().room = Some(full);
    h.write(&[append(1, entries(last + 41, 1, 1))]);
    h.check_logs();
}
