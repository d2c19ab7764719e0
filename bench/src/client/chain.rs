//! Clients on the nodes' own worker threads: what is called with the outcomes of a batch asks the next one, so that
//! no thread has to be woken.

use super::ask::{Outcome, Write};
use super::{Lane, RETRY, Stats};
use crate::kv::Kv;
use parking_lot::Mutex;
use raftyard::Group;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// A client of one group.
pub(super) struct Chain {
    number: usize,
    lane: Mutex<Lane>,
    write: Write,
    stats: Arc<Stats>,
    /// What was refused is asked again after a pause, for which no worker may wait.
    refused: mpsc::UnboundedSender<Refused>,
}

struct Refused {
    chain: Arc<Chain>,
    at: usize,
    outcome: Outcome,
    since: Instant,
}

impl Chain {
    /// Starts one for each lane. They hold `alive` until the last has ended.
    pub(super) fn start(
        lanes: Vec<Lane>,
        value_bytes: usize,
        stats: &Arc<Stats>,
        timers: &Handle,
        alive: &mpsc::Sender<()>,
    ) {
        let (refused, taken) = mpsc::unbounded_channel();
        timers.spawn(ask_again(taken, alive.clone()));
        for lane in lanes {
            let (in_flight, batch) = (lane.in_flight, lane.batch);
            let chain = Arc::new(Self {
                number: lane.number,
                lane: Mutex::new(lane),
                write: Write::new(value_bytes),
                stats: stats.clone(),
                refused: refused.clone(),
            });
            for asked in (0..in_flight).step_by(batch) {
                chain.next(batch.min(in_flight - asked));
            }
        }
    }

    fn next(self: &Arc<Self>, count: usize) {
        let keys = self.lane.lock().next_keys(count);
        self.ask(keys, Instant::now());
    }

    fn ask(self: &Arc<Self>, keys: Vec<u64>, since: Instant) {
        let Some((at, replica)) = self.replica() else {
            return;
        };
        let chain = self.clone();
        let puts = keys.iter().map(|key| self.write.put(*key)).collect();
        replica.propose_many_then(puts, move |outcomes| {
            chain.answered(at, Outcome::of_writes(&keys, outcomes), since);
        });
    }

    fn replica(&self) -> Option<(usize, Group<Kv>)> {
        let lane = self.lane.lock();
        Some((lane.at, lane.replicas.get(lane.at)?.clone()))
    }

    fn answered(self: &Arc<Self>, at: usize, outcome: Outcome, since: Instant) {
        self.stats.note(self.number, &outcome, since.elapsed());
        if self.stats.is_stopped() {
            return;
        }
        let done = usize::try_from(outcome.answered + outcome.unknown).unwrap_or_default();
        if !outcome.refused.is_empty() {
            let refused = Refused {
                chain: self.clone(),
                at,
                outcome,
                since,
            };
            // Somebody takes it as long as there are chains.
            self.refused.send(refused).ok();
        }
        if done > 0 {
            self.next(done);
        }
    }
}

/// Asks again what was refused, until the last chain has ended.
async fn ask_again(mut refused: mpsc::UnboundedReceiver<Refused>, alive: mpsc::Sender<()>) {
    let mut again = Vec::new();
    while refused.recv_many(&mut again, usize::MAX).await > 0 {
        let followed = |refused: &Refused| {
            let lane = &mut *refused.chain.lane.lock();
            refused.at != lane.at || lane.follow(&refused.outcome)
        };
        let (at_once, later): (Vec<Refused>, Vec<Refused>) = again.drain(..).partition(followed);
        if !later.is_empty() {
            tokio::time::sleep(RETRY).await;
            for refused in &later {
                refused.chain.lane.lock().look_again();
            }
        }
        for Refused {
            chain, outcome, since, ..
        } in at_once.into_iter().chain(later)
        {
            if !chain.stats.is_stopped() {
                chain.ask(outcome.refused, since);
            }
        }
    }
    drop(alive);
}
