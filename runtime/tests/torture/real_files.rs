//! Damage to real files: a node's directory, and the snapshots of a state machine.

use crate::harness::{append, entries, hard_state, identity, record, vote};
use crate::steps::Rng;
use crate::support::settings::seed;
use crate::verdict::{Tally, Truth};
use raftyard::store::{LogStore, SegmentLogStore};
use raftyard::{Compaction, Consistency, CreateGroupError, GroupId, Limits, NodeId, RaftHost, StateMachine, Timestamp};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// All files below a directory.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// As much of a file as holds something, and all of it.
fn written(path: &Path) -> (usize, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    (end, bytes)
}

fn copy(from: &Path, to: &Path) {
    let mut all = Vec::new();
    files(from, &mut all);
    for file in all {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

#[test]
fn a_directory() {
    let mut rng = Rng(seed());
    let whole = TempDir::new().unwrap();
    let mut store = SegmentLogStore::open(whole.path(), &identity()).unwrap();
    store.boot(10).unwrap();
    store.create(&[record(1), record(2), record(3)]).unwrap();
    store.write(&[vote(1, hard_state(2, Some(1)))]).unwrap();
    for first in (1..200).step_by(4) {
        let batch: Vec<_> = (1..=3).map(|group| append(group, entries(first, 4, 2))).collect();
        store.write(&batch).unwrap();
    }
    store.destroy(&[GroupId(3)]).unwrap();
    let contents = store.recover().unwrap();
    let truth = Truth::of(&store, contents);
    drop(store);
    let mut names = Vec::new();
    files(whole.path(), &mut names);
    names.retain(|name| !name.ends_with("lock"));
    let mut tally = Tally::default();
    for name in &names {
        let cases = if name.extension().is_some() { 150 } else { 20 };
        for case in 0..cases {
            let damaged = TempDir::new().unwrap();
            copy(whole.path(), damaged.path());
            let file = damaged.path().join(name.strip_prefix(whole.path()).unwrap());
            let (len, mut bytes) = written(&file);
            let at = rng.index(len);
            let what = format!("{} at {at}, case {case}", file.display());
            match case % 10 {
                0 => bytes.truncate(at),
                1 => bytes[at..].fill(0),
                _ => bytes[at] ^= 1 << rng.below(8),
            }
            fs::write(&file, bytes).unwrap();
            if case == cases - 1 {
                fs::remove_file(&file).unwrap();
            }
            let open = || {
                let mut store = SegmentLogStore::open(damaged.path(), &identity())?;
                store.boot(10)?;
                Ok(store)
            };
            tally.add(truth.check(open, &|| what.clone()));
        }
    }
    println!("real files: {} cases, {tally:?}", tally.cases());
    assert!(tally.partial > 100 && tally.refused > 20, "{tally:?}");
}

/// Adds up.
#[derive(Default)]
struct Sum(u64);

impl StateMachine for Sum {
    type Command = u64;
    type Response = u64;
    type Query = ();
    type Answer = u64;
    type Snapshot = u64;

    fn apply(&mut self, add: u64, _: Timestamp) -> u64 {
        self.0 += add;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn snapshot(&self) -> u64 {
        self.0
    }

    fn restore(&mut self, sum: u64) {
        self.0 = sum;
    }
}

async fn open(dir: &Path) -> RaftHost {
    let compaction = Compaction {
        entries: 10,
        tail_entries: 2,
        ..Compaction::default()
    };
    let limits = Limits {
        // However long the disk takes.
        request_timeout_ms: 60_000,
        ..Limits::default()
    };
    let host = RaftHost::builder(dir).node(NodeId(1)).listen("127.0.0.1:0");
    let host = host.workers(1).limits(limits).compaction(compaction);
    host.open().await.unwrap()
}

#[tokio::test]
async fn snapshots_of_a_state_machine() {
    let mut rng = Rng(seed());
    let whole = TempDir::new().unwrap();
    let host = open(whole.path()).await;
    let group = host.create_group(GroupId(1), [NodeId(1)], Sum::default).await.unwrap();
    group.wait_for_leader().await.unwrap();
    for n in 1..=100 {
        group.propose(n).await.unwrap();
    }
    // The log was compacted: the second one begins after that.
    while host.metrics().snapshots_taken < 2 {
        group.propose(0).await.unwrap();
    }
    host.shutdown().await;
    drop((host, group));
    let (mut used, mut refused) = (0, 0);
    for case in 0..30 {
        let damaged = TempDir::new().unwrap();
        copy(whole.path(), damaged.path());
        let mut snapshots = Vec::new();
        files(&damaged.path().join("snapshots"), &mut snapshots);
        assert!(!snapshots.is_empty());
        for file in &snapshots {
            let mut bytes = fs::read(file).unwrap();
            let at = rng.index(bytes.len());
            match case % 5 {
                0 => bytes.truncate(at),
                1 => bytes[at..].fill(0xff),
                _ => bytes[at] ^= 1 << rng.below(8),
            }
            fs::write(file, bytes).unwrap();
        }
        let host = open(damaged.path()).await;
        match host.create_group(GroupId(1), [NodeId(1)], Sum::default).await {
            Ok(group) => {
                group.wait_for_leader().await.unwrap();
                assert_eq!(group.read((), Consistency::Linearizable).await, Ok(5050), "case {case}");
                used += 1;
            }
            Err(CreateGroupError::Snapshot(_)) => refused += 1,
            Err(error) => panic!("case {case}: {error}"),
        }
        host.shutdown().await;
        let mut left = Vec::new();
        files(&damaged.path().join("snapshots"), &mut left);
        assert!(left.len() >= snapshots.len(), "nothing is removed");
    }
    println!("snapshots: {refused} refused, {used} not needed");
    assert!(refused > 0);
}
