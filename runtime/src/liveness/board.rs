//! What the owner of a node's liveness and the rest of the node tell each other.

use parking_lot::RwLock;
use raftyard_groups::{Moment, Sessions};
use std::sync::atomic::{AtomicU64, Ordering};

/// The sessions, published whole after every change; and stamps of those whose work has to go on for the node to
/// be worth anything to others.
#[derive(Debug)]
pub(crate) struct Board {
    sessions: RwLock<Sessions>,
    /// When the storage was last asked something that it has done since.
    storage: AtomicU64,
    /// When each worker last took a turn, or could have.
    workers: Vec<AtomicU64>,
}

impl Board {
    /// All make progress at `now`.
    pub(crate) fn new(sessions: Sessions, workers: usize, now: Moment) -> Self {
        Self {
            sessions: RwLock::new(sessions),
            storage: AtomicU64::new(now.0),
            workers: (0..workers).map(|_| AtomicU64::new(now.0)).collect(),
        }
    }

    /// Has to happen before anybody is told that something changed.
    pub(crate) fn publish(&self, sessions: Sessions) {
        *self.sessions.write() = sessions;
    }

    /// What was published last. Who takes work from an inbox reads it after that.
    pub(crate) fn sessions(&self) -> Sessions {
        self.sessions.read().clone()
    }

    /// The storage took in all that it was given before `asked`, and has done it, but for writes that wait for room or for
    /// their turn.
    pub(crate) fn storage_moved(&self, asked: Moment) {
        self.storage.fetch_max(asked.0, Ordering::Relaxed);
    }

    /// A worker takes turns.
    pub(crate) fn worker_moved(&self, worker: usize, now: Moment) {
        if let Some(stamp) = self.workers.get(worker) {
            stamp.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// Whether all of them moved within the last `limit_ms`.
    pub(super) fn all_move(&self, now: Moment, limit_ms: u64) -> bool {
        let stamps = self.workers.iter().chain([&self.storage]);
        stamps
            .map(|stamp| Moment(stamp.load(Ordering::Relaxed)))
            .all(|stamp| now.since(stamp) <= limit_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_stands_still_is_enough() {
        let board = Board::new(Sessions::default(), 2, Moment(100));
        assert!(board.all_move(Moment(400), 300));
        assert!(!board.all_move(Moment(401), 300));
        board.storage_moved(Moment(390));
        board.worker_moved(0, Moment(390));
        assert!(!board.all_move(Moment(401), 300), "the second worker stands");
        board.worker_moved(1, Moment(390));
        assert!(board.all_move(Moment(401), 300));
        assert!(board.all_move(Moment(690), 300));
        board.worker_moved(0, Moment(690));
        board.worker_moved(1, Moment(690));
        assert!(!board.all_move(Moment(691), 300), "the storage stands");
    }
}
