//! A log store on a file system that is really full, again and again.

use crate::calls::check_reads;
use crate::script::{Step, open, script, take};
use crate::steps::Rng;
use crate::support::child::{Child, as_child, say};
use crate::support::settings::seed;
use crate::support::small_disk::{fill, free};
use raftyard::store::{LogStore, MemoryLogStore, SegmentLogStore, StoreError};
use std::path::Path;

/// More than the script takes.
const SIZE: &str = "40m";
/// What is left of it: nothing for a page; for some, but not for the zeros that a file grows by; for these, but not for what
/// is long.
const LEFT: [u64; 6] = [0, 4 << 10, 100 << 10, 300 << 10, 700 << 10, 1_500 << 10];

/// Runs only as a child.
#[test]
fn takes_the_steps_of_a_script_while_its_disk_is_full() {
    let Some((disk, seed)) = as_child() else { return };
    let (mut rng, mut memory) = (Rng(seed ^ 2), MemoryLogStore::new());
    let dir = disk.join("data");
    let (mut store, ..) = open(&dir).unwrap();
    for step in &script(seed) {
        if matches!(step, Step::Open) {
            drop(store);
            store = open_on_full(&disk, &dir, &mut rng);
            assert_eq!(store.recover().unwrap(), memory.recover().unwrap());
            continue;
        }
        if rng.below(2) == 0 {
            assert_eq!(take(&mut store, step).unwrap(), take(&mut memory, step).unwrap());
            continue;
        }
        fill(&disk, LEFT[rng.index(LEFT.len())]);
        let mut taken = take(&mut store, step);
        // It is refused again, and nothing is lost by that.
        for _ in 0..rng.below(3) {
            let Err(StoreError::Full { .. }) = &taken else { break };
            check_reads(&store, &mut memory);
            taken = take(&mut store, step);
        }
        free(&disk);
        if let Err(StoreError::Full { .. }) = &taken {
            say("full");
            check_reads(&store, &mut memory);
            if rng.below(4) == 0 {
                drop(store);
                store = open(&dir).unwrap().0;
                check_reads(&store, &mut memory);
            }
            taken = take(&mut store, step);
        }
        assert_eq!(taken.unwrap(), take(&mut memory, step).unwrap());
    }
    check_reads(&store, &mut memory);
    drop(store);
    let (store, _, contents) = open(&dir).unwrap();
    assert_eq!(contents, memory.recover().unwrap());
    check_reads(&store, &mut memory);
}

/// A start may need room, and may fail for want of it. Then there is all as it was once there is room.
fn open_on_full(disk: &Path, dir: &Path, rng: &mut Rng) -> SegmentLogStore {
    fill(disk, LEFT[rng.index(2)]);
    let opened = open(dir);
    free(disk);
    match opened {
        Ok((store, ..)) => store,
        Err(StoreError::Io { .. } | StoreError::Full { .. }) => {
            say("no start");
            open(dir).unwrap().0
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn file_systems_that_are_full() {
    let child = Child {
        test: "full::takes_the_steps_of_a_script_while_its_disk_is_full",
        seed: seed(),
    };
    let Some(end) = child.run_on_disk_of(SIZE) else { return };
    assert!(end.is_well, "{}", end.output);
    let full = end.said.iter().filter(|said| *said == "full").count();
    let starts = end.said.iter().filter(|said| *said == "no start").count();
    println!("file systems that are full: {full} steps found no room, {starts} starts");
    assert!(full > 0, "the disk was never full");
}
