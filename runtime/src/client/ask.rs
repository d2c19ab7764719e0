//! How a client goes from one replica to the next until it has an answer.

use super::Client;
use crate::error::{ProposeError, ReadError};
use crate::group::Group;
use crate::host::Node;
use crate::machine::Replicated;
use futures::StreamExt;
use futures::future::{Either, pending, select};
use futures::stream::FuturesUnordered;
use raftyard_groups::NodeId;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait before somebody is asked again after a refusal, at least.
const PAUSE: Duration = Duration::from_millis(5);

/// Stands for ever, on a clock that ends somewhere.
const LONG: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// What a client makes of a refusal.
pub(super) trait Refusal {
    /// All nodes are shut down.
    const CLOSED: Self;
    /// Somebody was asked who has not answered.
    const NO_ANSWER: Self;

    /// Whether asking again can't change it.
    fn is_final(&self) -> bool;

    /// Whether what was asked for may have happened, or may yet.
    fn is_open(&self) -> bool;

    /// Whom to ask after that replica, and when.
    fn next(&self, replica: NodeId) -> Next;
}

/// Whom to ask after a refusal, and when.
#[derive(Default)]
pub(super) struct Next {
    named: Option<NodeId>,
    /// At least.
    pause: Duration,
}

impl Next {
    /// The replica does not lead.
    fn refused(replica: NodeId, leader: Option<NodeId>) -> Self {
        Self {
            named: leader.filter(|leader| *leader != replica),
            pause: PAUSE,
        }
    }

    /// The replica may lead, but not now take this.
    fn overloaded(replica: NodeId, retry_after: Duration) -> Self {
        Self {
            named: Some(replica),
            pause: retry_after,
        }
    }
}

impl Refusal for ProposeError {
    const CLOSED: Self = Self::Closed;
    const NO_ANSWER: Self = Self::OutcomeUnknown { request: None };

    fn is_final(&self) -> bool {
        match self {
            Self::NotLeader { .. }
            | Self::Overloaded { .. }
            | Self::Dropped
            | Self::Closed
            | Self::Quarantined(_)
            | Self::OutcomeUnknown { .. } => false,
            Self::TooLarge { .. }
            | Self::Unserialisable(_)
            | Self::SessionExpired
            | Self::SessionFull
            | Self::RequestForgotten
            | Self::Fenced
            | Self::UndecodableResponse(_) => true,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }

    fn next(&self, replica: NodeId) -> Next {
        match self {
            Self::NotLeader { leader } => Next::refused(replica, *leader),
            Self::Overloaded { retry_after, .. } => Next::overloaded(replica, *retry_after),
            _ => Next::default(),
        }
    }
}

impl Refusal for ReadError {
    const CLOSED: Self = Self::Closed;
    const NO_ANSWER: Self = Self::TimedOut;

    fn is_final(&self) -> bool {
        matches!(self, Self::Panicked)
    }

    fn is_open(&self) -> bool {
        false
    }

