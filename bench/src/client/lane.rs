//! A client of one group: keeps a fixed number of operations on their way (a closed loop).

use super::ask::{Ask, Outcome};
use super::{RETRY, Stats};
use crate::cluster::leader_position;
use crate::kv::Kv;
use raftyard::Group;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Keys that a client uses, round and round.
pub(crate) const KEYS_PER_LANE: u64 = 1_000;

/// A client of one group.
pub(crate) struct Lane {
    pub(super) number: usize,
    /// Of its group.
    pub(super) replicas: Vec<Group<Kv>>,
    /// Which of them it asks.
    pub(super) at: usize,
    to_followers: bool,
    /// Operations on their way.
    pub(super) in_flight: usize,
    /// Operations that are asked together, at most.
    pub(super) batch: usize,
    used: u64,
}

/// What is on its way.
struct Asked<F> {
    since: Instant,
    at: usize,
    outcome: F,
}

impl Lane {
    /// Asks the leader, or a follower.
    pub(super) fn new(
        number: usize,
        replicas: &[Group<Kv>],
        in_flight: usize,
        batch: usize,
        to_followers: bool,
    ) -> Self {
        let leader = leader_position(replicas).unwrap_or_default();
        Self {
            number,
            at: (leader + usize::from(to_followers)) % replicas.len().max(1),
            replicas: replicas.to_vec(),
            to_followers,
            in_flight,
            batch: batch.min(in_flight).max(1),
            used: 0,
        }
    }

    /// Keeps its operations on their way until the clients are stopped, and looks at their outcomes in the order in
    /// which they were asked: that is the order in which one group answers.
    pub(super) async fn run<A: Ask>(mut self, asker: A, stats: Arc<Stats>) {
        let mut waiting = VecDeque::new();
        let mut free = self.in_flight;
        loop {
            while free > 0 && !stats.is_stopped() {
                let keys = self.next_keys(free.min(self.batch));
                free -= keys.len();
                waiting.extend(self.ask(&asker, keys, Instant::now()));
            }
            let Some(Asked { since, at, outcome }) = waiting.pop_front() else {
                return;
            };
            let outcome = outcome.await;
            stats.note(self.number, &outcome, since.elapsed());
            free += usize::try_from(outcome.answered + outcome.unknown).unwrap_or_default();
            if !outcome.refused.is_empty() && !stats.is_stopped() {
                self.after_refusal(at, &outcome).await;
                waiting.extend(self.ask(&asker, outcome.refused, since));
            }
        }
    }

    fn ask<A: Ask>(
        &self,
        asker: &A,
        keys: Vec<u64>,
        since: Instant,
    ) -> Option<Asked<impl Future<Output = Outcome> + Send + use<A>>> {
        let replica = self.replicas.get(self.at)?;
        Some(Asked {
            since,
            at: self.at,
            outcome: asker.ask(replica, keys),
        })
    }

    pub(super) fn next_keys(&mut self, count: usize) -> Vec<u64> {
        let first = self.number as u64 * KEYS_PER_LANE;
        let keys = (self.used..).take(count).map(|used| first + used % KEYS_PER_LANE);
        let keys = keys.collect();
        self.used += count as u64;
        keys
    }

    /// Goes to whoever leads, or waits for there to be somebody. `at` is the replica that refused: if the client
    /// went elsewhere since, that one's word is old.
    pub(super) async fn after_refusal(&mut self, at: usize, outcome: &Outcome) {
        if at == self.at && !self.follow(outcome) {
            tokio::time::sleep(RETRY).await;
            self.look_again();
        }
    }

    /// Whether the refusal named somebody else to go to.
    pub(super) fn follow(&mut self, outcome: &Outcome) -> bool {
        let named = outcome
            .leader
            .and_then(|leader| self.replicas.iter().position(|replica| replica.node() == leader));
        match named.filter(|named| *named != self.at && !self.to_followers) {
            Some(named) => {
                self.at = named;
                true
            }
            None => false,
        }
    }

    pub(super) fn look_again(&mut self) {
        if let Some(leader) = leader_position(&self.replicas).filter(|_| !self.to_followers) {
            self.at = leader;
        }
    }
}
