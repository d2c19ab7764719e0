//! A whole log on a disk, for fuzzers.
//!
//! The bytes are a script, so that what they say comes through all checksums: which records stand in which batch, and
//! which bytes of the disk are damaged in the end.

mod disk;

use super::SegmentLogStore;
use super::journal::{Batch, Journal, found};
use crate::fuzzing::{Script, Target};
use crate::store::fuzzing::{records, sealed};
use crate::store::{GroupRecord, LogStore, StoreContents, StoreError, StoreIdentity};
use disk::MemoryDisk;
use raftyard_groups::{Entry, GroupId, Incarnation, LogIndex, Membership, NodeId};

/// A log with several segments.
pub(crate) const LOG: Target = Target {
    name: "log",
    read: |data| recover(&play(data, false).damaged).is_ok(),
    check,
    samples,
};

/// Damaged bytes at most: a few can't get past a checksum.
const DAMAGES_MAX: usize = 3;
const BATCH: u8 = 4;

/// What a script leaves behind.
struct Play {
    /// After each batch.
    disks: Vec<MemoryDisk>,
    /// In the end.
    damaged: MemoryDisk,
    is_damaged: bool,
}

fn identity() -> StoreIdentity {
    StoreIdentity {
        cluster: "fuzz".to_owned(),
        node: NodeId(1),
    }
}

/// Steps: 0 to 3, a record of so many bytes; 4 and 5, the end of a batch; 6, another byte somewhere; 7, the disk ends
/// there. Copies of the disk are made if they are `kept`.
fn play(data: &[u8], kept: bool) -> Play {
    let seed = identity().seed();
    let mut disk = MemoryDisk::default();
    let is_founded = found(&mut disk, seed).is_ok();
    assert!(is_founded, "memory takes all");
    let mut journal = Journal::new(disk, seed);
    assert!(journal.load(|_, _, _| Ok(())).is_ok(), "an empty log is one");
    let mut disks = vec![journal.disk.clone()];
    let mut batch = Batch::default();
    batch.clear();
    let empty = batch.len();
    let (mut script, mut damages) = (Script(data), Vec::new());
    loop {
        let step = script.byte();
        match step.map(|step| step % 8) {
            Some(0..BATCH) => {
                let len = usize::from(script.byte().unwrap_or_default());
                let record = sealed(script.bytes(len));
                batch.add(|out| out.extend_from_slice(&record));
            }
            Some(damage @ (6 | 7)) => {
                damages.push((
                    damage,
                    script.short(),
                    script.short(),
                    script.byte().unwrap_or_default(),
                ));
            }
            _ => {
                if batch.len() > empty {
                    let written = journal.append(&mut batch);
                    assert!(written.is_ok(), "memory takes all");
                    if let Ok(written) = written {
                        // Nothing of it is given up.
                        journal.usage.take(written.place(&(empty..empty + 1)), 1);
                    }
                    if kept {
                        disks.push(journal.disk.clone());
                    }
                    batch.clear();
                }
            }
        }
        if step.is_none() {
            break;
        }
    }
    let mut damaged = journal.disk.clone();
    damages.truncate(DAMAGES_MAX);
    for &(damage, segment, at, byte) in &damages {
        let count = damaged.segments.len();
        let Some(file) = damaged.segments.values_mut().nth(segment % count.max(1)) else {
            continue;
        };
        let at = at % file.len().max(1);
        match file.get_mut(at) {
            Some(there) if damage == 6 => *there ^= byte,
            _ => file.truncate(at),
        }
    }
    Play {
        disks,
        damaged,
        is_damaged: !damages.is_empty(),
    }
}

/// All that a store finds on a disk, each group with its entries.
fn recover(disk: &MemoryDisk) -> Result<(StoreContents, Vec<Vec<Entry>>), StoreError> {
    let mut store = SegmentLogStore::on(disk.clone(), &identity())?;
    let contents = store.recover()?;
    let groups = contents.groups.iter().map(|found| found.record.group);
    let logs = groups.map(|group| store.read(group, LogIndex::ZERO, LogIndex(u64::MAX), usize::MAX));
    let logs = logs.collect::<Result<_, _>>()?;
    Ok((contents, logs))
}

fn check(data: &[u8]) {
    let play = play(data, true);
    let Ok(found) = recover(&play.damaged) else { return };
    if play.is_damaged {
        let is_there = play
            .disks
            .iter()
            .any(|disk| recover(disk).is_ok_and(|whole| whole == found));
        assert!(is_there, "a damaged log holds what no batch left: {found:?}");
    }
    assert_eq!(
        recover(&play.damaged).ok().as_ref(),
        Some(&found),
        "it is not the same twice"
    );
    // It goes on.
    let added = GroupRecord {
        group: GroupId(u64::MAX),
        incarnation: Incarnation(u64::MAX),
        membership: Membership::of_voters([NodeId(1)]).unwrap_or_default(),
        is_witness: false,
    };
    let store = SegmentLogStore::on(play.damaged, &identity());
    let Ok(mut store) = store else { return };
    let mut expected = found;
    if expected.0.groups.iter().any(|held| held.record.group == added.group)
        || expected
            .0
            .tombstones
            .iter()
            .any(|tombstone| tombstone.group == added.group)
        || store.recover().is_err()
        || store.create(std::slice::from_ref(&added)).is_err()
    {
        return;
    }
    let again = recover(&store.journal.disk);
    assert!(again.is_ok(), "it can't be read once more was written: {again:?}");
    let Ok(mut again) = again else { return };
    assert_eq!(again.0.groups.pop().map(|held| held.record), Some(added));
    again.1.pop();
    expected.0.tombstones.sort_by_key(|tombstone| tombstone.group);
    assert_eq!(again, expected, "what was there changed when more was written");
}

fn samples() -> Vec<Vec<u8>> {
    let step = |record: &Vec<u8>| {
        // Without its checksum, which the script's records have none of.
        let record = record.split_at(4.min(record.len())).1;
        let len = u8::try_from(record.len()).unwrap_or_default();
        [&[0, len], record].concat()
    };
    let each: Vec<Vec<u8>> = records().iter().map(step).collect();
    let apart = each.join(&[BATCH][..]);
    let together = each.concat();
    let often = apart.repeat(4);
    vec![apart, together, often]
}
