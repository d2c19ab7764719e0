//! Records that are not what was written: damaged below the store's own records, where fjall can't see it.

use crate::harness::{Disk, FjallDisk, Harness, append, entries, hard_state, record, vote};
use fjall::{Database, Keyspace};
use raftyard::store::{GroupRecord, LogStore, StoreError};
use raftyard_groups::{GroupId, Incarnation};

type Pair = (Vec<u8>, Vec<u8>);

/// Two groups, each with its record, a hard state and entries in three records.
fn closed() -> FjallDisk {
    let mut h = Harness::<FjallDisk>::with_groups(&[1, 2]);
    h.write(&[vote(1, hard_state(3, Some(1))), vote(2, hard_state(3, None))]);
    for first in [1, 3, 6] {
        let count = if first == 3 { 3 } else { 2 };
        h.write(&[append(1, entries(first, count, 3)), append(2, entries(first, count, 3))]);
    }
    h.into_disk()
}

/// Lets `change` at the records behind the store's back.
fn behind_its_back(disk: &FjallDisk, change: impl FnOnce(&Keyspace)) {
    let db = Database::builder(disk.path().join("log")).open().unwrap();
    let names = db.list_keyspace_names();
    let records = db.keyspace(&names[0], || panic!("it is there")).unwrap();
    change(&records);
}

fn pairs(disk: &FjallDisk) -> Vec<Pair> {
    let mut pairs = Vec::new();
    behind_its_back(disk, |records| {
        for item in records.iter() {
            let (key, value) = item.into_inner().unwrap();
            pairs.push((key.to_vec(), value.to_vec()));
        }
    });
    pairs
}

/// Opening with this change must name the group; undone, all must be well.
fn check_noticed(disk: &FjallDisk, group: u64, change: &[(&[u8], Option<&[u8]>)]) {
    let before = pairs(disk);
    behind_its_back(disk, |records| {
        for (key, value) in change {
            match value {
                Some(value) => records.insert(*key, *value).unwrap(),
                None => records.remove(*key).unwrap(),
            }
        }
    });
    match disk.open().recover() {
        Err(StoreError::Corrupt { group: named, .. }) => assert_eq!(named, GroupId(group)),
        other => panic!("{other:?} after {change:?}"),
    }
    behind_its_back(disk, |records| {
        for (key, value) in &before {
            records.insert(key.as_slice(), value.as_slice()).unwrap();
        }
    });
}

#[test]
fn a_flipped_byte_in_any_record_is_noticed() {
    let disk = closed();
    let all = pairs(&disk);
    assert_eq!(all.len(), 10);
    for (at, (key, value)) in all.iter().enumerate() {
        let mut flipped = value.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        let group = if at < 5 { 1 } else { 2 };
        check_noticed(&disk, group, &[(key, Some(&flipped))]);
    }
    assert_eq!(disk.open().recover().unwrap().groups.len(), 2);
}

#[test]
fn a_record_at_another_ones_place_is_noticed() {
    let disk = closed();
    let all = pairs(&disk);
    for (at, (key, _)) in all.iter().enumerate() {
        let group = if at < 5 { 1 } else { 2 };
        // The next record, and the one at the same place of the other group.
        for other in [at + 1, at + 5] {
            let (_, value) = &all[other % all.len()];
            check_noticed(&disk, group, &[(key, Some(value))]);
        }
    }
}

#[test]
fn a_missing_record_is_noticed_by_what_stands_behind_it() {
    let disk = closed();
    let all = pairs(&disk);
    // The group's own record, and entries that others follow.
    for at in [0, 2, 3] {
        check_noticed(&disk, 1, &[(&all[at].0, None)]);
    }
}

#[test]
fn records_of_a_former_life_are_noticed() {
    let disk = closed();
    let all = pairs(&disk);
    let mut other = Harness::<FjallDisk>::new();
    other.create(&GroupRecord {
        incarnation: Incarnation(77),
        ..record(1)
    });
    let other_life = pairs(&other.into_disk());
    check_noticed(&disk, 1, &[(&all[0].0, Some(&other_life[0].1))]);
}
