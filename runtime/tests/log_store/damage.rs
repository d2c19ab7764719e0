//! What is not what was written: flipped bits, and bytes that are gone.

use crate::harness::{DirectoryDisk, Disk, Harness, append, compact, entries, hard_state, install, record, vote};
use crate::tame_disk::{Files, TameDisk};
use crate::verdict::{Tally, Truth};
use bytes::Bytes;
use raftyard::store::{
    GroupRecord, LogStore, LostGroups, RecoveredGroup, Refusal, SegmentLogStore, StoreContents, StoreError,
    StoreIdentity, check as check_directory,
};
use raftyard_groups::{Entry, GroupId, Incarnation, LogId, LogIndex, Membership, NodeId, Payload, Term};
use std::fs;

/// Two groups in several segments.
fn closed() -> TameDisk {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    h.write(&[vote(1, hard_state(3, Some(1))), vote(2, hard_state(3, None))]);
    for first in (1..100).step_by(5) {
        h.write(&[append(1, entries(first, 5, 3)), append(2, entries(first, 5, 3))]);
    }
    let disk = h.into_disk();
    assert!(disk.files().segments.len() > 2);
    disk
}

/// What a store found that may be damaged.
fn found(disk: &TameDisk) -> StoreContents {
    disk.open().recover().unwrap()
}

fn truth(disk: &TameDisk) -> Truth {
    let mut store = disk.open();
    let contents = store.recover().unwrap();
    Truth::of(&store, contents)
}

/// Checks what a copy of the disk says after it was damaged.
fn check(truth: &Truth, disk: &TameDisk, damage: impl Fn(&mut Files), what: &dyn Fn() -> String) -> Tally {
    let disk = disk.copy();
    damage(&mut disk.files());
    truth.check(|| Ok(disk.open()), what)
}

/// Also one in the batch that was written last: it was acknowledged.
#[test]
fn a_flipped_bit_anywhere_in_what_was_acknowledged_is_noticed() {
    let disk = closed();
    let truth = truth(&disk);
    let segments = disk.files().segments.clone();
    let mut tally = Tally::default();
    for (number, segment) in &segments {
        for at in (0..segment.len()).step_by(3) {
            let flip = |files: &mut Files| files.segments.get_mut(number).unwrap()[at] ^= 1 << (at % 8);
            let told = check(&truth, &disk, flip, &|| format!("byte {at} of segment {number}"));
            assert_eq!(told.partial, 1, "byte {at} of segment {number} was not noticed");
            tally.add(told);
        }
    }
    assert!(
        tally.kept > tally.cases() / 2,
        "what is whole is known to be: {tally:?}"
    );
    assert_eq!((tally.lost, tally.refused), (0, 0), "{tally:?}");
}

/// Without the mark, which a crash of the machine may take back, only the last batch may be taken for one that was
/// being written.
#[test]
fn a_flipped_bit_is_noticed_by_what_stands_behind_it() {
    let disk = closed();
    let whole = found(&disk);
    disk.files().lose_mark();
    let (number, segment) = disk
        .files()
        .segments
        .last_key_value()
        .map(|(n, s)| (*n, s.clone()))
        .unwrap();
    let mut lost_from = None;
    for at in 0..segment.len() {
        let disk = disk.copy();
        disk.files().segments.get_mut(&number).unwrap()[at] ^= 0x10;
        let found = found(&disk);
        if found.findings.is_empty() {
            lost_from.get_or_insert(at);
            let last = |contents: &StoreContents| contents.groups[0].state.last;
            assert_eq!(
                last(&found),
                LogIndex(last(&whole).0 - 5),
                "all but the last batch is there"
            );
        } else {
            assert_eq!(lost_from, None, "byte {at}");
        }
    }
    assert!(lost_from.is_some_and(|at| at > segment.len() / 2), "{lost_from:?}");
}

