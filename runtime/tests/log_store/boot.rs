//! What a node finds of its earlier lives.

use crate::harness::{DirectoryDisk, Disk, MemoryDisk, record};
use crate::tame_disk::TameDisk;
use raftyard::store::{Boot, DiskId, LogStore, StoreError, check};
use std::fs;

fn boot<D: Disk>(disk: &D, promise_ms: u64) -> (u64, u64) {
    let mut store = disk.open();
    let Boot {
        counter,
        longest_promise_ms_before,
        ..
    } = store.boot(promise_ms).unwrap();
    store.recover().unwrap();
    (counter, longest_promise_ms_before)
}

fn starts_are_counted<D: Disk>() {
    let disk = D::blank();
    assert_eq!(boot(&disk, 600), (1, 0), "a new node promised nothing yet");
    assert_eq!(boot(&disk, 900), (2, 600));
    assert_eq!(
        boot(&disk, 300),
        (3, 900),
        "a longer promise is known at the next start"
    );
    assert_eq!(boot(&disk, 300), (4, 900), "and never forgotten");
}

#[test]
fn starts_are_counted_and_the_longest_promise_is_remembered_in_memory() {
    starts_are_counted::<MemoryDisk>();
}

#[test]
fn starts_are_counted_and_the_longest_promise_is_remembered_on_disk() {
    starts_are_counted::<DirectoryDisk>();
    starts_are_counted::<TameDisk>();
}

fn disk_of<D: Disk>(disk: &D) -> DiskId {
    disk.open().boot(600).unwrap().disk
}

fn a_disk_is_told_from_others<D: Disk>() {
    let (disk, other) = (D::blank(), D::blank());
    let first = disk_of(&disk);
    assert_eq!(disk_of(&disk), first, "it is the same at every start");
    assert_ne!(disk_of(&other), first);
}

#[test]
fn a_disk_is_told_from_others_in_memory() {
    a_disk_is_told_from_others::<MemoryDisk>();
}

#[test]
fn a_disk_is_told_from_others_on_disk() {
    a_disk_is_told_from_others::<DirectoryDisk>();
    a_disk_is_told_from_others::<TameDisk>();
}

#[test]
fn a_directory_that_lost_its_log_is_another_disk() {
    let disk = DirectoryDisk::blank();
    let first = disk_of(&disk);
    fs::remove_dir_all(disk.path().join("log")).unwrap();
    assert_ne!(disk_of(&disk), first);
}

#[test]
fn a_first_start_that_ended_before_it_was_counted_is_the_first() {
    let disk = DirectoryDisk::blank();
    disk.open().recover().unwrap();
    assert_eq!(boot(&disk, 600), (1, 0));
}

/// Counted from 1 again, it would be another disk, which promised nothing.
#[test]
fn a_log_that_lost_its_count_of_starts_is_refused() {
    let disk = DirectoryDisk::blank();
    boot(&disk, 600);
    let file = disk.path().join("log/boot");
    let mut store = disk.open();
    store.recover().unwrap();
    store.create(&[record(1)]).unwrap();
    drop(store);
    fs::remove_file(&file).unwrap();
    for is_loaded in [false, true] {
        let mut store = disk.open();
        if is_loaded {
            store.recover().unwrap();
        }
        let error = store.boot(600).expect_err("it is gone");
        assert!(
            matches!(&error, StoreError::Damaged { path, .. } if *path == file),
            "{error}"
        );
        assert!(!file.exists());
    }
    let refusals = check(disk.path()).unwrap().refusals;
    assert_eq!(refusals.len(), 1, "{refusals:?}");
}

#[test]
fn what_a_crash_left_of_a_count_is_replaced() {
    let disk = DirectoryDisk::blank();
    boot(&disk, 600);
    fs::write(disk.path().join("log/boot.new"), "bo").unwrap();
    assert_eq!(boot(&disk, 600), (2, 600));
}

#[test]
fn every_flipped_bit_of_the_count_is_noticed() {
    let disk = DirectoryDisk::blank();
    boot(&disk, 600);
    let file = disk.path().join("log/boot");
    let text = fs::read(&file).unwrap();
    let mut store = disk.open();
    for bit in 0..text.len() * 8 {
        let mut flipped = text.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &flipped).unwrap();
        let error = store.boot(600).expect_err("it is damaged");
        assert!(
            matches!(&error, StoreError::Damaged { path, .. } if *path == file),
            "{error}"
        );
    }
}
