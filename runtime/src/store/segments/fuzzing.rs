//! A whole log on a disk, for fuzzers.
//!
//! The bytes are a script, so that what they say comes through all checksums: what a store is asked to write, and
//! which bytes of the disk are damaged in the end.

mod disk;

use super::SegmentLogStore;
use crate::fuzzing::{Script, Target};
use crate::store::{GroupRecord, LogStore, RecoveredGroup, StoreContents, StoreError, StoreIdentity};
use bytes::Bytes;
use disk::MemoryDisk;
use raftyard_groups::{
    Entry, GroupId, HardState, Incarnation, LogId, LogIndex, Membership, NodeId, Payload, Persist, PersistSeq, Term,
};

/// A log with several segments.
pub(crate) const LOG: Target = Target {
    name: "log",
    read: |data| recover(&play(data).damaged).is_ok(),
    check,
    samples,
};

/// Damages at most: each costs a search of what was left behind it.
const DAMAGES_MAX: usize = 3;
const GROUPS: u8 = 4;

/// What a script leaves behind.
struct Play {
    whole: MemoryDisk,
    damaged: MemoryDisk,
    /// All entries that were ever written.
    written: Vec<(GroupId, Entry)>,
}

fn identity() -> StoreIdentity {
    StoreIdentity {
        cluster: "fuzz".to_owned(),
        node: NodeId(1),
    }
}

fn record(group: u64) -> GroupRecord {
    GroupRecord {
        group: GroupId(group),
        incarnation: Incarnation(1),
        membership: Membership::of_voters([NodeId(1)]).unwrap_or_default(),
        is_witness: false,
    }
}

/// Steps: 0, a group is created; 1 to 3, it writes; 4, it votes; 5, it is destroyed; 6, another byte somewhere; 7, the
/// disk ends there. Steps that make no sense are refused, and change nothing.
fn play(data: &[u8]) -> Play {
    let disk = MemoryDisk::default();
    let Ok(mut store) = SegmentLogStore::on(disk.clone(), &identity()) else {
        return Play {
            whole: disk.clone(),
            damaged: disk,
            written: Vec::new(),
        };
    };
    assert!(store.recover().is_ok(), "an empty log is one");
    let (mut script, mut damages, mut written) = (Script(data), Vec::new(), Vec::new());
    while let Some(step) = script.byte() {
        let mut byte = || script.byte().unwrap_or_default();
        let group = GroupId(u64::from(byte() % GROUPS) + 1);
        let outcome = match step % 8 {
            0 => store.create(&[record(group.0)]),
            5 => store.destroy(&[group]).map(drop),
            4 => vote(&mut store, group, Term(u64::from(byte()))),
            damage @ (6 | 7) => {
                damages.push((
                    damage,
                    script.short(),
                    script.short(),
                    script.byte().unwrap_or_default(),
                ));
                Ok(())
            }
            count => {
                let (back, rises, len) = (byte(), byte(), usize::from(byte()));
                let entries = entries(&store, group, u64::from(count), [back, rises], script.bytes(len));
                written.extend(entries.iter().map(|entry| (group, entry.clone())));
                store.write(&[Persist::new(group, PersistSeq(1), None, entries)])
            }
        };
        let is_refused = matches!(outcome, Err(StoreError::Refused { .. }));
        assert!(outcome.is_ok() || is_refused, "memory takes all: {outcome:?}");
    }
    let whole = store.journal.disk.clone();
    let mut damaged = whole.clone();
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
        whole,
        damaged,
        written,
    }
}

fn vote(store: &mut SegmentLogStore<MemoryDisk>, group: GroupId, term: Term) -> Result<(), StoreError> {
    let vote = Some(NodeId(1));
    let hard_state = HardState { term, vote };
    store.write(&[Persist::new(group, PersistSeq(1), Some(hard_state), Vec::new())])
}

/// Entries over the last `back` of the group's, in a term that may rise.
fn entries(
    store: &SegmentLogStore<MemoryDisk>,
    group: GroupId,
    count: u64,
    [back, rises]: [u8; 2],
    payload: &[u8],
) -> Vec<Entry> {
    let last = match store.inspect(group) {
        Ok(found) => found.state.last_id(),
        Err(_) => LogId::ZERO,
    };
    let first = last.index.0.saturating_sub(u64::from(back % 3)) + 1;
    let term = Term(last.term.0.max(1) + u64::from(rises % 2));
    let entries = (first..first + count).map(|index| Entry {
        index: LogIndex(index),
        term,
        payload: Payload::Command(Bytes::copy_from_slice(payload)),
    });
    entries.collect()
}