/// A crash of the machine took the mark back. Once the node was started, all is protected again, though nothing was
/// written since.
#[test]
fn a_start_says_again_how_far_the_log_is_durable() {
    let mut h = Harness::<TameDisk>::with_groups(&[1]);
    let begins = h.disk().files().segments[&1].len();
    let mark = h.disk().files().mark.clone();
    h.write(&[append(1, entries(1, 3, 1))]);
    let disk = h.into_disk();
    disk.files().mark = mark;
    let found_whole = found(&disk);
    assert_eq!(found_whole.findings, []);
    let end = disk.files().segments[&1].len();
    for at in begins..end {
        let disk = disk.copy();
        disk.files().segments.get_mut(&1).unwrap()[at] ^= 4;
        assert_ne!(found(&disk).findings, [], "byte {at}");
    }
}

/// A crash of the machine takes the mark back, as far as it may be taken back, and what stands from the batch on that it names
/// is gone. The node acknowledged more since, but came to no later term.
#[test]
fn a_mark_that_a_crash_took_back_names_every_term_and_every_group() {
    let new_term: fn(&mut Harness<TameDisk>) = |h| h.write(&[vote(2, hard_state(9, Some(3)))]);
    let new_group: fn(&mut Harness<TameDisk>) = |h| h.create(&record(3));
    for (what, lost, news) in [
        ("a term", None, new_term),
        ("a group", Some(LostGroups::Since(Term(3))), new_group),
    ] {
        let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
        h.write(&[vote(1, hard_state(3, Some(1)))]);
        h.disk().files().crash(|_| false);
        let before = h.disk().files().segments.clone();
        news(&mut h);
        h.write(&[append(1, entries(1, 3, 3))]);
        h.write(&[vote(1, hard_state(3, Some(1)))]);
        let disk = h.into_disk();
        disk.files().segments = before;
        disk.files().crash(|_| false);
        let found = found(&disk);
        assert_ne!(found.findings, [], "{what}");
        assert_eq!(found.lost, lost, "{what}");
        let term = if lost.is_some() { 4 } else { 10 };
        for group in &found.groups {
            assert!(group.damage.is_some(), "{what}");
            assert_eq!(group.state.hard_state, hard_state(term, None), "{what}");
        }
    }
}

/// What the mark on disk names ends there, or a segment does, and what stands behind was acknowledged as well.
fn behind_the_mark(begins_a_segment: bool) -> (TameDisk, Vec<u8>) {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    h.write(&[vote(1, hard_state(3, Some(1))), append(2, entries(1, 3, 3))]);
    h.disk().files().crash(|_| false);
    let before = h.disk().files().segments.last_entry().unwrap().get().clone();
    let disk = h.disk().clone();
    if begins_a_segment {
        h.write(&[append(2, entries(4, 200, 3))]);
        assert!(disk.files().segments.len() > 1);
    } else {
        h.write(&[vote(2, hard_state(3, Some(2)))]);
        assert_eq!(disk.files().segments.len(), 1);
    }
    disk.files().crash(|_| false);
    (disk, before)
}

/// All replicas may have lost something, and none has: nobody knows of what.
fn all_may_have_lost_something(disk: &TameDisk, term: u64, what: &str) {
    let found = found(disk);
    assert_eq!(found.lost, None, "{what}");
    for group in &found.groups {
        let is_lost = group.damage.as_ref().is_some_and(|damage| damage.is_lost);
        assert!(!is_lost, "{what}: {group:?}");
        let forgotten = (group.state.forgotten.term, group.state.forgotten.index);
        assert_eq!(forgotten, (Term(term), LogIndex(u64::MAX)), "{what}: {group:?}");
        assert!(group.state.hard_state.term > Term(term), "{what}: {group:?}");
    }
}

