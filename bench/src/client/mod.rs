//! Clients: they ask the groups, follow their leaders, and count what becomes of what they asked.

mod ask;
mod chain;
mod lane;
mod pacer;
mod stats;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub(crate) use ask::{Ask, Read, Write};
pub(crate) use lane::Lane;
pub(crate) use stats::{Counts, Stats};

use crate::Failure;
use crate::plan::{ClientKind, ClientPlan};
use crate::process::CLIENT_THREADS;
use chain::Chain;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

/// How long to wait before something is asked again of a replica that may not be able to take it yet.
const RETRY: Duration = Duration::from_millis(5);

/// All clients of a round, on threads of their own, unless the nodes' workers run them. They end once
/// [`Stats::stop`] is called, and have to be waited for then.
pub(crate) struct Clients {
    stats: Arc<Stats>,
    /// Nothing is ever sent: closed once the last client has ended.
    running: mpsc::Receiver<()>,
    /// Dropped last: clients may need its timers to end.
    runtime: Runtime,
}

impl Clients {
    /// Starts clients that ask these groups: each of `lanes` keeps its part of what is to be on its way.
    ///
    /// # Errors
    ///
    /// If a thread can't be started.
    pub(crate) fn start<A: Ask>(
        plan: &ClientPlan,
        asker: &A,
        lanes: Vec<Lane>,
        stats: &Arc<Stats>,
    ) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(plan.threads)
            .thread_name(CLIENT_THREADS)
            .enable_all()
            .build()?;
        let (alive, running) = mpsc::channel(1);
        if let Some(rate) = plan.rate {
            pacer::start(asker, lanes, (rate, plan.batch), stats, runtime.handle(), alive)?;
        } else {
            match plan.kind {
                ClientKind::Tasks => {
                    for lane in lanes {
                        let (run, alive) = (lane.run(asker.clone(), stats.clone()), alive.clone());
                        runtime.spawn(async move {
                            run.await;
                            drop(alive);
                        });
                    }
                }
                ClientKind::Threads => {
                    let mut shares: Vec<Vec<Lane>> = (0..plan.threads).map(|_| Vec::new()).collect();
                    for (number, lane) in lanes.into_iter().enumerate() {
                        if let Some(share) = shares.get_mut(number % plan.threads) {
                            share.push(lane);
                        }
                    }
                    for share in shares {
                        let (asker, stats, alive) = (asker.clone(), stats.clone(), alive.clone());
                        let timers = runtime.handle().clone();
                        let thread = std::thread::Builder::new().name(CLIENT_THREADS.to_owned());
                        thread.spawn(move || {
                            let _timers = timers.enter();
                            let lanes = share.into_iter().map(|lane| lane.run(asker.clone(), stats.clone()));
                            let mut lanes: FuturesUnordered<_> = lanes.collect();
                            futures::executor::block_on(async { while lanes.next().await.is_some() {} });
                            drop(alive);
                        })?;
                    }
                }
                ClientKind::Workers => Chain::start(lanes, plan.value_bytes, stats, runtime.handle(), &alive),
            }
        }
        Ok(Self {
            stats: stats.clone(),
            running,
            runtime,
        })
    }

    /// Tells them to stop and waits until what they asked is answered.
    ///
    /// # Errors
    ///
    /// What a client ended with before.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        self.stats.stop();
        self.running.recv().await;
        self.runtime.shutdown_background();
        match self.stats.failure() {
            Some(failure) => Err(format!("a client failed, so that there are no figures: {failure}").into()),
            None => Ok(()),
        }
    }
}

/// Deals what is to be on its way to lanes: one per group, as long as there is something for each.
pub(crate) fn lanes(
    groups: &[Vec<raftyard::Group<crate::kv::Kv>>],
    plan: &ClientPlan,
    to_followers: bool,
) -> Result<Vec<Lane>, Failure> {
    let in_flight = usize::try_from(plan.in_flight)?;
    let count = match plan.rate {
        Some(_) => groups.len(),
        None => groups.len().min(in_flight),
    };
    let (each, more) = (in_flight / count.max(1), in_flight % count.max(1));
    let dealt = groups.iter().take(count).enumerate().map(|(number, replicas)| {
        let share = each + usize::from(number < more);
        Lane::new(number, replicas, share.max(1), plan.batch, to_followers)
    });
    Ok(dealt.collect())
}
