//! An open loop: operations are asked when they are due, whatever became of those before. Their latency counts from
//! then, so that a stall is seen by everything that should have been asked meanwhile ("coordinated omission").

use super::ask::{Ask, Outcome};
use super::{Lane, RETRY, Stats};
use crate::Failure;
use crate::process::CLIENT_THREADS;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Starts a thread that asks `rate` operations per second, of all lanes in turn; those that are due at one moment
/// and of one lane together, up to `batch`. Who waits for their answers are tasks. All hold `alive`.
///
/// # Errors
///
/// If the thread can't be started.
pub(super) fn start<A: Ask>(
    asker: &A,
    lanes: Vec<Lane>,
    (rate, batch): (u64, usize),
    stats: &Arc<Stats>,
    tasks: &Handle,
    alive: mpsc::Sender<()>,
) -> Result<(), Failure> {
    let lanes: Vec<Arc<Paced<A>>> = lanes
        .into_iter()
        .map(|lane| {
            Arc::new(Paced {
                number: lane.number,
                lane: Mutex::new(lane),
                asker: asker.clone(),
                stats: stats.clone(),
            })
        })
        .collect();
    let (stats, tasks) = (stats.clone(), tasks.clone());
    let thread = std::thread::Builder::new().name(CLIENT_THREADS.to_owned());
    thread.spawn(move || {
        let (start, mut next) = (Instant::now(), 0_u64);
        let mut due: Vec<Vec<Instant>> = lanes.iter().map(|_| Vec::new()).collect();
        while !stats.is_stopped() {
            let now = Instant::now();
            let mut at = start + due_after(next, rate);
            while at <= now {
                let lane = usize::try_from(next % lanes.len().max(1) as u64).unwrap_or_default();
                if let Some(due) = due.get_mut(lane) {
                    due.push(at);
                }
                next += 1;
                at = start + due_after(next, rate);
            }
            for (lane, due) in lanes.iter().zip(&mut due) {
                for together in due.chunks(batch) {
                    if let Some(first) = together.first() {
                        let answered = lane.clone().ask(together.len(), *first);
                        let alive = alive.clone();
                        tasks.spawn(async move {
                            answered.await;
                            drop(alive);
                        });
                    }
                }
                due.clear();
            }
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
        }
    })?;
    Ok(())
}

/// A client of one group, that asks when it is told to.
struct Paced<A> {
    number: usize,
    lane: Mutex<Lane>,
    asker: A,
    stats: Arc<Stats>,
}

impl<A: Ask> Paced<A> {
    /// Asks so many operations by the call; the future is their end. Of several the first was due at `due`, and
    /// that is what all their latencies are counted from.
    fn ask(self: Arc<Self>, count: usize, due: Instant) -> impl Future<Output = ()> + Send + use<A> {
        let keys = self.lane.lock().next_keys(count);
        let mut asked = self.ask_keys(keys);
        async move {
            while let Some((at, outcome)) = asked {
                let outcome = outcome.await;
                self.stats.note(self.number, &outcome, due.elapsed());
                if outcome.refused.is_empty() || self.stats.is_stopped() {
                    return;
                }
                let follows = {
                    let lane = &mut *self.lane.lock();
                    at != lane.at || lane.follow(&outcome)
                };
                if !follows {
                    tokio::time::sleep(RETRY).await;
                    self.lane.lock().look_again();
                }
                asked = self.ask_keys(outcome.refused);
            }
        }
    }

    fn ask_keys(&self, keys: Vec<u64>) -> Option<(usize, impl Future<Output = Outcome> + Send + use<A>)> {
        let lane = self.lane.lock();
        let replica = lane.replicas.get(lane.at)?;
        Some((lane.at, self.asker.ask(replica, keys)))
    }
}

/// When the operation with this number is due.
fn due_after(number: u64, rate: u64) -> Duration {
    let rate = rate.max(1);
    Duration::from_secs(number / rate) + Duration::from_nanos(number % rate * 1_000_000_000 / rate)
}