/// The damage begins in the last record of the last batch that the mark names, and goes on over what it does not.
#[test]
fn damage_that_may_go_on_beyond_what_the_mark_names_is_everybodys() {
    let (disk, before) = behind_the_mark(false);
    for from in before.len() - 10..before.len() {
        let disk = disk.copy();
        disk.files().segments.get_mut(&1).unwrap()[from..].fill(0xff);
        all_may_have_lost_something(&disk.copy(), 3, &format!("from byte {from}"));
        // A start over is cut short, too.
        for stop in 0.. {
            let disk = disk.copy();
            disk.files().steps_left = Some(stop);
            let started = disk.open().recover();
            disk.files().crash(|_| false);
            let what = format!("from byte {from}, stopped at {stop}");
            if started.is_ok() {
                assert!(stop > 6, "{what}");
                break;
            }
            all_may_have_lost_something(&disk, 3, &what);
        }
    }
}

/// Nothing is left of the newest segment, or it is gone, and the mark is of before it was begun.
#[test]
fn a_newest_segment_that_the_mark_does_not_name_is_missed_by_everybody() {
    let (disk, _) = behind_the_mark(true);
    let newest = *disk.files().segments.keys().next_back().unwrap();
    let damages: [fn(&mut Files, u32); 3] = [
        |files, newest| files.segments.get_mut(&newest).unwrap().fill(0),
        |files, newest| files.segments.get_mut(&newest).unwrap().fill(9),
        |files, newest| drop(files.segments.remove(&newest)),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let disk = disk.copy();
        damage(&mut disk.files(), newest);
        all_may_have_lost_something(&disk, 3, &format!("damage {number}"));
    }
}

/// A mark that is longer than it was written, by a repair of the file system say.
#[test]
fn what_stands_behind_the_mark_is_none_of_it() {
    let disk = closed();
    disk.files().mark.push(0);
    let mut files = disk.files();
    let mut last = files.segments.last_entry().unwrap();
    let end = last.get().len();
    last.get_mut()[end - 1] ^= 1;
    drop(files);
    assert_ne!(found(&disk).findings, []);
}

#[test]
fn a_flipped_bit_is_noticed_by_who_reads_later() {
    let disk = closed();
    let mut store = disk.open();
    store.recover().unwrap();
    let first = *disk.files().segments.keys().next().unwrap();
    let middle = disk.files().segments[&first].len() / 2;
    disk.files().segments.get_mut(&first).unwrap()[middle] ^= 4;
    let read = |group| store.read(GroupId(group), LogIndex(1), LogIndex(u64::MAX), usize::MAX);
    let errors: Vec<StoreError> = [1, 2].into_iter().filter_map(|group| read(group).err()).collect();
    assert!(matches!(&errors[..], [StoreError::Corrupt { .. }]), "{errors:?}");
}

/// A record of one group is damaged in a batch that others wrote to as well: they have lost nothing.
#[test]
fn only_the_group_of_a_damaged_record_is_damaged() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2, 3]);
    let command = |text: &'static str| Entry {
        payload: Payload::Command(Bytes::from_static(text.as_bytes())),
        ..entries(1, 1, 1).remove(0)
    };
    h.write(&[
        append(1, vec![command("of one")]),
        append(2, vec![command("of two")]),
        append(3, vec![command("of three")]),
    ]);
    let disk = h.into_disk();
    let truth = truth(&disk);
    {
        let mut files = disk.files();
        let segment = files.segments.values_mut().next().unwrap();
        let at = segment.windows(6).position(|window| window == b"of two").unwrap();
        segment[at] ^= 1;
    }
    let found = found(&disk);
    let damaged: Vec<_> = found.groups.iter().map(|found| found.damage.is_some()).collect();
    assert_eq!(damaged, [false, true, false], "{:?}", found.findings);
    let told = truth.check(|| Ok(disk.open()), &|| "afterwards".to_owned());
    assert_eq!((told.kept, told.damaged), (2, 1), "{told:?}");
}

