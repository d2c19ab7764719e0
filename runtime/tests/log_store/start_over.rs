//! What is damaged is made good by writing all once more. Cut short, a start must not know less than the one before.

use crate::harness::{Disk, Harness, append, compact, entries, hard_state, large, record, vote};
use crate::tame_disk::{Files, TameDisk};
use crate::verdict::{Tally, Truth};
use raftyard::store::{Damage, LogStore, LostGroups, StoreContents, StoreError};
use raftyard_groups::{LogId, LogIndex, Term};

/// Of what a write was to leave, this many bytes are there after a crash: nothing, only a batch's header and a little,
/// a beginning, all.
const KEPT: [usize; 4] = [0, 100, 4096, usize::MAX];

/// Of a log that nothing is known to end.
const UNKNOWN: LogId = LogId {
    term: Term(u64::MAX),
    index: LogIndex(u64::MAX),
};

/// A disk whose last batch holds votes of all groups.
struct Damaged {
    truth: Truth,
    disk: TameDisk,
}

/// The last segment ends before the last batch, which was acknowledged.
fn without_its_last_batch(bytes_each: usize) -> Damaged {
    without_a_last_vote(written(bytes_each), &[1, 2, 3])
}

/// The same, of these groups.
fn without_a_last_vote(mut h: Harness<TameDisk>, groups: &[u64]) -> Damaged {
    let mut before = h.disk().files().segments.clone();
    let votes: Vec<_> = groups
        .iter()
        .map(|group| vote(*group, hard_state(9, Some(3))))
        .collect();
    h.write(&votes);
    let disk = h.into_disk();
    let truth = truth(&disk);
    let mut files = disk.files();
    let (newest, segment) = files.segments.last_key_value().unwrap();
    // It may be the first one there.
    let (newest, header) = (*newest, segment[..32].to_vec());
    files.segments.insert(newest, before.remove(&newest).unwrap_or(header));
    drop(files);
    Damaged { truth, disk }
}

/// The newest segment is gone, and so is the mark.
fn without_its_newest_segment() -> Damaged {
    let mut h = written(100);
    h.write(&[1, 2, 3].map(|group| vote(group, hard_state(9, Some(3)))));
    // It begins a segment.
    h.write(&[append(1, vec![large(5, 9, 2_000)])]);
    let disk = h.into_disk();
    let truth = truth(&disk);
    let mut files = disk.files();
    files.segments.pop_last().unwrap();
    files.lose_mark();
    drop(files);
    Damaged { truth, disk }
}

/// Three groups, and one that is destroyed.
pub(crate) fn written(bytes_each: usize) -> Harness<TameDisk> {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2, 3, 4]);
    h.write(&[1, 2, 3, 4].map(|group| append(group, entries(1, 2, group))));
    h.destroy(&[4]);
    for group in [1, 2, 3] {
        h.write(&[append(group, vec![large(3, 5, bytes_each)])]);
    }
    h.write(&[compact(1, 1, 1, entries(4, 1, 5))]);
    h
}

fn truth(disk: &TameDisk) -> Truth {
    let mut store = disk.open();
    let contents = store.recover().unwrap();
    Truth::of(&store, contents)
}

/// Cuts the start over short at each step, for want of room at many places, and both ways it crashes. `check` is given
/// what is left, and says what became of it.
fn cut_short(damaged: &TameDisk, check: impl Fn(&TameDisk, &dyn Fn() -> String) -> Tally) -> Tally {
    let mut tally = Tally::default();
    let mut cut = |limit: &dyn Fn(&mut Files), kept: usize, what: &dyn Fn() -> String| {
        let disk = damaged.copy();
        limit(&mut disk.files());
        let result = disk.open().recover();
        disk.files().room = None;
        disk.files().crash(|byte| byte < kept);
        tally.add(check(&disk, what));
        result
    };
    for kept in KEPT {
        let mut stops = 0;
        let limit = |files: &mut Files, stop| files.steps_left = Some(stop);
        let what = |stop| format!("stopped at {stop}, {kept} bytes of a write are left");
        while cut(&|files| limit(files, stops), kept, &|| what(stops)).is_err() {
            stops += 1;
        }
        assert!(stops > 5, "{stops}");
    }
    let mut refused = 0;
    for more in [0, 31, 32, 64, 100, 3_000, 640 << 10, (1 << 20) + (300 << 10), 2 << 20] {
        let limit = |files: &mut Files| files.room = Some(files.bytes() + more);
        let what = || format!("room for {more} bytes");
        match cut(&limit, usize::MAX, &what) {
            Err(StoreError::Full { .. }) => refused += 1,
            other => drop(other.unwrap()),
        }
    }
    assert!(refused >= 4, "{refused}");
    tally
}

