//! A client: keeps writes on their way to one group, follows its leader, and counts what becomes of them.

use crate::cluster::{leader_position, position_of};
use crate::kv::{Kv, Put};
use bytes::Bytes;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use raftyard::{Group, NodeId, ProposeError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keys that a client writes to, round and round.
pub(crate) const KEYS_PER_CLIENT: u64 = 1_000;

/// How long to wait before a write is asked again of a replica that may not be able to take it yet.
const RETRY: Duration = Duration::from_millis(5);

/// Histograms that clients share: few enough for any number of clients, more than threads that run them.
const SHARDS: usize = 16;

/// What clients and the one who measures share.
pub(crate) struct Control {
    /// Latencies count while this is set.
    pub(crate) measuring: AtomicBool,
    /// Clients start no more writes once this is set, and end when the last is answered.
    pub(crate) stop: AtomicBool,
    pub(crate) acknowledged: AtomicU64,
    /// Refused, surely not applied, and asked again.
    pub(crate) retried: AtomicU64,
    /// Of these nobody knows whether they were applied. They are not asked again.
    pub(crate) unknown: AtomicU64,
    latency_us: Vec<Mutex<Histogram<u64>>>,
}

impl Control {
    pub(crate) fn new(empty: &Histogram<u64>) -> Self {
        Self {
            measuring: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            latency_us: (0..SHARDS).map(|_| Mutex::new(empty.clone())).collect(),
        }
    }

    /// Latencies of all clients.
    ///
    /// # Errors
    ///
    /// If the histograms don't go together, which those of one `Control` do.
    pub(crate) fn latency_us(&self, empty: Histogram<u64>) -> Result<Histogram<u64>, hdrhistogram::AdditionError> {
        let mut all = empty;
        for shard in &self.latency_us {
            all.add(&*shard.lock())?;
        }
        Ok(all)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn acknowledged(&self, shard: usize, asked: Instant) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        if self.measuring.load(Ordering::Relaxed)
            && let Some(latency_us) = self.latency_us.get(shard % SHARDS)
        {
            let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            latency_us.lock().saturating_record(micros);
        }
    }
}

pub(crate) struct Client {
    number: usize,
    /// Of its group, in the order of the nodes.
    replicas: Vec<Group<Kv>>,
    /// Which of them it writes to.
    at: usize,
    value: Bytes,
    depth: usize,
    written: u64,
    control: Arc<Control>,
}

impl Client {
    pub(crate) fn new(
        number: usize,
        replicas: &[Group<Kv>],
        value_bytes: usize,
        depth: usize,
        control: Arc<Control>,
    ) -> Self {
        Self {
            number,
            replicas: replicas.to_vec(),
            at: leader_position(replicas).unwrap_or_default(),
            value: Bytes::from(vec![b'v'; value_bytes]),
            depth,
            written: 0,
            control,
        }
    }

    /// Keeps `depth` writes on their way, and looks at their outcomes in the order they were asked.
    ///
    /// # Errors
    ///
    /// The first outcome that is neither a refusal that may be asked again nor unknown; all clients stop then.
    pub(crate) async fn run(mut self) -> Result<(), ProposeError> {
        let mut waiting = VecDeque::with_capacity(self.depth);
        loop {
            while waiting.len() < self.depth && !self.control.is_stopped() {
                let key = self.next_key();
                waiting.push_back((Instant::now(), key, self.at, self.propose(key)?));
            }
            let Some((asked, key, at, outcome)) = waiting.pop_front() else {
                return Ok(());
            };
            match outcome.await {
                Ok(()) => self.control.acknowledged(self.number, asked),
                Err(error) if is_refusal(&error) => {
                    if !self.control.is_stopped() {
                        self.control.retried.fetch_add(1, Ordering::Relaxed);
                        self.after_refusal(at, &error).await;
                        waiting.push_back((asked, key, self.at, self.propose(key)?));
                    }
                }
                Err(ProposeError::OutcomeUnknown { .. }) => {
                    self.control.unknown.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    self.control.stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }

    fn next_key(&mut self) -> u64 {
        let key = self.number as u64 * KEYS_PER_CLIENT + self.written % KEYS_PER_CLIENT;
        self.written += 1;
        key
    }

    fn propose(&self, key: u64) -> Result<impl Future<Output = Result<(), ProposeError>> + Send + use<>, ProposeError> {
        let replica = self.replicas.get(self.at).ok_or(ProposeError::Closed)?;
        Ok(replica.propose(Put::new(key, self.value.clone())))
    }

    /// Goes to whoever leads, or waits for there to be somebody. `at` is the replica that refused: if the
    /// client went elsewhere since, that one's word is old.
    async fn after_refusal(&mut self, at: usize, error: &ProposeError) {
        if at != self.at {
            return;
        }
        let told = match error {
            ProposeError::NotLeader { leader } => leader.and_then(|leader: NodeId| position_of(leader)),
            _ => None,
        };
        if let Some(told) = told.filter(|told| *told != at && *told < self.replicas.len()) {
            self.at = told;
            return;
        }
        tokio::time::sleep(RETRY).await;
        self.at = leader_position(&self.replicas).unwrap_or(at);
    }
}

/// Whether the write was surely not applied, and may be taken the next time.
fn is_refusal(error: &ProposeError) -> bool {
    matches!(
        error,
        ProposeError::NotLeader { .. }
            | ProposeError::Quarantined(_)
            | ProposeError::Overloaded { .. }
            | ProposeError::Dropped
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Cluster;

    /// As after a change of leader: the replica that the client writes to does not lead.
    #[tokio::test]
    async fn a_client_finds_the_leader_and_counts_what_was_refused() {
        let cluster = Cluster::in_memory(1).await.unwrap();
        let empty = Histogram::new(3).unwrap();
        let control = Arc::new(Control::new(&empty));
        let mut client = Client::new(0, cluster.replicas(0), 8, 4, control.clone());
        client.at = (client.at + 1) % client.replicas.len();
        control.measuring.store(true, Ordering::Relaxed);
        let running = tokio::spawn(client.run());
        let enough = async {
            while control.acknowledged.load(Ordering::Relaxed) < 20 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), enough).await.unwrap();
        control.stop.store(true, Ordering::Relaxed);
        running.await.unwrap().unwrap();
        cluster.stop().await;
        assert!(control.retried.load(Ordering::Relaxed) >= 4, "the refused are counted");
        assert_eq!(control.unknown.load(Ordering::Relaxed), 0);
        let acknowledged = control.acknowledged.load(Ordering::Relaxed);
        assert_eq!(control.latency_us(empty).unwrap().len(), acknowledged);
    }

    #[tokio::test]
    async fn what_can_not_be_asked_again_ends_the_run() {
        let cluster = Cluster::in_memory(1).await.unwrap();
        let control = Arc::new(Control::new(&Histogram::new(3).unwrap()));
        cluster.stop().await;
        let client = Client::new(0, cluster.replicas(0), 8, 4, control.clone());
        assert_eq!(client.run().await, Err(ProposeError::Closed));
        assert!(control.is_stopped(), "the other clients end too");
    }
}