/// A group that wrote again behind what can't be read, and whose records there follow each other, has lost nothing.
#[test]
fn a_group_whose_records_link_across_a_gap_is_whole() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2, 3]);
    h.write(&[append(1, entries(1, 1, 1)), append(2, entries(1, 1, 1))]);
    let begins = h.disk().files().segments[&1].len();
    h.write(&[append(2, entries(2, 1, 1))]);
    h.write(&[append(1, entries(2, 1, 1)), append(2, entries(3, 1, 1))]);
    let disk = h.into_disk();
    // The header of the batch that only group 2 wrote to.
    disk.files().segments.get_mut(&1).unwrap()[begins + 20] ^= 1;
    let found = found(&disk);
    let damaged: Vec<_> = found.groups.iter().map(|found| found.damage.is_some()).collect();
    assert_eq!(damaged, [false, true, true], "{:?}", found.findings);
    let left = &found.groups[1].state;
    assert_eq!((left.last, left.hard_state.term), (LogIndex(1), Term(2)), "{left:?}");
}

/// The beginning of a log may be known although a part behind it is not; what follows the gap is of no use.
#[test]
fn what_is_left_of_a_damaged_log_is_its_certain_beginning() {
    let mut h = Harness::<TameDisk>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 5, 1))]);
    let begins = h.disk().files().segments[&1].len();
    // It replaces 4 and 5, and a later one goes on from there.
    h.write(&[append(1, entries(4, 2, 2))]);
    h.write(&[append(1, entries(6, 2, 2))]);
    let disk = h.into_disk();
    disk.files().segments.get_mut(&1).unwrap()[begins + 20] ^= 1;
    let mut store = disk.open();
    let found = store.recover().unwrap();
    assert_eq!(found.groups[0].state.last, LogIndex(5));
    let read = store.read(GroupId(1), LogIndex(1), LogIndex(9), usize::MAX);
    assert_eq!(read.unwrap(), entries(1, 5, 1), "as it was before");
}

/// What destroyed a replica and created it again in the same life is lost, and entries of after that are not: they
/// are from before what the log that is left begins after.
#[test]
fn entries_of_a_later_life_are_no_part_of_what_is_left_of_the_one_before() {
    let mut h = Harness::<DirectoryDisk>::with_groups(&[1, 2]);
    h.write(&[install(1, 118, 10, entries(119, 2, 10))]);
    let log = h.disk().path().join("log/00000001.segment");
    let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let begins = end(&fs::read(&log).unwrap());
    h.destroy(&[1]);
    h.create(&record(1));
    let ends = end(&fs::read(&log).unwrap());
    h.write(&[append(1, entries(1, 40, 11)), append(2, entries(1, 1, 1))]);
    let disk = h.into_disk();
    let mut bytes = fs::read(&log).unwrap();
    bytes[begins..ends].fill(0);
    fs::write(&log, bytes).unwrap();
    let found = disk.open().recover().unwrap();
    let left = &found.groups[0];
    assert_eq!(
        left.damage.as_ref().map(|damage| damage.is_lost),
        Some(false),
        "{left:?}"
    );
    assert_eq!((left.state.base, left.state.last), (LogId::new(10, 118), LogIndex(120)));
    assert_eq!(left.state.runs, [LogId::new(10, 119)]);
    let indexes: Vec<LogIndex> = left.state.memberships.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, [LogIndex(118)], "{left:?}");
    let mut store = disk.open();
    let again = store.recover().unwrap();
    assert_eq!(again.findings, []);
    assert_eq!(again.groups[0].state, left.state, "it says the same twice");
    let read = store.read(GroupId(1), LogIndex(119), LogIndex(u64::MAX), usize::MAX);
    assert_eq!(read.unwrap(), entries(119, 2, 10));
}

/// A vote that is lost is not given once more in the same term: the term is known from elsewhere.
#[test]
fn a_lost_vote_is_never_given_again() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    let begins = h.disk().files().segments[&1].len();
    h.write(&[vote(1, hard_state(7, Some(3)))]);
    for disk in [h.disk().copy(), {
        h.write(&[append(2, entries(1, 1, 1))]);
        h.into_disk()
    }] {
        let end = disk.files().segments[&1].len();
        for at in begins..end {
            let disk = disk.copy();
            disk.files().segments.get_mut(&1).unwrap()[at] ^= 2;
            let found = found(&disk);
            let term = found.groups[0].state.hard_state;
            assert!(
                term == hard_state(7, Some(3)) || term == hard_state(8, None),
                "byte {at}: {term:?}"
            );
        }
    }
}