#[test]
fn a_lost_last_batch_is_not_forgotten_by_a_start_over_that_is_cut_short() {
    // All fits into one batch, or not.
    for size in [100, 600 << 10] {
        let Damaged { truth, disk } = without_its_last_batch(size);
        let told = cut_short(&disk, |disk, what| {
            let told = truth.check(|| Ok(disk.open()), &|| format!("{size} bytes each, {}", what()));
            assert!(told.kept + told.whole <= 1, "{}: {told:?}", what());
            told
        });
        assert_eq!((told.refused, told.lost), (0, 0), "{told:?}");
    }
}

/// What is left of a damaged group's log may be all that an operator has to go on from.
#[test]
fn what_is_left_of_a_damaged_log_is_not_less_after_a_start_over_that_is_cut_short() {
    let mut h = Harness::<TameDisk>::with_groups(&[1]);
    for index in 1..=4 {
        h.write(&[append(1, vec![large(index, 5, 600 << 10)])]);
    }
    let Damaged { truth, disk } = without_a_last_vote(h, &[1]);
    let tally = cut_short(&disk, |disk, what| {
        let found = disk.open().recover().unwrap();
        assert_eq!(found.groups[0].state.last, LogIndex(4), "{}", what());
        truth.check(|| Ok(disk.open()), what)
    });
    assert_eq!((tally.whole, tally.lost), (0, 0), "{tally:?}");
}

/// Nor is it if a batch before it rots in between: a segment that was begun says how many came before.
#[test]
fn what_rots_after_a_start_over_was_cut_short_is_noticed() {
    // The damage is elsewhere; the last batch is whole, and the only one with the votes.
    let mut h = written(100);
    let first = *h.disk().files().segments.keys().next().unwrap();
    h.disk().files().segments.get_mut(&first).unwrap()[200] ^= 1;
    let before = h.disk().files().segments.clone();
    h.write(&[1, 2, 3].map(|group| vote(group, hard_state(9, Some(3)))));
    let disk = h.into_disk();
    let (newest, begins) = before.last_key_value().map(|(n, bytes)| (*n, bytes.len())).unwrap();
    assert!(disk.files().segments[&newest].len() > begins);
    for stop in 0..4 {
        let disk = disk.copy();
        disk.files().steps_left = Some(stop);
        disk.open().recover().unwrap_err();
        disk.files().crash(|byte| byte < 100);
        disk.files().segments.get_mut(&newest).unwrap()[begins + 20] ^= 1;
        let found = disk.open().recover().unwrap();
        for group in &found.groups {
            assert!(group.state.hard_state.term > Term(9), "stopped at {stop}: {group:?}");
        }
    }
}

/// What is written once more needs nothing of the first segment, of which nothing is left. That it was needed is forgotten only
/// once all is written: not with a batch of which the header alone is there, nor with the first of two.
#[test]
fn a_lost_first_segment_is_not_forgotten_by_a_start_over_that_is_cut_short() {
    for size in [2_000, 700 << 10] {
        let mut h = Harness::<TameDisk>::with_groups(&[1, 2, 3]);
        h.write(&[append(2, entries(1, 3, 5))]);
        // These begin segments.
        for group in [1, 3] {
            h.write(&[append(group, vec![large(1, 5, size)])]);
        }
        h.write(&[1, 2, 3].map(|group| vote(group, hard_state(9, None))));
        let disk = h.into_disk();
        let truth = truth(&disk);
        {
            let mut files = disk.files();
            assert!(files.segments.len() > 2);
            files.segments.first_entry().unwrap().get_mut().truncate(60);
        }
        let told = cut_short(&disk, |disk, what| {
            let what = || format!("{size} bytes each, {}", what());
            let found = disk.copy().open().recover().unwrap();
            for found in &found.groups {
                let is_next = found.state.hard_state.term > Term(9);
                assert!(is_next, "it may have acknowledged what it lacks: {}, {found:?}", what());
            }
            truth.check(|| Ok(disk.open()), &what)
        });
        assert!(told.damaged > 0, "{told:?}");
    }
}

