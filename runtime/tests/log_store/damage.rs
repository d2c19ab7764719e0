//! What is not what was written: flipped bits, and bytes that are gone.

use crate::harness::{Disk, Harness, append, compact, entries, hard_state, record, vote};
use crate::tame_disk::TameDisk;
use raftyard::store::{LogStore, SegmentLogStore, StoreError, StoreIdentity};
use raftyard_groups::{GroupId, LogIndex, NodeId};

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

fn open_error(disk: &TameDisk) -> Option<StoreError> {
    disk.open().recover().err()
}

/// Also one in the batch that was written last: it was acknowledged.
#[test]
fn a_flipped_bit_anywhere_in_what_was_acknowledged_is_noticed() {
    let disk = closed();
    let segments = disk.files().segments.clone();
    for (number, segment) in &segments {
        for at in 0..segment.len() {
            disk.files().segments.get_mut(number).unwrap()[at] ^= 1 << (at % 8);
            let error = open_error(&disk).unwrap_or_else(|| panic!("byte {at} of segment {number} was not noticed"));
            assert!(
                matches!(&error, StoreError::Damaged { path, .. } if path.starts_with("memory")),
                "{error}"
            );
            disk.files().segments.insert(*number, segment.clone());
        }
    }
    assert!(open_error(&disk).is_none());
}

/// Without the mark, which a crash of the machine may take back, only the last batch may be taken for one that was
/// being written.
#[test]
fn a_flipped_bit_is_noticed_by_what_stands_behind_it() {
    let disk = closed();
    disk.files().mark.clear();
    let whole = disk.open().recover().unwrap();
    let (number, segment) = disk
        .files()
        .segments
        .last_key_value()
        .map(|(n, s)| (*n, s.clone()))
        .unwrap();
    let mut lost_from = None;
    for at in 0..segment.len() {
        disk.files().segments.get_mut(&number).unwrap()[at] ^= 0x10;
        match disk.open().recover() {
            Err(StoreError::Damaged { .. }) => assert_eq!(lost_from, None, "byte {at}"),
            Ok(found) => {
                lost_from.get_or_insert(at);
                let last = |contents: &raftyard::store::StoreContents| contents.groups[0].state.last;
                assert_eq!(
                    last(&found),
                    LogIndex(last(&whole).0 - 5),
                    "all but the last batch is there"
                );
            }
            Err(other) => panic!("{other}"),
        }
        disk.files().segments.insert(number, segment.clone());
    }
    assert!(lost_from.is_some_and(|at| at > segment.len() / 2), "{lost_from:?}");
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

#[test]
fn a_log_that_ends_too_early_is_noticed() {
    let disk = closed();
    let (number, segment) = disk
        .files()
        .segments
        .last_key_value()
        .map(|(n, s)| (*n, s.clone()))
        .unwrap();
    for len in 0..segment.len() {
        disk.files().segments.get_mut(&number).unwrap().truncate(len);
        let error = open_error(&disk).unwrap_or_else(|| panic!("{len} bytes were enough"));
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        disk.files().segments.insert(number, segment.clone());
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let disk = closed();
    let segments = disk.files().segments.clone();
    for number in segments.keys() {
        let gone = disk.files().segments.remove(number).unwrap();
        let error = open_error(&disk).unwrap_or_else(|| panic!("segment {number} was not missed"));
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        disk.files().segments.insert(*number, gone);
    }
}

#[test]
fn a_segment_at_another_ones_place_is_noticed() {
    let disk = closed();
    let segments = disk.files().segments.clone();
    for (number, segment) in &segments {
        for other in segments.keys().filter(|other| *other != number) {
            disk.files().segments.insert(*other, segment.clone());
            let error = open_error(&disk).unwrap();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
            disk.files().segments.insert(*other, segments[other].clone());
        }
    }
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
    let error = SegmentLogStore::on(disk, &other).unwrap().recover().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
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