/// A group that was created where nothing can be read any more is not taken for a new one when it is created again.
#[test]
fn a_group_that_is_lost_altogether_does_not_begin_anew() {
    let mut h = Harness::<TameDisk>::with_groups(&[1]);
    let begins = h.disk().files().segments[&1].len();
    h.create(&record(2));
    h.write(&[append(1, entries(1, 1, 1))]);
    let disk = h.into_disk();
    disk.files().segments.get_mut(&1).unwrap()[begins + 20] ^= 1;
    for _ in 0..2 {
        let mut store = disk.open();
        let found = store.recover().unwrap();
        assert_eq!(found.lost, Some(LostGroups::Since(Term(1))), "{found:?}");
    }
    let mut store = disk.open();
    store.recover().unwrap();
    store.create(&[record(2), record(3)]).unwrap();
    for group in [2, 3] {
        let state = store.inspect(GroupId(group)).unwrap().state;
        assert!(
            state.must_catch_up() && state.hard_state == hard_state(2, None),
            "{state:?}"
        );
    }
    drop(store);
    assert_eq!(disk.open().recover().unwrap().lost, Some(LostGroups::Since(Term(2))));
}

#[test]
fn a_log_that_ends_too_early_is_noticed() {
    let disk = closed();
    let truth = truth(&disk);
    let last = *disk.files().segments.last_key_value().unwrap().0;
    let whole = disk.files().segments[&last].len();
    for len in 0..whole {
        let cut = |files: &mut Files| files.segments.get_mut(&last).unwrap().truncate(len);
        let told = check(&truth, &disk, cut, &|| format!("{len} bytes of segment {last}"));
        assert_eq!(told.partial, 1, "{len} bytes were enough");
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let disk = closed();
    let truth = truth(&disk);
    let numbers: Vec<u32> = disk.files().segments.keys().copied().collect();
    for number in numbers {
        let remove = |files: &mut Files| drop(files.segments.remove(&number));
        let told = check(&truth, &disk, remove, &|| format!("segment {number}"));
        assert_eq!(told.partial, 1, "segment {number} was not missed");
    }
}

#[test]
fn a_segment_at_another_ones_place_is_noticed() {
    let disk = closed();
    let truth = truth(&disk);
    let segments = disk.files().segments.clone();
    for (number, segment) in &segments {
        for other in segments.keys().filter(|other| *other != number) {
            let copy = |files: &mut Files| drop(files.segments.insert(*other, segment.clone()));
            let told = check(&truth, &disk, copy, &|| format!("{number} for {other}"));
            assert_eq!(told.partial, 1, "{number} for {other}");
        }
    }
}

/// What was written to one place stands at another: a block of the log, copied over a block.
#[test]
fn a_misdirected_write_is_noticed() {
    let disk = closed();
    let truth = truth(&disk);
    let segments = disk.files().segments.clone();
    let mut tally = Tally::default();
    let blocks = |segment: &Vec<u8>| (0..segment.len() / 256).map(|block| block * 256);
    for (number, segment) in &segments {
        for (to, from) in blocks(segment).flat_map(|to| blocks(segment).map(move |from| (to, from))) {
            let copy = |files: &mut Files| {
                files
                    .segments
                    .get_mut(number)
                    .unwrap()
                    .copy_within(from..from + 256, to);
            };
            tally.add(check(&truth, &disk, copy, &|| format!("{number}: {from} to {to}")));
        }
    }
    let same = segments.values().map(|segment| segment.len() as u64 / 256).sum::<u64>();
    assert_eq!((tally.whole, tally.refused), (same, 0), "{tally:?}");
}

/// The store is made good piece by piece: stopped anywhere, the next start goes on, and nothing is forgotten.
#[test]
fn a_start_over_that_is_cut_short_is_done_again() {
    let disk = closed();
    let truth = truth(&disk);
    let first = *disk.files().segments.keys().next().unwrap();
    disk.files().segments.get_mut(&first).unwrap()[400] ^= 1;
    let mut stops = 0;
    for stop in 0.. {
        let disk = disk.copy();
        disk.files().steps_left = Some(stop);
        let cut_short = disk.open().recover();
        disk.files().crash(|byte| (byte / 64) % 2 == 0);
        let told = truth.check(|| Ok(disk.open()), &|| format!("stopped at {stop}"));
        if cut_short.is_ok() {
            break;
        }
        assert!(told.damaged > 0, "{told:?}");
        stops += 1;
    }
    assert!(stops > 5, "{stops}");
}

/// A flipped bit in the mark costs nothing but what the mark is for.
#[test]
fn a_damaged_mark_is_no_damaged_log() {
    let disk = closed();
    let whole = disk.open().recover().unwrap();
    let mark = disk.files().mark.clone();
    for at in 0..mark.len() {
        disk.files().mark[at] ^= 1;
        assert_eq!(disk.open().recover().unwrap(), whole);
        disk.files().mark.clone_from(&mark);
    }
}

#[test]
fn segments_of_another_node_are_refused() {
    let disk = closed();
    let other = StoreIdentity {
        cluster: "test".to_owned(),
        node: NodeId(2),
    };
    let error = SegmentLogStore::on(disk.clone(), &other)
        .unwrap()
        .recover()
        .unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(found(&disk).findings, []);
}

/// What can't be checked is not written once more under a good checksum, and its segment stays.
#[test]
fn a_damaged_record_is_never_moved() {
    let mut h = Harness::<TameDisk>::with_groups(&[1, 2]);
    h.write(&[append(2, entries(1, 8, 1))]);
    let disk = h.disk().clone();
    let first = *disk.files().segments.keys().next().unwrap();
    let end = disk.files().segments[&first].len();
    disk.files().segments.get_mut(&first).unwrap()[end - 5] ^= 1;
    for index in 1..400 {
        let write = match index % 10 {
            0 => compact(1, index - 1, 1, entries(index, 1, 1)),
            _ => append(1, entries(index, 1, 1)),
        };
        h.store().write(&[write]).unwrap();
    }
    assert!(disk.files().segments.contains_key(&first));
    let error = h
        .store()
        .read(GroupId(2), LogIndex(1), LogIndex(9), usize::MAX)
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Corrupt { group: GroupId(2), .. }),
        "{error}"
    );
    h.store().create(&[record(3)]).unwrap();
}