/// The last batch, which was never acknowledged, is in the machine's memory alone, and a start over that counts it is cut short. It
/// was the last of the machine.
#[test]
fn what_a_start_over_counted_is_durable_or_was_never_there() {
    for stop in 0..4 {
        let mut h = written(100);
        rot_second_large(&mut h.disk().files());
        h.disk().files().fails_sync = true;
        let votes = [1, 2, 3].map(|group| vote(group, hard_state(9, Some(3))));
        h.store().write(&votes).unwrap_err();
        let disk = h.disk().clone();
        disk.files().fails_sync = false;
        disk.files().steps_left = Some(stop);
        disk.open().recover().unwrap_err();
        disk.files().crash(|_| false);
        let found = disk.open().recover().unwrap();
        assert_eq!(found.lost, None, "stopped at {stop}");
        let is_lost = |damage: Option<&Damage>| damage.is_some_and(|damage| damage.is_lost);
        let mut groups = found.groups.iter();
        assert!(
            !groups.any(|found| is_lost(found.damage.as_ref())),
            "stopped at {stop}: {found:?}"
        );
    }
}

/// A process ended, and left the mark in the machine's memory alone: a start notices by it that the last batch is gone. The machine
/// stops while that is made good.
#[test]
fn what_a_start_noticed_by_the_mark_is_noticed_by_the_next_one() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    h.write(&[vote(1, hard_state(3, Some(1)))]);
    let before = h.disk().files().segments.clone();
    for index in 1..4 {
        h.write(&[append(2, entries(index, 1, 3))]);
    }
    let disk = h.into_disk();
    disk.files().segments = before;
    {
        let files = disk.files();
        assert_ne!(files.mark, files.synced_mark);
    }
    stop_early(&disk, 4, &|disk, what| {
        let found = disk.open().recover().unwrap();
        assert_eq!(found.lost, None, "{what}");
        for group in &found.groups {
            let is_lost = group.damage.as_ref().is_some_and(|damage| damage.is_lost);
            assert!(!is_lost, "{what}: {group:?}");
            assert_eq!(group.state.forgotten.term, Term(3), "{what}: {group:?}");
        }
    });
}

/// The mark on disk does not name the last batch, which is whole. A record before it is damaged; the start that makes that good is
/// cut short, or finds no room; and then the last batch is damaged, too.
#[test]
fn what_a_start_over_found_whole_is_missed_if_it_rots_after_that_was_cut_short() {
    let mut h = written(100);
    h.write(&[vote(1, hard_state(9, Some(3)))]);
    h.write(&[vote(3, hard_state(8, Some(3)))]);
    let disk = h.into_disk();
    disk.files().crash(|_| false);
    rot_second_large(&mut disk.files());
    let (newest, last) = {
        let files = disk.files();
        let (newest, bytes) = files.segments.last_key_value().unwrap();
        (
            *newest,
            bytes.windows(4).rposition(|window| window == b"RYB\x02").unwrap(),
        )
    };
    // First it says that all of it is durable.
    end_early(&disk, 4, &|disk, what| {
        // Near its end a start does not need it any more.
        if let Some(segment) = disk.files().segments.get_mut(&newest) {
            segment[last + 70] ^= 1;
        }
        let found = disk.open().recover().unwrap();
        let voter = found.groups.iter().find(|found| found.record.group.0 == 3).unwrap();
        let is_known = voter.state.hard_state == hard_state(8, Some(3));
        assert!(is_known || voter.state.hard_state.term > Term(9), "{what}: {voter:?}");
    });
}

/// Stops a start after each of its steps from this one on, and then the machine, until a start comes to its end. `check` is given
/// what is left of each that did not.
pub(crate) fn stop_early(disk: &TameDisk, first: u64, check: &dyn Fn(&TameDisk, &str)) {
    for stop in first.. {
        let disk = disk.copy();
        disk.files().steps_left = Some(stop);
        let started = disk.open().recover();
        disk.files().crash(|_| false);
        if started.is_ok() {
            assert!(stop > 8, "{stop}");
            break;
        }
        check(&disk, &format!("stopped at {stop}"));
    }
}

