//! One question to one replica, and what comes of it.

use crate::kv::{Kv, Put};
use bytes::Bytes;
use futures::future::Either;
use raftyard::{Consistency, Group, NodeId, ProposeError, ReadError};

/// What clients ask. Queued by the call, not when the future is polled.
pub(crate) trait Ask: Clone + Send + Sync + 'static {
    /// Asks for something with each of these keys.
    fn ask(&self, replica: &Group<Kv>, keys: Vec<u64>) -> impl Future<Output = Outcome> + Send + use<Self>;
}

/// What came of some operations that were asked together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) answered: u64,
    /// Nobody knows whether they had an effect.
    pub(crate) unknown: u64,
    /// The keys of those that surely had none, and may be taken the next time.
    pub(crate) refused: Vec<u64>,
    /// Who leads, if the refusal said so.
    pub(crate) leader: Option<NodeId>,
    /// An error after which figures are worthless.
    pub(crate) failure: Option<String>,
}

/// Writes a value of so many bytes.
#[derive(Clone)]
pub(crate) struct Write {
    value: Bytes,
}

/// Reads.
#[derive(Clone)]
pub(crate) struct Read(pub(crate) Consistency);

impl Write {
    pub(crate) fn new(value_bytes: usize) -> Self {
        let value = Bytes::from(vec![b'v'; value_bytes]);
        Self { value }
    }

    pub(crate) fn put(&self, key: u64) -> Put {
        Put::new(key, self.value.clone())
    }
}

impl Ask for Write {
    fn ask(&self, replica: &Group<Kv>, keys: Vec<u64>) -> impl Future<Output = Outcome> + Send + use<> {
        if let [key] = keys[..] {
            let outcome = replica.propose(self.put(key));
            return Either::Left(async move { Outcome::of_writes(&[key], [outcome.await]) });
        }
        let outcomes = replica.propose_many(keys.iter().map(|key| self.put(*key)).collect());
        Either::Right(async move { Outcome::of_writes(&keys, outcomes.await) })
    }
}

impl Ask for Read {
    fn ask(&self, replica: &Group<Kv>, keys: Vec<u64>) -> impl Future<Output = Outcome> + Send + use<> {
        let answers: Vec<_> = keys.iter().map(|key| replica.read(*key, self.0)).collect();
        async move {
            let mut sum = Outcome::default();
            for (key, answer) in keys.into_iter().zip(answers) {
                match answer.await {
                    Ok(_) => sum.answered += 1,
                    Err(error) => sum.read_failed(key, &error),
                }
            }
            sum
        }
    }
}

impl Outcome {
    pub(crate) fn of_writes(keys: &[u64], outcomes: impl IntoIterator<Item = Result<(), ProposeError>>) -> Self {
        let mut sum = Self::default();
        for (key, outcome) in keys.iter().zip(outcomes) {
            match outcome {
                Ok(()) => sum.answered += 1,
                Err(ProposeError::OutcomeUnknown { .. }) => sum.unknown += 1,
                Err(ProposeError::NotLeader { leader }) => sum.refuse(*key, leader),
                Err(ProposeError::Quarantined(_) | ProposeError::Overloaded { .. } | ProposeError::Dropped) => {
                    sum.refuse(*key, None);
                }
                Err(error) => sum.failure = Some(error.to_string()),
            }
        }
        sum
    }

    fn read_failed(&mut self, key: u64, error: &ReadError) {
        match error {
            ReadError::NotLeader { leader } => self.refuse(key, *leader),
            ReadError::Overloaded { .. } | ReadError::TimedOut | ReadError::Quarantined(_) => self.refuse(key, None),
            error => self.failure = Some(error.to_string()),
        }
    }

    fn refuse(&mut self, key: u64, leader: Option<NodeId>) {
        self.refused.push(key);
        self.leader = self.leader.or(leader);
    }
}
