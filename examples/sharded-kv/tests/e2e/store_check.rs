//! `raftyard-kv ctl store check`, on the data directory of a node that is down.

use raftyard::store::{GroupRecord, LogStore, SegmentLogStore, StoreIdentity};
use raftyard::{GroupId, Incarnation, Membership, NodeId};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What it ends with, and says.
pub(crate) fn check(dir: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_raftyard-kv"))
        .args(["ctl", "store", "check"])
        .arg(dir)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn open(dir: &Path) -> SegmentLogStore {
    let identity = StoreIdentity {
        cluster: "check".to_owned(),
        node: NodeId(3),
    };
    SegmentLogStore::open(dir, &identity).unwrap()
}

#[test]
fn a_data_directory_is_looked_at_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.boot(0).unwrap();
    store.recover().unwrap();
    let record = |group| GroupRecord {
        group: GroupId(group),
        incarnation: Incarnation(1),
        membership: Membership::of_voters((1..=3).map(NodeId)).unwrap(),
        is_witness: false,
    };
    let segment = dir.path().join("log/00000001.segment");
    store.create(&[record(2)]).unwrap();
    let written = fs::read(&segment).unwrap();
    store.create(&[record(1)]).unwrap();
    let (code, said) = check(dir.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("in use"), "{said}");
    drop(store);

    let (code, said) = check(dir.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("node 3") && said.contains("whole: 2 groups"), "{said}");

    let mut bytes = fs::read(&segment).unwrap();
    let last = written.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    for _ in 0..2 {
        let (code, said) = check(dir.path());
        assert_eq!(code, Some(1), "{said}");
        for part in [
            "00000001.segment at 32",
            "batch 1",
            "g2: what became of it here is not certain",
            "1 of",
        ] {
            assert!(said.contains(part), "no {part} in: {said}");
        }
    }
    assert_eq!(fs::read(&segment).unwrap(), bytes);

    fs::write(dir.path().join("identity"), "nobody").unwrap();
    let (code, said) = check(dir.path());
    assert_eq!(code, Some(2), "{said}");
}