/// The same, and for want of room.
pub(crate) fn end_early(disk: &TameDisk, first: u64, check: &dyn Fn(&TameDisk, &str)) {
    stop_early(disk, first, check);
    for more in [0, 32, 100] {
        let disk = disk.copy();
        let room = disk.files().bytes() + more;
        disk.files().room = Some(room);
        let full = disk.open().recover();
        assert!(
            matches!(full, Err(StoreError::Full { .. })),
            "room for {more}: {full:?}"
        );
        disk.files().room = None;
        disk.files().crash(|_| false);
        check(&disk, &format!("room for {more}"));
    }
}

/// What was begun in vain is removed segment by segment: only the damaged group is damaged all the while.
#[test]
fn who_is_whole_stays_whole_while_a_start_over_is_taken_back() {
    let mut h = written(1_100 << 10);
    h.write(&[vote(1, hard_state(9, Some(3)))]);
    let disk = h.into_disk();
    {
        let mut files = disk.files();
        let large = files
            .segments
            .values_mut()
            .filter(|segment| segment.len() > 1_100 << 10);
        // Of the second group.
        large.into_iter().nth(1).unwrap()[300] ^= 1;
    }
    let whole = |what: &str, disk: &TameDisk| {
        let found = disk.open().recover().unwrap();
        let whole = [0, 2].map(|at| found.groups[at].state.forgotten.index != LogIndex(u64::MAX));
        assert_eq!(whole, [true; 2], "{what}: {found:?}");
    };
    let mut taken_back = 0;
    for stop in 0.. {
        let disk = disk.copy();
        {
            let mut files = disk.files();
            files.room = Some(files.bytes() + (2_000 << 10));
            files.steps_left = Some(stop);
        }
        let segments = disk.files().segments.clone();
        let error = disk.open().recover().unwrap_err();
        disk.files().room = None;
        disk.files().crash(|_| false);
        let is_full = matches!(error, StoreError::Full { .. });
        taken_back += u32::from(is_full);
        if is_full && disk.files().segments == segments {
            break;
        }
        whole(&format!("stopped at {stop}"), &disk);
    }
    assert!(taken_back > 3, "{taken_back}");
}

/// However often it is tried, and whatever room comes to be, but not enough.
#[test]
fn a_start_over_that_finds_no_room_leaves_the_disk_as_it_was() {
    for size in [100, 600 << 10] {
        let Damaged { truth, disk } = without_its_last_batch(size);
        let before = disk.files().segments.clone();
        for more in [0, 32, 100, 500, 640 << 10, (1 << 20) + (300 << 10)] {
            let room = disk.files().bytes() + more;
            disk.files().room = Some(room);
            match disk.copy().open().recover() {
                Err(StoreError::Full { .. }) => drop(disk.open().recover().unwrap_err()),
                other => drop(other.unwrap()),
            }
            assert!(
                disk.files().segments == before,
                "{size} bytes each, room for {more} bytes"
            );
            // The machine stops while it takes back what it wrote.
            for stop in 0.. {
                let disk = disk.copy();
                disk.files().steps_left = Some(stop);
                let error = disk.open().recover();
                disk.files().room = None;
                disk.files().crash(|_| false);
                let what = || format!("{size} bytes each, room for {more} bytes, stopped at {stop}");
                let told = truth.check(|| Ok(disk.open()), &what);
                assert_eq!((told.whole, told.refused, told.lost), (0, 0, 0), "{}", what());
                if !matches!(error, Err(StoreError::Io { .. })) {
                    break;
                }
            }
        }
    }
}

/// Nobody knows in which terms its groups were, now or ever.
#[test]
fn what_nothing_is_known_of_stays_unknown() {
    let Damaged { truth, disk } = without_its_newest_segment();
    cut_short(&disk, |disk, what| {
        let told = truth.check(|| Ok(disk.open()), what);
        check_unknown(&disk.open().recover().unwrap(), &what());
        // It is damaged once more.
        {
            let mut files = disk.files();
            let mut last = files.segments.last_entry().unwrap();
            let len = last.get().len();
            last.get_mut().truncate(len - 1);
        }
        let found = disk.open().recover().unwrap();
        assert_ne!(found.findings, [], "{}", what());
        assert_eq!(found.tombstones.len(), 1, "{}", what());
        check_unknown(&found, &format!("{}, and then again", what()));
        told
    });
}

