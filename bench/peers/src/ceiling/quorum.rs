//! Leader and logs on threads: each batch of entries goes to three logs, and is committed once two have it.

use super::log::{self, Log, Medium};
use crate::Failure;
use crate::results::RoundResult;
use crate::tally::{Tally, Timing};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

const LOGS: usize = 3;

/// Entries that the leader hands over at once, so that the first are on their way while it makes the others.
const BATCH_ENTRIES_MAX: usize = 1_024;

/// Batches that the slowest log may be behind; then the leader waits for it.
const BEHIND_BATCHES_MAX: usize = 256;

/// Bytes of an entry beside its payload: about what one has in a raftyard log, with its share of the record's head.
const ENTRY_OVERHEAD: usize = 24;

/// How often the leader looks whether it is to stop, while no log reports.
const LOOK: Duration = Duration::from_millis(50);

/// What is written.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Entries go to one group after the other.
    pub(super) groups: usize,
    pub(super) payload: usize,
    /// Entries that wait for their commit, all groups together.
    pub(super) in_flight: usize,
}

/// Entries that were handed over together.
struct Batch {
    entries: usize,
    made: Instant,
}

/// A log has all batches before this one.
struct Durable {
    log: usize,
    before: u64,
}

/// Runs the leader and the logs in `dir`, and measures.
///
/// # Errors
///
/// If a log can't be opened or written to.
pub(super) fn run(medium: Medium, dir: &Path, load: Load, timing: &Timing) -> Result<RoundResult, Failure> {
    let mut logs = Vec::new();
    for number in 0..LOGS {
        let dir = dir.join(number.to_string());
        std::fs::create_dir(&dir)?;
        logs.push(log::open(medium, &dir)?);
    }
    let tally = Tally::new()?;
    std::thread::scope(|scope| {
        let (reached, reports) = channel();
        let mut senders = Vec::new();
        for (number, log) in logs.into_iter().enumerate() {
            let (sender, batches) = sync_channel(BEHIND_BATCHES_MAX);
            senders.push(sender);
            let (reached, tally) = (reached.clone(), &tally);
            scope.spawn(move || {
                if let Err(error) = write(number, log, &batches, &reached) {
                    tally.fail(error.to_string());
                }
            });
        }
        drop(reached);
        let leader = Leader {
            load,
            tally: &tally,
            last: vec![0; load.groups],
            committed: vec![0; load.groups],
            waiting: VecDeque::new(),
            waiting_entries: 0,
            made: 0,
            durable: [0; LOGS],
        };
        scope.spawn(move || leader.run(&senders, &reports));
        tally.measure(timing, &[])
    })
}

/// Writes everything that waits with one append, as long as there is a leader.
fn write(
    number: usize,
    mut log: Box<dyn Log>,
    batches: &Receiver<Arc<[u8]>>,
    reached: &Sender<Durable>,
) -> Result<(), Failure> {
    let mut record = Vec::new();
    let mut before = 0;
    while let Ok(first) = batches.recv() {
        record.clear();
        for batch in std::iter::once(first).chain(batches.try_iter()) {
            record.extend_from_slice(&batch);
            before += 1;
        }
        // As any log does that notices damage.
        let checksum = crc32fast::hash(&record);
        record.extend_from_slice(&checksum.to_le_bytes());
        log.append(&record)?;
        if reached.send(Durable { log: number, before }).is_err() {
            break;
        }
    }
    Ok(())
}

struct Leader<'a> {
    load: Load,
    tally: &'a Tally,
    /// For each group the index of its last entry, and of the last that is committed.
    last: Vec<u64>,
    committed: Vec<u64>,
    /// Handed over, not committed.
    waiting: VecDeque<Batch>,
    waiting_entries: usize,
    /// Batches handed over, ever.
    made: u64,
    durable: [u64; LOGS],
}

impl Leader<'_> {
    fn run(mut self, logs: &[SyncSender<Arc<[u8]>>], reports: &Receiver<Durable>) {
        let (mut next, mut next_committed) = (0, 0);
        let value = vec![b'v'; self.load.payload];
        while !self.tally.is_stopped() {
            while self.waiting_entries < self.load.in_flight {
                let batch = self.make_batch(&mut next, &value);
                if logs.iter().any(|log| log.send(batch.clone()).is_err()) {
                    return;
                }
            }
            let first = match reports.recv_timeout(LOOK) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for durable in std::iter::once(first).chain(reports.try_iter()) {
                if let Some(before) = self.durable.get_mut(durable.log) {
                    *before = durable.before;
                }
            }
            self.commit(&mut next_committed);
        }
    }

    fn make_batch(&mut self, next: &mut usize, value: &[u8]) -> Arc<[u8]> {
        let entries = (self.load.in_flight - self.waiting_entries).min(BATCH_ENTRIES_MAX);
        let made = Instant::now();
        let mut bytes = Vec::with_capacity(entries * (ENTRY_OVERHEAD + value.len()));
        for _ in 0..entries {
            if let Some(last) = self.last.get_mut(*next) {
                *last += 1;
                let head = [*next as u64, 1, *last];
                bytes.extend(head.iter().flat_map(|field| field.to_le_bytes()));
                bytes.extend_from_slice(value);
            }
            *next = (*next + 1) % self.load.groups;
        }
        self.waiting.push_back(Batch { entries, made });
        self.waiting_entries += entries;
        self.made += 1;
        bytes.into()
    }

    /// Commits what two of three have: for each entry its group's commit index moves.
    fn commit(&mut self, next: &mut usize) {
        let mut durable = self.durable;
        durable.sort_unstable();
        let by_two = durable[LOGS / 2];
        while self.made - self.waiting.len() as u64 != by_two
            && let Some(batch) = self.waiting.pop_front()
        {
            for _ in 0..batch.entries {
                if let Some(committed) = self.committed.get_mut(*next) {
                    *committed += 1;
                }
                *next = (*next + 1) % self.load.groups;
            }
            self.waiting_entries -= batch.entries;
            self.tally.answered(0, batch.made, batch.entries as u64);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn leader(tally: &Tally) -> Leader<'_> {
        Leader {
            load: Load {
                groups: 2,
                payload: 16,
                in_flight: 9,
            },
            tally,
            last: vec![0; 2],
            committed: vec![0; 2],
            waiting: VecDeque::new(),
            waiting_entries: 0,
            made: 0,
            durable: [0; LOGS],
        }
    }

    #[test]
    fn what_two_logs_have_is_committed_and_nothing_else() {
        let tally = Tally::new().unwrap();
        let mut leader = leader(&tally);
        let (mut next, mut committed) = (0, 0);
        let bytes = leader.make_batch(&mut next, &[0; 16]);
        assert_eq!(bytes.len(), 9 * (ENTRY_OVERHEAD + 16));
        assert_eq!((leader.last.clone(), leader.waiting_entries), (vec![5, 4], 9));
        leader.durable = [1, 0, 0];
        leader.commit(&mut committed);
        assert_eq!(leader.committed, [0, 0]);
        leader.durable = [1, 0, 1];
        leader.commit(&mut committed);
        assert_eq!((leader.committed.clone(), leader.waiting_entries), (vec![5, 4], 0));
    }
}
