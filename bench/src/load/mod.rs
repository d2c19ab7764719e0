//! The loads: each measures one round on a cluster of its own.

mod busy;
mod failover;
mod hot_tenant;
mod idle;
mod latency;
mod snapshot;

pub(crate) use snapshot::tail_entries;

use crate::Failure;
use crate::client::{Clients, Lane, Read, Stats, Write};
use crate::interrupt::Interrupt;
use crate::plan::{Plan, Work};
use crate::results::RoundResult;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long clients run before they are measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// How often a condition is looked at that has no event.
const POLL: Duration = Duration::from_millis(5);

/// Runs one round, with data under `data`; `None` if interrupted. All nodes and clients have ended when this returns.
/// `number` counts from 1.
///
/// # Errors
///
/// What kept the round from being run, or makes it worthless.
pub(crate) async fn round(
    plan: &Plan,
    number: u64,
    data: &Path,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    match plan.work {
        Work::Write | Work::Read(_) => busy::round(plan, data, interrupt).await,
        Work::Latency => latency::round(plan, data, interrupt).await,
        Work::HotTenant { times } => hot_tenant::round(plan, times, data, interrupt).await,
        Work::Idle => idle::round(plan, number, data, interrupt).await,
        Work::Failover => failover::round(plan, data, interrupt).await,
        Work::Snapshot { mib } => snapshot::round(plan, mib, data, interrupt).await,
    }
}

/// Starts what the plan's clients ask.
fn start_clients(plan: &Plan, lanes: Vec<Lane>, stats: &Arc<Stats>) -> Result<Clients, Failure> {
    match plan.work {
        Work::Read(consistency) => Clients::start(&plan.clients, &Read(consistency), lanes, stats),
        _ => Clients::start(&plan.clients, &Write::new(plan.clients.value_bytes), lanes, stats),
    }
}

/// Shows a line a second on standard error, until `over` says so, a client failed, or the user wants the end.
async fn watch(stats: &Stats, interrupt: &Interrupt, mut over: impl FnMut(Duration) -> bool) {
    let start = Instant::now();
    let (mut shown, mut before) = (start, stats.counts().answered);
    while !over(start.elapsed()) && !stats.is_stopped() && !interrupt.is_asked() {
        tokio::time::sleep(POLL).await;
        if shown.elapsed() >= Duration::from_secs(1) {
            let counts = stats.counts();
            let rate = crate::measure::count(counts.answered - before) / shown.elapsed().as_secs_f64();
            let mut line = format!("{:>4.0} s  {rate:>10.0} ops/s", start.elapsed().as_secs_f64());
            for (count, what) in [(counts.retried, "retried"), (counts.unknown, "outcome unknown")] {
                if count > 0 {
                    line += &format!("  {count} {what}");
                }
            }
            eprintln!("{line}");
            (shown, before) = (Instant::now(), counts.answered);
        }
    }
}

/// Waits, unless the user wants the end.
async fn pause(interrupt: &Interrupt, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = interrupt.asked() => {}
    }
}
