//! The disk of a simulated node: it knows what is durable, and fails.

mod device;
mod files;
mod logs;
mod rot;
mod snapshots;

pub(crate) use logs::SimLogStore;
pub(crate) use snapshots::SimSnapshotStore;

use super::random::Random;
use super::trace::Trace;
use files::LogFiles;
use logs::Doubt;
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// What a node's disk holds, across the lives of its process. Clones are the same.
#[derive(Clone)]
pub(crate) struct NodeDisk(Arc<Mutex<State>>);

struct State {
    node: NodeId,
    files: LogFiles,
    /// So large are segments.
    segment_bytes: u64,
    /// The last change of the logs, if it failed.
    doubt: Option<Doubt>,
    blobs: BTreeMap<String, Blob>,
    /// What fails next, if anything does.
    fails: Option<Failure>,
    /// One did, and nobody asked since.
    has_failed: bool,
    /// So many bytes more find room, if not any number.
    room: Option<usize>,
    /// It says of what it is only about to write that it is durable.
    lies: bool,
    random: Random,
    trace: Trace,
}

/// A file.
#[derive(Default)]
struct Blob {
    bytes: Vec<u8>,
    is_durable: bool,
}

/// What of a disk can fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Write,
    Sync,
}

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    /// It fails, and nothing of it is there.
    Lost,
    /// It fails, and is there nevertheless.
    Indeterminate,
}

impl NodeDisk {
    pub(crate) fn new(node: NodeId, mut random: Random, trace: Trace) -> Self {
        // So small that segments begin, and are given up, all the time; or not.
        let segment_bytes = *random.pick(&[2_000, 10_000, 100_000]).unwrap_or(&10_000);
        let mark_chance = *random.pick(&[500, 50, 5]).unwrap_or(&500);
        Self(Arc::new(Mutex::new(State {
            node,
            files: LogFiles::new(mark_chance),
            segment_bytes,
            doubt: None,
            blobs: BTreeMap::new(),
            fails: None,
            has_failed: false,
            room: None,
            lies: false,
            random,
            trace,
        })))
    }

    /// Lets the next one of these fail, or none.
    pub(crate) fn fail(&self, fails: Option<Failure>) {
        self.0.lock().fails = fails;
    }

    /// Leaves room for so many bytes more, or for any number.
    pub(crate) fn fill(&self, room: Option<u64>) {
        self.0.lock().room = room.map(|room| usize::try_from(room).unwrap_or(usize::MAX));
    }

    /// Whether a write failed since this was asked last.
    pub(crate) fn take_failed(&self) -> bool {
        std::mem::take(&mut self.0.lock().has_failed)
    }

    /// Whether a change of the logs failed since they were opened: the store takes no more until it is opened again.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.0.lock().doubt.is_some()
    }

    /// Lets it say of what it is only about to write that it is durable.
    pub(crate) fn lie(&self) {
        self.0.lock().lies = true;
    }

    /// The machine lost its power: of what was not durable any part is there, or nothing. What only its process does
    /// not survive is in the machine's memory, and there for the next one.
    pub(crate) fn lose_power(&self) {
        let mut state = self.0.lock();
        let State {
            files, blobs, random, ..
        } = &mut *state;
        files.lose_power(random);
        blobs.retain(|_, blob| {
            if blob.is_durable {
                return true;
            }
            let kept = random.position(blob.bytes.len() + 1);
            blob.bytes.truncate(kept);
            random.chance(500)
        });
    }
}

impl State {
    /// Whether it is to fail now.
    fn fails_now(&mut self, is_now: impl FnOnce(Failure) -> bool) -> bool {
        let fails = self.fails.take_if(|failure| is_now(*failure)).is_some();
        self.has_failed |= fails;
        fails
    }

    /// Takes room for a file that grows by so many bytes; an error says that there is room only for this many.
    fn grow(&mut self, by: usize) -> Result<(), usize> {
        let Some(room) = &mut self.room else {
            return Ok(());
        };
        match room.checked_sub(by) {
            Some(left) => *room = left,
            None => {
                self.has_failed = true;
                let room = std::mem::take(room);
                if room > 0 {
                    self.trace.line(format!("the disk of {} is full", self.node));
                }
                return Err(room);
            }
        }
        Ok(())
    }

    /// A file is gone.
    fn shrink(&mut self, by: usize) {
        if let Some(room) = &mut self.room {
            *room = room.saturating_add(by);
        }
    }

    /// One that fails may have been done.
    fn failure(&mut self) -> Fate {
        if self.random.chance(500) {
            Fate::Lost
        } else {
            Fate::Indeterminate
        }
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn failed() -> io::Error {
    io::Error::other("the simulated disk failed")
}
