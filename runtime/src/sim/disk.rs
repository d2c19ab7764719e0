//! The disk of a simulated node: it knows what is durable, and fails.

mod logs;
mod snapshots;

pub(crate) use logs::SimLogStore;
pub(crate) use snapshots::SimSnapshotStore;

use super::random::Random;
use super::trace::Trace;
use crate::store::MemoryLogStore;
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
    logs: MemoryLogStore,
    blobs: BTreeMap<String, Blob>,
    /// The next write fails.
    fails: bool,
    /// If it lies: what is really durable of the logs.
    behind: Option<MemoryLogStore>,
    random: Random,
    trace: Trace,
}

/// A file.
#[derive(Default)]
struct Blob {
    bytes: Vec<u8>,
    is_durable: bool,
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
    pub(crate) fn new(node: NodeId, random: Random, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            node,
            logs: MemoryLogStore::new(),
            blobs: BTreeMap::new(),
            fails: false,
            behind: None,
            random,
            trace,
        })))
    }

    /// Lets the next write fail, or none.
    pub(crate) fn fail(&self, fails: bool) {
        self.0.lock().fails = fails;
    }

    /// Lets it say of what it is only about to write that it is durable.
    pub(crate) fn lie(&self) {
        let mut state = self.0.lock();
        state.behind = Some(state.logs.copy());
    }

    /// The machine crashed: of files that were being written any part is there, or nothing.
    pub(crate) fn crash(&self) {
        let mut state = self.0.lock();
        if let Some(behind) = &state.behind {
            state.logs = behind.copy();
        }
        let State { blobs, random, .. } = &mut *state;
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
    /// Something was written: a disk that lies makes it durable sooner or later.
    fn written(&mut self) {
        if self.behind.is_some() && self.random.chance(50) {
            self.behind = Some(self.logs.copy());
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

fn failed() -> io::Error {
    io::Error::other("the simulated disk failed")
}