/// The newest segment is gone, and so is the mark: nobody knows what was written, nor of which groups.
#[test]
fn what_nothing_is_known_of_is_halted() {
    let disk = closed();
    {
        let mut files = disk.files();
        files.segments.pop_last();
        files.lose_mark();
    }
    for _ in 0..2 {
        let found = found(&disk);
        assert_eq!(found.lost, Some(LostGroups::Unknown));
        let lost = |found: &RecoveredGroup| found.damage.as_ref().is_some_and(|damage| damage.is_lost);
        assert_eq!(found.groups.iter().filter(|found| lost(found)).count(), 2, "{found:?}");
    }
    let mut store = disk.open();
    store.recover().unwrap();
    let refused = store.create(&[record(3)]).unwrap_err();
    let is_named = matches!(
        refused,
        StoreError::Refused {
            reason: Refusal::MayBeLost,
            ..
        }
    );
    assert!(is_named, "{refused}");
    // An operator lets one go. Should it come back, it never votes.
    let tombstones = store.destroy(&[GroupId(1)]).unwrap();
    assert!(tombstones[0].is_uncertain);
    store.create(&[record(1)]).unwrap();
    let state = store.inspect(GroupId(1)).unwrap().state;
    assert!(
        state.must_catch_up() && state.forgotten.term == Term(u64::MAX),
        "{state:?}"
    );
}

