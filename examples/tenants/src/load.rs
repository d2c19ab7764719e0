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
}

/// Proposes `command(0)`, `command(1)`, and so on, for so long.
pub(crate) async fn run<S: StateMachine>(
    group: Group<S>,
    per_second: u32,
    duration: Duration,
    command: impl Fn(u32) -> S::Command,
) -> Result<Outcome, Box<dyn Error>> {
    let (start, period) = (Instant::now(), Duration::from_secs(1) / per_second);
    let mut asked = JoinSet::new();
    for number in 0.. {
        let due = start + period * number;
        if due >= start + duration {
            break;
        }
        sleep_until(due).await;
        let answer = group.propose(command(number));
        asked.spawn(async move { answer.await.map(|_| due.elapsed()) });
    }
    let (mut latency_us, mut refused) = (Histogram::new(3)?, 0);
    while let Some(answered) = asked.join_next().await {
        match answered? {
            Ok(latency) => latency_us.record(u64::try_from(latency.as_micros())?)?,
            Err(ProposeError::Overloaded { .. }) => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Outcome { latency_us, refused })
}