/// So many groups that their states are written in several batches, of which the first is durable.
#[test]
fn of_many_groups_each_stays_unknown() {
    let mut h = Harness::<TameDisk>::new();
    let records: Vec<_> = (1..=40_000).map(record).collect();
    h.store().create(&records).unwrap();
    // It begins a segment.
    h.store().write(&[vote(1, hard_state(9, Some(3)))]).unwrap();
    let disk = h.into_disk();
    let before = {
        let mut files = disk.files();
        files.segments.pop_last().unwrap();
        files.lose_mark();
        files.steps_left = Some(9);
        files.bytes()
    };
    let error = disk.open().recover().unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(disk.files().bytes() > before + (1 << 20), "one batch is there");
    disk.files().crash(|_| false);
    let found = disk.open().recover().unwrap();
    assert_eq!(found.groups.len(), records.len());
    check_unknown(&found, "of many");
}

fn check_unknown(found: &StoreContents, what: &str) {
    assert_eq!(found.lost, Some(LostGroups::Unknown), "{what}");
    for group in &found.groups {
        let is_lost = group.damage.as_ref().is_some_and(|damage| damage.is_lost);
        assert!(is_lost && group.state.forgotten == UNKNOWN, "{what}: {group:?}");
    }
    for tombstone in &found.tombstones {
        assert_eq!(tombstone.last, UNKNOWN, "{what}: {tombstone:?}");
    }
}

/// The log ends with a batch that was being written, and which no start counts.
#[test]
fn a_torn_batch_is_not_taken_for_a_damaged_one_by_who_finds_a_start_over_cut_short() {
    let mut h = written(100);
    let disk = h.disk().clone();
    let truth = truth(&disk.copy());
    disk.files().steps_left = Some(1);
    h.store()
        .write(&[1, 2, 3].map(|group| vote(group, hard_state(9, Some(3)))))
        .unwrap_err();
    // Its header is whole.
    disk.files().crash(|byte| byte < 70);
    rot_second_large(&mut disk.files());
    let lost = disk.copy().open().recover().unwrap();
    assert_ne!(lost.findings, []);
    let is_whole = |contents: &StoreContents, group: u64| {
        let found = contents.groups.iter().find(|found| found.record.group.0 == group);
        found.is_some_and(|found| truth.contents.groups.contains(found))
    };
    assert_eq!([1, 2, 3].map(|group| is_whole(&lost, group)), [true, false, true]);
    cut_short(&disk, |disk, what| {
        let found = disk.copy().open().recover().unwrap();
        assert!(is_whole(&found, 1) && is_whole(&found, 3), "{}: {found:?}", what());
        assert_eq!(found.tombstones, truth.contents.tombstones, "{}", what());
        truth.check(|| Ok(disk.open()), what)
    });
}

/// The record of group 2.
pub(crate) fn rot_second_large(files: &mut Files) {
    let bytes = files.segments.values_mut().flatten();
    let sevens = bytes.scan(0, |sevens, byte| {
        *sevens = if *byte == 7 { *sevens + 1 } else { 0 };
        Some((*sevens, byte))
    });
    let mut ends = sevens.filter(|(sevens, _)| *sevens == 100);
    *ends.nth(1).unwrap().1 ^= 1;
}

/// What the mark covers stays covered: a replica of which only the last entries are lost is damaged, and no group is one that
/// nobody knows of.
#[test]
fn a_newest_segment_that_is_all_zero_is_no_more_than_what_the_mark_says() {
    let mut h = written(100);
    h.write(&[1, 2, 3].map(|group| vote(group, hard_state(9, Some(3)))));
    // It begins a segment.
    h.write(&[append(1, vec![large(5, 9, 2_000)])]);
    let disk = h.into_disk();
    let truth = truth(&disk);
    disk.files().segments.last_entry().unwrap().get_mut().fill(0);
    let tally = cut_short(&disk, |disk, what| {
        let found = disk.open().recover().unwrap();
        assert_eq!(found.lost, None, "{}: {found:?}", what());
        let is_lost = |damage: Option<&Damage>| damage.is_some_and(|damage| damage.is_lost);
        assert!(
            !found.groups.iter().any(|found| is_lost(found.damage.as_ref())),
            "{}: {found:?}",
            what()
        );
        truth.check(|| Ok(disk.open()), what)
    });
    assert!(tally.damaged > 0 && tally.lost == 0, "{tally:?}");
}