    fn next(&self, replica: NodeId) -> Next {
        match self {
            Self::NotLeader { leader } => Next::refused(replica, *leader),
            Self::Overloaded { retry_after, .. } => Next::overloaded(replica, *retry_after),
            _ => Next::default(),
        }
    }
}

impl<S: Replicated> Client<S> {
    /// Asks one replica after the other until the deadline, each once at a time, and takes the first answer that is
    /// final, whoever gives it; says also whether any other attempt may have been applied, or may yet be.
    pub(super) async fn ask<T, E, F>(&self, end: Instant, call: impl Fn(&Group<S>) -> F) -> (Result<T, E>, bool)
    where
        E: Refusal,
        F: Future<Output = Result<T, E>>,
    {
        let mut attempts = FuturesUnordered::new();
        // At whom attempts are under way.
        let mut asked = BTreeSet::new();
        let (mut newest, mut next_at) = (None, Instant::now());
        let (mut last, mut is_open) = (None, false);
        loop {
            let nodes = self.awake();
            if nodes.is_empty() {
                return (Err(E::CLOSED), is_open || !attempts.is_empty());
            }
            let now = Instant::now();
            if now >= next_at {
                let was_asked = last.is_some() || !attempts.is_empty();
                if was_asked && now >= end {
                    break;
                }
                next_at = after(self.attempt.max(PAUSE));
                if let Some(replica) = self.replica(&asked) {
                    let (replica, answer) = (replica.node(), call(&replica));
                    attempts.push(async move { (replica, answer.await) });
                    asked.insert(replica);
                    newest = Some(replica);
                } else {
                    next_at = next_at.min(end);
                }
            }
            let answer = async {
                match attempts.next().await {
                    Some(answer) => answer,
                    None => pending().await,
                }
            };
            let limit = next_at.saturating_duration_since(now);
            let Some((replica, outcome)) = within(limit, answer, &nodes).await else {
                if let Some(slow) = newest.take() {
                    self.turn_from(slow, None, &asked);
                }
                continue;
            };
            asked.remove(&replica);
            let refusal = match outcome {
                Err(refusal) if !refusal.is_final() => refusal,
                outcome => return (outcome, is_open || !attempts.is_empty()),
            };
            is_open |= refusal.is_open();
            // Who was asked after that one still has its time.
            if newest.take_if(|newest| *newest == replica).is_some() {
                let Next { named, pause } = refusal.next(replica);
                // A replica may name one that does not lead yet, or not any more: not too often.
                let pause = match named {
                    Some(named) if asked.contains(&named) => self.attempt.max(PAUSE),
                    _ => pause.max(PAUSE),
                };
                next_at = after(pause).min(end.max(now));
                self.turn_from(replica, named, &asked);
            }
            last = Some(refusal);
        }
        is_open |= !attempts.is_empty();
        let last = last.filter(|_| attempts.is_empty());
        (Err(last.unwrap_or(E::NO_ANSWER)), is_open)
    }

    /// Whom to ask: the one that was named last, or the next; none of those that are `asked` already.
    fn replica(&self, asked: &BTreeSet<NodeId>) -> Option<Group<S>> {
        let replicas = self.replicas.lock();
        let at = self.at.lock().unwrap_or(NodeId(0));
        let in_turn = replicas.range(at..).chain(replicas.range(..at));
        let mut free = in_turn.filter(|(node, _)| !asked.contains(node));
        free.next().map(|(_, replica)| replica.clone())
    }

    /// After that one comes whom it named, unless that is `asked` already, or the next.
    fn turn_from(&self, here: NodeId, named: Option<NodeId>, asked: &BTreeSet<NodeId>) {
        let all: Vec<_> = self.replicas.lock().keys().copied().collect();
        let named = named.filter(|named| all.contains(named) && !asked.contains(named));
        let next = all.iter().find(|node| **node > here).or(all.first()).copied();
        let mut at = self.at.lock();
        // Another call may have found the leader since: not one that has not answered this one.
        if at.is_none_or(|at| at == here || asked.contains(&at)) {
            *at = named.or(next);
        }
    }

    /// The nodes that are not shut down.
    pub(super) fn awake(&self) -> Vec<Arc<Node>> {
        let replicas = self.replicas.lock();
        let nodes = replicas.values().map(Group::host);
        nodes.filter(|node| !node.is_closed()).cloned().collect()
    }
}

/// A moment so far from now.
pub(super) fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or(now + LONG)
}

/// What a future gives, unless that takes too long, by the clocks of these nodes: the thread of any of them may stand still,
/// and its clock with it.
pub(super) async fn within<F: Future>(limit: Duration, future: F, nodes: &[Arc<Node>]) -> Option<F::Output> {
    let end = after(limit);
    let mut sleeps: FuturesUnordered<_> = nodes.iter().map(|node| node.sleep(limit)).collect();
    let slept = async {
        // A node that ends wakes up early, which says nothing while another sleeps.
        while sleeps.next().await.is_some() && Instant::now() < end {}
    };
    match select(pin!(future), pin!(slept)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