type Log = (RecoveredGroup, Vec<Entry>);

/// All that a store finds on a disk, each group with its entries.
fn recover(disk: &MemoryDisk) -> Result<(StoreContents, Vec<Log>), StoreError> {
    let mut store = SegmentLogStore::on(disk.clone(), &identity())?;
    let contents = store.recover()?;
    let logs = contents.groups.iter().map(|found| {
        let log = store.read(found.record.group, LogIndex::ZERO, LogIndex(u64::MAX), usize::MAX);
        log.map(|log| (found.clone(), log))
    });
    let logs = logs.collect::<Result<_, _>>()?;
    Ok((contents, logs))
}

fn check(data: &[u8]) {
    let play = play(data);
    let (whole, logs) = taken(recover(&play.whole));
    // With a mark that is whole, no damage of segments keeps a log from being opened.
    let (contents, found) = taken(recover(&play.damaged));
    // What is there is what was written; what may not be, says so.
    for (held, log) in &found {
        let group = held.record.group;
        match (logs.iter().find(|(whole, _)| whole.record.group == group), &held.damage) {
            (written, None) => assert_eq!(written, Some(&(held.clone(), log.clone())), "lost, and nobody says so"),
            (_, Some(_)) => {
                let mut entries = log.iter().map(|entry| (group, entry.clone()));
                assert!(
                    entries.all(|entry| play.written.contains(&entry)),
                    "{log:?} was never written"
                );
            }
        }
    }
    for (written, _) in &logs {
        let group = written.record.group;
        let is_there = found.iter().any(|(held, _)| held.record.group == group);
        let is_uncertain = contents
            .tombstones
            .iter()
            .any(|tombstone| tombstone.group == group && tombstone.is_uncertain);
        assert!(
            is_there || is_uncertain || contents.lost.is_some(),
            "{group} is lost, and nobody says so"
        );
    }
    for tombstone in &whole.tombstones {
        let group = tombstone.group;
        let is_there = contents.tombstones.contains(tombstone);
        let is_damaged = found
            .iter()
            .any(|(held, _)| held.record.group == group && held.damage.is_some());
        let is_uncertain = contents
            .tombstones
            .iter()
            .any(|held| held.group == group && held.is_uncertain);
        assert!(
            is_there || is_damaged || is_uncertain || contents.lost.is_some(),
            "{group} was destroyed, which is lost, and nobody says so"
        );
    }
    goes_on(play.damaged);
}

fn taken<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| unreachable!("refused: {error}"))
}

/// What was found is there again after more was written.
fn goes_on(disk: MemoryDisk) {
    let mut store = taken(SegmentLogStore::on(disk, &identity()));
    taken(store.recover());
    // What was damaged is made good by now, so that it is as it will be found.
    let (_, before) = taken(recover(&store.journal.disk));
    let added = record(u64::MAX);
    taken(store.create(std::slice::from_ref(&added)));
    let (_, mut again) = taken(recover(&store.journal.disk));
    assert_eq!(again.pop().map(|(held, _)| held.record), Some(added));
    assert_eq!(again, before, "what was there changed when more was written");
}

fn samples() -> Vec<Vec<u8>> {
    let create = [0, 0, 0, 1, 0, 2];
    let write = [3, 0, 0, 1, 4, b'a', b'b', b'c', b'd'];
    let others = [1, 1, 1, 1, 2, b'e', b'f', 2, 2, 2, 0, 1, b'g'];
    let vote = [4, 1, 7, 4, 2, 9];
    let destroy = [5, 2];
    let long = [&create[..], &write, &others, &vote, &destroy].concat();
    let often = [&create[..], &[&write[..], &others].concat().repeat(6)].concat();
    vec![
        long.clone(),
        often.clone(),
        [&often[..], &[6, 0, 0, 0, 80, 0, 255]].concat(),
        [&long[..], &[7, 0, 1, 0, 10, 0, 0]].concat(),
    ]
}
