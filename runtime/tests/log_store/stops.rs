//! The machine stops at some of a disk's steps.

use crate::harness::{Disk, append, compact, entries, hard_state, record, vote};
use crate::tame_disk::TameDisk;
use raftyard::store::{GroupRecord, LogStore, StoreContents, StoreError};
use raftyard_groups::{Entry, GroupId, Incarnation, LogIndex, Persist};

/// One after the other: what the store is asked to do.
pub(crate) type Steps = Vec<Step>;

type Step = Box<dyn Fn(&mut dyn LogStore) -> Result<(), StoreError>>;

/// What a store says, and all entries of its groups.
pub(crate) type Contents = (StoreContents, Vec<Vec<Entry>>);

fn writes(batch: Vec<Persist>) -> Step {
    Box::new(move |store| store.write(&batch))
}

/// A busy group that is compacted, so that segments begin and are given up, beside some that hardly do anything.
pub(crate) fn steps() -> Steps {
    let mut steps: Steps = vec![
        Box::new(|store| store.create(&[record(1), record(2), record(3), record(4)])),
        writes(vec![append(2, entries(1, 12, 1)), vote(3, hard_state(4, Some(1)))]),
        writes(vec![append(2, entries(7, 2, 2)), append(4, entries(1, 3, 1))]),
    ];
    for first in (1..480).step_by(4) {
        let mut batch = vec![append(1, entries(first, 4, 1))];
        if first % 16 == 1 && first > 1 {
            batch = vec![compact(1, first - 1, 1, entries(first, 4, 1))];
        }
        steps.push(writes(batch));
        match first {
            61 => steps.push(Box::new(|store| store.destroy(&[GroupId(4)]).map(drop))),
            101 => steps.push(writes(vec![append(2, entries(9, 3, 3))])),
            141 => {
                let incarnation = Incarnation(9);
                let record = GroupRecord {
                    incarnation,
                    ..record(2)
                };
                steps.push(Box::new(move |store| store.rebuild(&record)));
            }
            _ => {}
        }
    }
    steps
}

pub(crate) fn contents(disk: &TameDisk) -> Result<Contents, StoreError> {
    let mut store = disk.open();
    let contents = store.recover()?;
    let read = |group| store.read(group, LogIndex(1), LogIndex(u64::MAX), usize::MAX);
    let logs = contents.groups.iter().map(|found| match found.state.base.index {
        LogIndex(0) => read(found.record.group),
        base => store.read(found.record.group, base.next(), LogIndex(u64::MAX), usize::MAX),
    });
    let logs = logs.collect::<Result<_, _>>()?;
    Ok((contents, logs))
}

/// Stops at those of the disk's steps that are wanted. What is found is all that was acknowledged, and of what was not,
/// all or nothing. Returns how often it stopped.
pub(crate) fn stop_at(is_wanted: impl Fn(u64) -> bool, keep: impl Fn(u64, usize) -> bool) -> u64 {
    let mut stops = 0;
    let whole = TameDisk::blank();
    let mut store = whole.open();
    let mut after = vec![StoreContents::default()];
    let mut held = vec![contents(&whole).unwrap()];
    for step in steps() {
        step(&mut store).unwrap();
        after.push(store.recover().unwrap());
        held.push(contents(&whole).unwrap());
        assert_eq!(held.last().unwrap().0, *after.last().unwrap());
    }
    assert!(whole.files().removed.len() > 3, "segments are given up");
    let steps_done = whole.files().steps;
    for stop in 0..steps_done {
        let disk = TameDisk::blank();
        disk.files().steps_left = None;
        let mut store = disk.open();
        store.recover().unwrap();
        let begun = disk.files().steps;
        if stop < begun || !is_wanted(stop) {
            continue;
        }
        stops += 1;
        disk.files().steps_left = Some(stop - begun);
        let mut done = 0;
        let failed = steps().into_iter().find_map(|step| match step(&mut store) {
            Ok(()) => {
                done += 1;
                None
            }
            Err(error) => Some(error),
        });
        drop(store);
        disk.files().crash(|byte| keep(stop, byte));
        let found = contents(&disk).unwrap_or_else(|error| panic!("stopped at step {stop}: {error}"));
        let is_next = failed.is_some() && held.get(done + 1) == Some(&found);
        assert!(
            found == held[done] || is_next,
            "stopped at step {stop}, after write {done}: {:?}",
            found.0
        );
        // It goes on from there.
        let mut store = disk.open();
        store.recover().unwrap();
        for step in steps().into_iter().skip(if is_next { done + 1 } else { done }) {
            step(&mut store).unwrap_or_else(|error| panic!("stopped at step {stop}: {error}"));
        }
        drop(store);
        assert_eq!(
            contents(&disk).unwrap(),
            *held.last().unwrap(),
            "stopped at step {stop}"
        );
    }
    stops
}
