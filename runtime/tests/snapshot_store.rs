//! What every snapshot store owes, checked against both.
#![allow(clippy::unwrap_used)]

use raftyard::store::{DirectorySnapshotStore, MemorySnapshotStore, SnapshotStore};
use std::io::ErrorKind;

fn owes_what_it_promises(open: impl Fn() -> Box<dyn SnapshotStore>) {
    let mut store = open();
    assert!(store.list().unwrap().is_empty());
    assert_eq!(store.size("a").unwrap(), None);
    assert_eq!(store.read("a", 0, 1).unwrap_err().kind(), ErrorKind::NotFound);
    store.remove("a").unwrap();
    assert!(store.publish("a", "b").is_err());

    store.write("a", 0, b"hello").unwrap();
    store.write("a", 5, b" world").unwrap();
    assert_eq!(store.size("a").unwrap(), Some(11));
    assert_eq!(store.read("a", 0, 100).unwrap(), "hello world");
    assert_eq!(store.read("a", 4, 3).unwrap(), "o w");
    assert_eq!(store.read("a", 11, 3).unwrap(), "");
    assert_eq!(store.read("a", 99, 3).unwrap(), "");
    store.write("a", 2, b"y").unwrap();
    assert_eq!(store.read("a", 0, 100).unwrap(), "hey", "what stood behind is gone");
    store.write("c", 0, b"").unwrap();
    assert_eq!(store.size("c").unwrap(), Some(0));

    store.write("b", 0, b"older").unwrap();
    store.publish("a", "b").unwrap();
    let mut store = open();
    let mut names = store.list().unwrap();
    names.sort();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(store.read("b", 0, 100).unwrap(), "hey");
    store.remove("b").unwrap();
    assert_eq!(store.list().unwrap(), ["c"]);
}

#[test]
fn memory() {
    let store = MemorySnapshotStore::default();
    owes_what_it_promises(|| Box::new(store.clone()));
}

#[test]
fn directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not/there/yet");
    owes_what_it_promises(|| Box::new(DirectorySnapshotStore::open(&path).unwrap()));
}