/// A disk that forgot the later life of group 1, in which it voted in term 7, and remembers the one before; and both.
fn rotted_back() -> (TameDisk, GroupRecord, GroupRecord) {
    let mut h = Harness::<TameDisk>::new();
    let first = record(1);
    let second = GroupRecord {
        incarnation: Incarnation(first.incarnation.0 + 10),
        ..first.clone()
    };
    h.create(&first);
    h.write(&[append(1, entries(1, 2, 1))]);
    let disk = h.disk().clone();
    let (segment, before) = {
        let files = disk.files();
        let (segment, bytes) = files.segments.last_key_value().unwrap();
        (*segment, bytes.clone())
    };
    h.destroy(&[1]);
    h.create(&second);
    h.write(&[vote(1, hard_state(7, Some(2)))]);
    let disk = h.into_disk();
    disk.files().segments.insert(segment, before);
    (disk, first, second)
}

/// Who comes to the later life that voted in term 7 must not vote as if it never had.
fn check_forgot(store: &SegmentLogStore<TameDisk>) {
    let state = store.inspect(GroupId(1)).unwrap().state;
    assert!(state.hard_state.term > Term(7), "{state:?}");
    assert!(state.must_catch_up() && state.forgotten.term >= Term(7), "{state:?}");
}

/// The disk forgets the later life of a group, in which it voted, and remembers the one before. Who destroys that one
/// and joins the later life again must not vote as if it never had.
#[test]
fn one_that_rotted_back_into_an_earlier_life_comes_back_as_one_that_forgot() {
    let (disk, first, second) = rotted_back();
    let mut store = disk.open();
    let found = store.recover().unwrap();
    assert_eq!(found.groups[0].record, first, "{found:?}");
    assert!(found.groups[0].damage.is_some(), "{found:?}");
    let tombstones = store.destroy(&[GroupId(1)]).unwrap();
    assert!(tombstones[0].is_uncertain, "{tombstones:?}");
    drop(store);

    let joined = disk.copy();
    let mut store = joined.open();
    store.recover().unwrap();
    store.create(std::slice::from_ref(&second)).unwrap();
    check_forgot(&store);
    // Again, before it has caught up.
    assert!(store.destroy(&[GroupId(1)]).unwrap()[0].is_uncertain);

    // So does one that is imported.
    let imported = disk.copy();
    let mut store = imported.open();
    store.recover().unwrap();
    store.import(&second, LogId::new(1, 1)).unwrap();
    check_forgot(&store);
}

/// Who imports a group of one may do so for the second time: others may have joined the first one, which the disk lost.
/// It would lead at once, beside them.
#[test]
fn nobody_imports_alone_what_may_be_lost() {
    let (rotted, _, mut alone) = rotted_back();
    let mut store = rotted.open();
    store.recover().unwrap();
    store.destroy(&[GroupId(1)]).unwrap();
    drop(store);
    alone.membership = Membership::of_voters([NodeId(1)]).unwrap();
    check_not_imported(&rotted, &alone);

    // A group is lost, and nobody knows which.
    let mut h = Harness::<TameDisk>::with_groups(&[2]);
    let disk = h.disk().clone();
    let (segment, before) = {
        let files = disk.files();
        let (segment, bytes) = files.segments.last_key_value().unwrap();
        (*segment, bytes.clone())
    };
    h.create(&record(1));
    let disk = h.into_disk();
    disk.files().segments.insert(segment, before);
    assert!(matches!(found(&disk).lost, Some(LostGroups::Since(_))));
    check_not_imported(&disk, &alone);
}

fn check_not_imported(disk: &TameDisk, alone: &GroupRecord) {
    let mut store = disk.open();
    store.recover().unwrap();
    let refused = store.import(alone, LogId::new(1, 1)).unwrap_err();
    let is_named = matches!(
        refused,
        StoreError::Refused {
            reason: Refusal::MayBeLost,
            ..
        }
    );
    assert!(is_named, "{refused}");
    assert!(store.inspect(GroupId(1)).is_err());
}

