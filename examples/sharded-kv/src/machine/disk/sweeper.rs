//! Removes the keys of generations that nobody needs any more, in the background.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use fjall::{Database, Keyspace, Readable};

use super::rows::{self, Kind};

/// Rows that are removed at a time.
const SWEEP_ROWS: usize = 1_000;

/// The thread that does it, until this is dropped.
pub(super) struct Sweeper {
    /// `None` once it is dropped.
    discarded: Option<Sender<u64>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    /// # Errors
    ///
    /// There is no room for another thread.
    pub(super) fn start(database: &Database, rows: &Keyspace) -> io::Result<Self> {
        let (discarded, waiting) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let sweep = Sweep {
            database: database.clone(),
            rows: rows.clone(),
            stop: Arc::clone(&stop),
        };
        let thread = thread::Builder::new()
            .name("kv-sweeper".into())
            .spawn(move || sweep.run(&waiting))?;
        Ok(Self {
            discarded: Some(discarded),
            stop,
            thread: Some(thread),
        })
    }

    pub(super) fn discard(&self, generation: u64) {
        if let Some(discarded) = &self.discarded {
            // If the thread has ended, it is removed after the next start.
            let _ = discarded.send(generation);
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.discarded = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread does: one generation after the other.
struct Sweep {
    database: Database,
    rows: Keyspace,
    stop: Arc<AtomicBool>,
}

impl Sweep {
    fn run(&self, waiting: &Receiver<u64>) {
        for generation in waiting {
            for kind in [Kind::Cell, Kind::Deadline] {
                if let Err(error) = self.remove(kind, generation) {
                    tracing::warn!(generation, %error, "keys that nobody needs were not removed");
                }
            }
        }
    }

    /// What it does not get to is removed after the next start.
    fn remove(&self, kind: Kind, generation: u64) -> fjall::Result<()> {
        let view = self.database.snapshot();
        let mut batch = self.database.batch();
        for row in view.prefix(&self.rows, rows::prefix(kind, generation)) {
            if self.stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            batch.remove(&self.rows, row.key()?);
            if batch.len() >= SWEEP_ROWS {
                std::mem::replace(&mut batch, self.database.batch()).commit()?;
            }
        }
        batch.commit()
    }
}
