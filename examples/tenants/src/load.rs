//! Asks a group at a steady rate, whatever it answers: an open loop, as many users make it who don't know each other.

use hdrhistogram::Histogram;
use raftyard::{Group, ProposeError, StateMachine};
use std::error::Error;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What became of a load.
pub(crate) struct Outcome {
    /// Of those that were accepted, in microseconds, from the moment at which each was due: who is late to ask
    /// because it waited for an earlier answer counts that too.
    pub(crate) latency_us: Histogram<u64>,
    /// Refused as overloaded: not applied.
    pub(crate) refused: u64,
    /// From the first question to the last answer.
    pub(crate) duration: Duration,
}

/// Proposes a command to whoever leads: again, if it was not applied because somebody else does.
pub(crate) async fn propose<S: StateMachine>(
    replicas: &[Group<S>],
    command: impl Fn() -> S::Command,
) -> Result<S::Response, ProposeError> {
    let mut asked = replicas.first().ok_or(ProposeError::Closed)?;
    loop {
        match asked.propose(command()).await {
            Err(error @ (ProposeError::NotLeader { .. } | ProposeError::Dropped)) => {
                let Ok(leader) = asked.wait_for_leader().await else {
                    return Err(error);
                };
                asked = replicas
                    .iter()
                    .find(|replica| replica.node() == leader)
                    .unwrap_or(asked);
            }
            outcome => return outcome,
        }
    }
}

/// Proposes `command(0)`, `command(1)`, and so on, for so long.
pub(crate) async fn run<S: StateMachine>(
    replicas: &[Group<S>],
    per_second: u32,
    duration: Duration,
    command: fn(u32) -> S::Command,
) -> Result<Outcome, Box<dyn Error>> {
    let (start, period) = (Instant::now(), Duration::from_secs(1) / per_second);
    let mut asked = JoinSet::new();
    for number in 0.. {
        let due = start + period * number;
        if due >= start + duration {
            break;
        }
        sleep_until(due).await;
        let replicas = replicas.to_vec();
        asked.spawn(async move {
            let answer = propose(&replicas, || command(number)).await;
            answer.map(|_| due.elapsed())
        });
    }
    let (mut latency_us, mut refused) = (Histogram::new(3)?, 0);
    while let Some(answered) = asked.join_next().await {
        match answered? {
            Ok(latency) => latency_us.record(u64::try_from(latency.as_micros())?)?,
            Err(ProposeError::Overloaded { .. }) => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Outcome {
        latency_us,
        refused,
        duration: start.elapsed(),
    })
}
