//! Clients in this process, the same for everything that is called by function: each keeps a fixed number of writes on
//! their way to one group, and asks again what was refused.

use crate::Failure;
use crate::results::RoundResult;
use crate::tally::{Tally, Timing, end};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Bytes of a key. Key and value together are the payload.
pub(crate) const KEY_BYTES: usize = 8;

/// Keys of a group, written round and round.
const KEYS_PER_GROUP: u64 = 1_024;

/// How long to wait before a write is asked again of a replica that may not be able to take it yet.
const RETRY: Duration = Duration::from_millis(5);

/// The state machine of all of them: a map in memory.
pub(crate) type Map = HashMap<u64, Bytes>;

/// Why a write was not answered.
pub(crate) enum WriteError {
    /// Surely not applied: may be asked again, perhaps of another replica.
    Refused,
    /// The round is worthless.
    Failed(String),
}

/// A group to write to.
pub(crate) trait Writer: Clone + Send + Sync + 'static {
    /// Writes; the answer comes after the write was applied.
    fn write(&self, key: u64, value: Bytes) -> impl Future<Output = Result<(), WriteError>> + Send + 'static;

    /// Looks for the group's leader, after a write was refused.
    fn find_leader(&self);
}

/// How many clients, and what they do.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Client `i` writes to group `i` modulo the number of groups.
    pub(crate) clients: usize,
    /// Writes that each keeps on their way.
    pub(crate) depth: usize,
    /// Bytes of a write, [`KEY_BYTES`] of them the key.
    pub(crate) payload: usize,
}

/// Runs the clients on `runtime`, writing to `groups`, and measures.
///
/// # Errors
///
/// If a write failed in a way that makes the round worthless.
pub(crate) fn run<W: Writer>(
    runtime: &Runtime,
    groups: &[W],
    shape: Shape,
    timing: &Timing,
) -> Result<RoundResult, Failure> {
    let tally = Tally::new()?;
    let value = Bytes::from(vec![b'v'; shape.payload.saturating_sub(KEY_BYTES)]);
    let mut clients = JoinSet::new();
    for (number, group) in groups.iter().cycle().take(shape.clients).enumerate() {
        let client = Client {
            number,
            group: group.clone(),
            value: value.clone(),
            depth: shape.depth,
            tally: tally.clone(),
        };
        clients.spawn_on(client.run(), runtime.handle());
    }
    let measured = tally.measure(timing, &[]);
    end(runtime, clients);
    measured
}

struct Client<W> {
    number: usize,
    group: W,
    value: Bytes,
    depth: usize,
    tally: Arc<Tally>,
}

impl<W: Writer> Client<W> {
    async fn run(self) {
        let mut waiting = VecDeque::with_capacity(self.depth);
        // Each begins elsewhere, so that clients of one group don't all write the same key.
        let mut keys = (self.number as u64..).map(|number| number.wrapping_mul(7) % KEYS_PER_GROUP);
        loop {
            while waiting.len() < self.depth && !self.tally.is_stopped() {
                let key = keys.next().unwrap_or_default();
                waiting.push_back((Instant::now(), key, self.group.write(key, self.value.clone())));
            }
            let Some((asked, key, outcome)) = waiting.pop_front() else {
                return;
            };
            match outcome.await {
                Ok(()) => self.tally.answered(self.number, asked, 1),
                Err(WriteError::Refused) if self.tally.is_stopped() => {}
                Err(WriteError::Refused) => {
                    self.tally.refused();
                    tokio::time::sleep(RETRY).await;
                    self.group.find_leader();
                    waiting.push_back((asked, key, self.group.write(key, self.value.clone())));
                }
                Err(WriteError::Failed(why)) => self.tally.fail(why),
            }
        }
    }
}
