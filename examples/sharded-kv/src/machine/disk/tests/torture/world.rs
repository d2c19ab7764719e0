//! A store that lived: groups, what each of them was after each of its batches, and the files that it left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::super::store::other;
use super::super::*;
use crate::bell::FirstDeadlines;
use crate::random::Random;

const GROUPS: u64 = 3;
/// A thread that takes longer to write a table has failed.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Bytes of one of the keys.
const LONG_KEY_BYTES: usize = 1_500;

/// What a group was after a batch.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// Of its keys, in postcard.
    pub(super) snapshot: Vec<u8>,
    pub(super) records: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) now: Timestamp,
}

impl Moment {
    pub(super) fn machine(&self) -> KvMachine {
        let mut machine = KvMachine::default();
        machine.restore(postcard::from_bytes(&self.snapshot).unwrap());
        machine
    }
}

/// One that has a replica on disk and one in memory.
pub(super) struct Group {
    pub(super) id: GroupId,
    memory: KvMachine,
    now: Timestamp,
    /// By the number of the batch, which is what it says that it applied.
    pub(super) history: Vec<Moment>,
}

/// The files of a store, by their path in its directory.
pub(super) type Image = BTreeMap<PathBuf, Vec<u8>>;

pub(super) struct World {
    dir: PathBuf,
    store: Option<Arc<Store>>,
    machines: Vec<DiskKv>,
    pub(super) groups: Vec<Group>,
    pub(super) random: Random,
    /// Whose each batch is, by its place in `groups`: all lie in one journal, in this order.
    pub(super) order: Vec<usize>,
    /// How long each journal was after each batch that it took.
    pub(super) ends: BTreeMap<PathBuf, Vec<usize>>,
}

impl World {
    /// One that is not open yet, in a directory with nothing in it.
    pub(super) fn new(seed: u64, dir: &Path) -> Self {
        let group = |id| Group {
            id: GroupId(id),
            memory: KvMachine::default(),
            now: Timestamp(1_000),
            history: vec![Moment {
                snapshot: postcard::to_stdvec(&KvMachine::default().snapshot()).unwrap(),
                records: BTreeMap::new(),
                now: Timestamp(1_000),
            }],
        };
        Self {
            dir: dir.to_owned(),
            store: None,
            machines: Vec::new(),
            groups: (1..=GROUPS).map(group).collect(),
            random: Random::new(seed),
            order: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// With so many threads that write tables.
    pub(super) fn open(&mut self, threads: usize) -> io::Result<()> {
        let store = Store::open_with(&self.dir, threads, |_| true)?;
        let groups = self.groups.iter();
        self.machines = groups
            .map(|group| machine(&store, group.id))
            .collect::<io::Result<_>>()?;
        self.store = Some(store);
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.machines.clear();
        if let Some(store) = self.store.take() {
            Arc::into_inner(store).expect("somebody still uses it");
        }
    }

    /// Makes durable what all groups committed.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.store.as_ref().unwrap().sync()
    }

    /// What is in memory becomes a table. That this failed is told to who commits next.
    pub(super) fn flush(&self) -> io::Result<()> {
        let rows = &self.store.as_ref().unwrap().rows;
        rows.rotate_memtable().map_err(other)?;
        let start = Instant::now();
        while rows.sealed_memtable_count() > 0 && start.elapsed() < FLUSH_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// From the next start on another journal is written. A journal of 64 MB has the same end.
    pub(super) fn rotate(&mut self) {
        let last = journals(&self.dir).pop().unwrap();
        let number: u64 = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        fs::write(last.with_file_name(format!("{}.jnl", number + 1)), "").unwrap();
    }

    /// Random commands to one group become a batch.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let place = self.random.place(self.groups.len());
        let (group, machine) = (&mut self.groups[place], &mut self.machines[place]);
        if self.random.below(20) == 0 && group.history.len() > 1 {
            group.restore(machine)?;
        } else {
            group.commit(machine, &mut self.random)?;
        }
        self.order.push(place);
        Ok(())
    }

    /// Notes how long the journal is.
    pub(super) fn note_end(&mut self) {
        let journal = journals(&self.dir).pop().unwrap();
        let length = usize::try_from(fs::metadata(&journal).unwrap().len()).unwrap();
        let ends = self.ends.entry(journal.file_name().unwrap().into()).or_default();
        ends.push(length);
    }

    /// All keys that ever were.
    pub(super) fn keys(&self) -> BTreeSet<Bytes> {
        let moments = self.groups.iter().flat_map(|group| &group.history);
        let snapshots = moments.map(|moment| moment.machine().keys.scan(0, usize::MAX, None).unwrap().1);
        snapshots.flatten().collect()
    }

    pub(super) fn image(&self) -> Image {
        let mut image = Image::new();
        let mut dirs = vec![self.dir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let name = path.strip_prefix(&self.dir).unwrap();
                    image.insert(name.to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        image
    }
}

impl Group {
    fn commit(&mut self, machine: &mut DiskKv, random: &mut Random) -> io::Result<()> {
        for _ in 0..=random.below(2) {
            self.now = self.now.plus(random.below(5));
            let command = random.command(self.now, LONG_KEY_BYTES);
            let answer = machine.apply(command.clone(), self.now)?;
            assert_eq!(self.memory.apply(command, self.now), answer);
        }
        let name = format!("w{}", random.below(6));
        let value = (random.below(3) > 0).then(|| random.below(1_000).to_string());
        let changes = self.records(&[record(&name, value.as_deref())]);
        machine.commit(&changes)?;
        self.push(self.history.last().unwrap().clone(), &changes);
        Ok(())
    }

    /// What a peer sends when it is sent to itself: the same keys as another generation.
    fn restore(&mut self, machine: &mut DiskKv) -> io::Result<()> {
        let mut sent = Vec::new();
        machine.snapshot()?(&mut sent)?;
        let restored = machine.restorer()(&mut &sent[..])?;
        let changes = self.records(&[record("w9", Some("restored"))]);
        machine.restore(restored, &changes)?;
        let mut last = self.history.last().unwrap().clone();
        last.records.clear();
        self.push(last, &changes);
        Ok(())
    }

    fn records(&self, changes: &[Record]) -> Vec<Record> {
        let applied = record("applied", Some(&self.history.len().to_string()));
        [changes, &[applied]].concat()
    }

    fn push(&mut self, mut moment: Moment, changes: &[Record]) {
        for Record { key, value } in changes {
            match value {
                Some(value) => moment.records.insert(key.clone(), value.clone()),
                None => moment.records.remove(key),
            };
        }
        moment.snapshot = postcard::to_stdvec(&self.memory.snapshot()).unwrap();
        moment.now = self.now;
        self.history.push(moment);
    }
}

pub(super) fn machine(store: &Arc<Store>, group: GroupId) -> io::Result<DiskKv> {
    DiskKv::open(Arc::clone(store), group, Bell::new(FirstDeadlines::new(1), 0))
}

/// The journals in a directory, the oldest first.
fn journals(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    found.sort();
    found
}
