//! Whether a node's process lives: what all that it holds of the world looks at.

use super::threads::Doom;
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One life of a node's process. Clones are the same.
#[derive(Clone)]
pub(crate) struct Vital(Arc<State>);

struct State {
    node: NodeId,
    life: u64,
    doom: Doom,
    is_dead: AtomicBool,
    /// Its peers hear nothing of its end.
    is_silent: AtomicBool,
    /// Operations on disks and network until it crashes; none if 0.
    fuse: AtomicU64,
    /// Its peers hear nothing of the end that the fuse makes.
    fuse_is_silent: AtomicBool,
    /// They don't count before a file of its log begins or is removed.
    fuse_waits: AtomicBool,
    /// Why it ended.
    cause: Mutex<Option<&'static str>>,
}

impl Vital {
    pub(crate) fn new(node: NodeId, life: u64, doom: Doom) -> Self {
        Self(Arc::new(State {
            node,
            life,
            doom,
            is_dead: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            fuse: AtomicU64::new(0),
            fuse_is_silent: AtomicBool::new(false),
            fuse_waits: AtomicBool::new(false),
            cause: Mutex::default(),
        }))
    }

    pub(crate) fn node(&self) -> NodeId {
        self.0.node
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.is_dead.load(Ordering::Relaxed)
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.is_dead() && self.0.is_silent.load(Ordering::Relaxed)
    }

    /// Ends the process: nothing that it does from now on has any effect, and its tasks are dropped at the await at
    /// which each of them is.
    pub(crate) fn end(&self, is_silent: bool, cause: &'static str) {
        if !self.0.is_dead.swap(true, Ordering::Relaxed) {
            self.0.is_silent.store(is_silent, Ordering::Relaxed);
            *self.0.cause.lock() = Some(cause);
            self.0.doom.end((self.0.node, self.0.life));
        }
    }

    /// Lets it crash in the midst of the operation on a disk or the network that comes after `operations` others; which
    /// count at once, or from the next file of its log on that begins or is removed.
    pub(crate) fn light_fuse(&self, operations: u64, of_files: bool, is_silent: bool) {
        self.0.fuse_is_silent.store(is_silent, Ordering::Relaxed);
        self.0.fuse_waits.store(of_files, Ordering::Relaxed);
        self.0.fuse.store(operations + 1, Ordering::Relaxed);
    }

    /// It does not crash by itself any more.
    pub(crate) fn put_out(&self) {
        self.0.fuse.store(0, Ordering::Relaxed);
    }

    /// A file of its log begins, or is removed.
    pub(crate) fn changes_files(&self) {
        self.0.fuse_waits.store(false, Ordering::Relaxed);
    }

    /// Counts an operation. True if the process ends here: what the operation does is for the caller to draw.
    pub(crate) fn burns_down(&self, cause: &'static str) -> bool {
        let left = self.0.fuse.load(Ordering::Relaxed);
        if left == 0 || self.is_dead() || self.0.fuse_waits.load(Ordering::Relaxed) {
            return false;
        }
        self.0.fuse.store(left - 1, Ordering::Relaxed);
        if left == 1 {
            self.end(self.0.fuse_is_silent.load(Ordering::Relaxed), cause);
        }
        left == 1
    }

    /// In what it ended.
    pub(crate) fn cause(&self) -> Option<&'static str> {
        *self.0.cause.lock()
    }
}
