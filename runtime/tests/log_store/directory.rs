//! Whose data directory it is, and what a store finds in it.

use crate::harness::{DirectoryDisk, Disk, Harness, append, entries, identity, record};
use raftyard::store::{LogStore, SegmentLogStore, StoreContents, StoreError, StoreIdentity};
use raftyard_groups::{GroupId, LogIndex, NodeId};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

#[test]
fn a_directory_of_another_node_or_cluster_is_refused() {
    let h = with_a_log();
    let dir = h.path();
    let other_node = StoreIdentity {
        node: NodeId(2),
        ..identity()
    };
    let other_cluster = StoreIdentity {
        cluster: "test\"\nnode 1".into(),
        ..identity()
    };
    for other in [other_node, other_cluster] {
        let error = open_error(dir, &other);
        let StoreError::NotOurs { found, wanted, .. } = &error else {
            panic!("{error}");
        };
        assert!(
            found.contains("cluster \"test\"") && found.contains("node 1"),
            "{found}"
        );
        assert_eq!(*wanted, other.to_string());
    }
    still_there(&h);
}

#[test]
fn a_directory_of_another_format_is_refused() {
    let h = with_a_log();
    let file = h.path().join("identity");
    let text = fs::read_to_string(&file).unwrap();
    let own = &text[..text.find("crc32").unwrap()];
    assert!(own.contains("format 4"));
    for other in ["format 3", "format 9"] {
        let body = own.replace("format 4", other);
        let checksum = crc32fast::hash(body.as_bytes());
        fs::write(&file, format!("{body}crc32 {checksum:08x}\n")).unwrap();
        let error = open_error(h.path(), &identity());
        assert!(
            matches!(&error, StoreError::NotOurs { found, .. } if found.contains(other)),
            "{error}"
        );
    }
}

#[test]
fn every_flipped_bit_of_the_identity_is_noticed() {
    let h = with_a_log();
    let file = h.path().join("identity");
    let text = fs::read(&file).unwrap();
    for bit in 0..text.len() * 8 {
        let mut flipped = text.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &flipped).unwrap();
        let error = open_error(h.path(), &identity());
        assert!(
            matches!(&error, StoreError::Damaged { path, .. } if *path == file),
            "{error}"
        );
    }
    fs::write(&file, &text).unwrap();
    still_there(&h);
}

#[test]
fn logs_without_an_identity_are_nobodys() {
    let h = with_a_log();
    fs::remove_file(h.path().join("identity")).unwrap();
    let error = open_error(h.path(), &identity());
    assert!(matches!(error, StoreError::NotOurs { .. }), "{error}");
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_given_up() {
    let disk = DirectoryDisk::blank();
    let store = disk.open();
    let error = open_error(disk.path(), &identity());
    assert!(
        matches!(&error, StoreError::InUse(path) if path == disk.path()),
        "{error}"
    );
    drop(store);
    disk.open();
}

#[test]
fn a_directory_that_cant_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    for below in [file.clone(), file.join("data"), file.join("data/node")] {
        let error = open_error(&below, &identity());
        let StoreError::Io { context, .. } = &error else {
            panic!("{error}");
        };
        assert!(context.contains(&*file.to_string_lossy()), "{context}");
    }
}

#[test]
fn missing_directories_are_made() {
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("a/b/c");
    let mut store = SegmentLogStore::open(&deep, &identity()).unwrap();
    assert_eq!(store.recover().unwrap(), StoreContents::default());
}

#[test]
fn a_first_start_that_was_cut_short_is_done_again() {
    let disk = DirectoryDisk::blank();
    fs::write(disk.path().join("identity.new"), b"form").unwrap();
    fs::create_dir(disk.path().join("log.new")).unwrap();
    fs::write(disk.path().join("log.new/00000001.segment"), b"half").unwrap();
    let mut store = disk.open();
    store.create(&[record(1)]).unwrap();
    drop(store);
    assert_eq!(disk.open().recover().unwrap().groups.len(), 1);
}

#[test]
fn emptied_logs_are_not_taken_for_new_ones() {
    let h = with_a_log();
    fs::remove_dir_all(h.path().join("log")).unwrap();
    fs::create_dir(h.path().join("log")).unwrap();
    let error = open_error(h.path(), &identity());
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

/// A closed store with something in it.
fn with_a_log() -> DirectoryDisk {
    let mut h = Harness::<DirectoryDisk>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 3, 1))]);
    h.into_disk()
}

fn still_there(disk: &DirectoryDisk) {
    let mut store = disk.open();
    store.recover().unwrap();
    let found = store.read(GroupId(1), LogIndex(1), LogIndex(9), usize::MAX);
    assert_eq!(found.unwrap(), entries(1, 3, 1));
}

fn open_error(dir: &Path, identity: &StoreIdentity) -> StoreError {
    match SegmentLogStore::open(dir, identity) {
        Ok(_) => panic!("{} was opened", dir.display()),
        Err(error) => error,
    }
}