/// A damaged replica that is rebuilt goes on alone, but what its disk lost may be later than what it is rebuilt as.
#[test]
fn one_that_rotted_back_and_is_rebuilt_leaves_the_doubt_behind() {
    for reopens in [false, true] {
        let (disk, first, second) = rotted_back();
        let mut store = disk.open();
        store.recover().unwrap();
        for n in 1..=2 {
            let rebuilt = GroupRecord {
                incarnation: Incarnation(first.incarnation.0 + n),
                membership: Membership::of_voters([NodeId(1)]).unwrap(),
                ..first.clone()
            };
            store.rebuild(&rebuilt).unwrap();
            let state = store.inspect(GroupId(1)).unwrap().state;
            assert!(!state.must_catch_up(), "it leads alone: {state:?}");
            if reopens {
                drop(store);
                store = disk.open();
                let found = store.recover().unwrap();
                assert!(found.groups[0].damage.is_none(), "{found:?}");
            }
        }
        let state = store.inspect(GroupId(1)).unwrap().state;
        let (term, next) = (state.hard_state.term.0 + 1, state.last.0 + 1);
        let mut led = append(1, entries(next, 3, term));
        led.hard_state = Some(hard_state(term, Some(1)));
        store.write(&[led]).unwrap();
        let tombstones = store.destroy(&[GroupId(1)]).unwrap();
        assert!(tombstones[0].is_uncertain, "{tombstones:?}");
        if reopens {
            drop(store);
            store = disk.open();
            assert_eq!(store.recover().unwrap().tombstones, tombstones);
        }
        store.create(std::slice::from_ref(&second)).unwrap();
        check_forgot(&store);
        let forgotten = store.inspect(GroupId(1)).unwrap().state.forgotten;
        assert!(forgotten.term.0 >= term, "also what it led: {forgotten}");
    }
}

/// Once it holds something later than the damage, its life is the one that the group is in.
#[test]
fn a_damaged_replica_that_has_caught_up_leaves_no_doubt() {
    let mut h = Harness::<TameDisk>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 8, 1))]);
    let disk = h.into_disk();
    {
        let mut files = disk.files();
        let mut last = files.segments.last_entry().unwrap();
        let end = last.get().iter().rposition(|byte| *byte != 0).unwrap();
        last.get_mut()[end] ^= 1;
    }
    let mut store = disk.open();
    let found = store.recover().unwrap();
    let state = &found.groups[0].state;
    assert!(state.must_catch_up(), "{found:?}");
    let next = entries(state.last.0 + 1, 1, state.forgotten.term.0 + 1);
    store.write(&[append(1, next)]).unwrap();
    let tombstones = store.destroy(&[GroupId(1)]).unwrap();
    assert!(!tombstones[0].is_uncertain, "{tombstones:?}");
}

/// What was there is told without being changed.
#[test]
fn a_directory_is_checked_without_being_changed() {
    let mut h = Harness::<DirectoryDisk>::new();
    h.store().boot(0).unwrap();
    for group in [1, 2] {
        h.create(&record(group));
    }
    h.write(&[append(1, entries(1, 3, 1))]);
    assert!(matches!(check_directory(h.disk().path()), Err(StoreError::InUse(_))));
    let disk = h.into_disk();
    let whole = check_directory(disk.path()).unwrap();
    assert!(whole.is_whole(), "{whole}");
    let segment = disk.path().join("log/00000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let snapshot = disk.path().join("snapshots/1-1-1-1.snapshot");
    fs::create_dir(snapshot.parent().unwrap()).unwrap();
    fs::write(&snapshot, b"no snapshot").unwrap();
    let found = check_directory(disk.path()).unwrap();
    assert!(!found.is_whole());
    let said = found.to_string();
    for part in [
        "00000001.segment",
        "1-1-1-1.snapshot: its checksum fails",
        "g1: damaged",
        "goes on from",
    ] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
    assert_eq!(fs::read(&segment).unwrap(), bytes);
    assert_eq!(disk.open().recover().unwrap(), found.contents, "as it said");
}
