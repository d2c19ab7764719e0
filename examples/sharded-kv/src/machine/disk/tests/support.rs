//! A store for a test, and what tests do to the machines in it.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::super::command::{Expiry, Query};
use super::super::*;
use crate::bell::FirstDeadlines;

/// A store in a directory of its own.
pub(in crate::machine) struct TestStore {
    // Before its directory.
    pub(super) store: Arc<Store>,
    pub(super) dir: TempDir,
}

impl TestStore {
    pub(in crate::machine) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), |_| true).unwrap();
        Self { store, dir }
    }

    /// As after a restart.
    pub(super) fn reopen(self, is_hosted: impl Fn(GroupId) -> bool) -> Self {
        let Self { store, dir } = self;
        Arc::into_inner(store).expect("somebody still uses it");
        let store = Store::open(dir.path(), is_hosted).unwrap();
        Self { store, dir }
    }

    pub(in crate::machine) fn machine(&self, group: GroupId) -> DiskKv {
        let bell = Bell::new(FirstDeadlines::new(1), 0);
        DiskKv::open(Arc::clone(&self.store), group, bell).unwrap()
    }

    /// The generations that have any keys or deadlines.
    pub(super) fn generations(&self) -> Vec<u64> {
        let contents = contents::Contents::read(&self.store.rows).unwrap();
        assert!(contents.damaged().is_empty(), "{contents:?}");
        contents.generations().collect()
    }

    /// Waits until there are these only.
    pub(super) fn await_generations(&self, wanted: &[u64]) {
        let start = Instant::now();
        while self.generations() != wanted {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}", self.generations());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Store {
    /// Its disk, in this directory, fails from here on.
    pub(crate) fn fail(&self, dir: &Path) {
        std::fs::rename(dir.join("keyspaces"), dir.join("elsewhere")).unwrap();
        self.rows.clear().unwrap_err();
    }
}

impl DiskKv {
    pub(in crate::machine) fn group(&self) -> GroupId {
        self.group
    }

    /// From now on it meets these, and wants to be committed with so many bytes in memory.
    pub(in crate::machine) fn limit(&mut self, limits: Limits, held_bytes_max: usize) {
        self.working.limits = limits;
        self.held_bytes_max = held_bytes_max;
    }

    /// Everything is committed and on disk as it is in `keys`.
    pub(in crate::machine) fn assert_holds(&self, keys: &Keyspace) {
        assert_eq!(self.difference(keys).unwrap(), None);
    }

    /// What is on disk otherwise than in `keys`.
    pub(super) fn difference(&self, keys: &Keyspace) -> io::Result<Option<String>> {
        let generation = self.head.generation;
        let (mut count, mut deadlines) = (0, Vec::new());
        for row in self.store.cells_from(generation, 0) {
            let (name, row) = row?;
            let (key, entry) = rows::decode(rows::rest(&name), &row)?;
            if keys.entry(&key) != Some(&entry) {
                return Ok(Some(format!("{key:?} is {entry:?}, not {:?}", keys.entry(&key))));
            }
            deadlines.extend(entry.deadline().map(|deadline| (deadline, key)));
            count += 1;
        }
        let all = self.store.deadlines(generation, Timestamp(0), Timestamp(u64::MAX));
        let mut found: Vec<_> = all.collect::<io::Result<_>>()?;
        let first = found.first().map(|(deadline, _)| *deadline);
        deadlines.sort();
        found.sort();
        let (now, changes) = keys.clock();
        let stored = self.store.head(self.group)?.filter(|_| !self.is_damaged);
        let head = stored.unwrap_or(self.head);
        let facts = [
            (
                "the number of its keys",
                count == keys.len() && head.count == keys.len() as u64,
            ),
            ("its deadlines", found == deadlines),
            ("its first deadline", self.first == first),
            ("its time", head.now == now),
            ("the number of its changes", head.changes == changes),
            ("its head", head == self.head),
        ];
        let wrong = facts.iter().find(|(_, is_right)| !is_right);
        Ok(wrong.map(|(what, _)| {
            format!(
                "{what} is not what it was: {head:?}, {}, {now:?}, {changes}",
                keys.len()
            )
        }))
    }

    pub(super) fn set(&mut self, key: &str, expiry: Expiry) {
        let set = Command::set(key.as_bytes().into(), b"v"[..].into(), expiry);
        assert_eq!(self.apply(set, Timestamp(1_000)).unwrap(), Response::Ok);
    }

    pub(super) fn count(&self) -> Answer {
        self.query(Query::KeyCount).unwrap()
    }
}

pub(super) fn record(key: &str, value: Option<&str>) -> Record {
    Record {
        key: key.into(),
        value: value.map(Into::into),
    }
}

pub(super) fn records(machine: &DiskKv) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let all = machine.records().unwrap().into_iter();
    all.map(|(key, value)| (text(key), text(value))).collect()
}
