//! One round: clients write, and what they and the nodes did meanwhile is measured.

use crate::Failure;
use crate::cli::Plan;
use crate::client::{Client, Control};
use crate::cluster::Cluster;
use crate::cpu;
use crate::figures::Round;
use crate::interrupt::Interrupt;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WARM_UP: Duration = Duration::from_secs(1);

/// Runs the clients and measures; `None` if interrupted. The clients have ended when this returns.
///
/// # Errors
///
/// If a write failed in a way that makes the round worthless, or none was answered.
pub(crate) async fn run(cluster: &Cluster, plan: &Plan, interrupt: &Interrupt) -> Result<Option<Round>, Failure> {
    // Up to a minute, in microseconds, with three significant digits.
    let empty = Histogram::<u64>::new_with_max(60_000_000, 3)?;
    let control = Arc::new(Control::new(&empty));
    let mut clients = JoinSet::new();
    for number in 0..usize::try_from(plan.clients)? {
        let replicas = cluster.replicas(number % usize::try_from(plan.groups)?);
        let client = Client::new(number, replicas, plan.value_bytes, plan.depth, control.clone());
        clients.spawn(client.run());
    }
    tokio::select! {
        () = tokio::time::sleep(WARM_UP) => {}
        () = interrupt.asked() => {}
    }
    let (before, start) = (Reading::take(cluster, &control), Instant::now());
    control.measuring.store(true, Ordering::Relaxed);
    tokio::select! {
        () = show_progress(&control, start, plan.measure) => {}
        () = interrupt.asked() => {}
    }
    control.measuring.store(false, Ordering::Relaxed);
    let (elapsed, after) = (start.elapsed(), Reading::take(cluster, &control));
    control.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended?.map_err(|error| format!("a write failed, so that there are no figures: {error}"))?;
    }
    if interrupt.is_asked() {
        return Ok(None);
    }
    if after.acknowledged == before.acknowledged {
        return Err("no write was answered while it was measured, so that there are no figures".into());
    }
    Ok(Some(Round {
        seconds: elapsed.as_secs_f64(),
        writes: after.acknowledged - before.acknowledged,
        retried: after.retried - before.retried,
        unknown: after.unknown - before.unknown,
        latency_us: control.latency_us(empty)?,
        cpu: (before.cpu.zip(after.cpu)).map(|(before, after)| after.saturating_sub(before)),
        did: after.did.since(&before.did),
    }))
}

/// Everything that only grows, read at once.
struct Reading {
    acknowledged: u64,
    retried: u64,
    unknown: u64,
    cpu: Option<Duration>,
    did: raftyard::HostMetrics,
}

impl Reading {
    fn take(cluster: &Cluster, control: &Control) -> Self {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Self {
            acknowledged: read(&control.acknowledged),
            retried: read(&control.retried),
            unknown: read(&control.unknown),
            cpu: cpu::used(),
            did: cluster.metrics(),
        }
    }
}

/// A line a second on standard error, until the time is over or a client failed.
async fn show_progress(control: &Control, start: Instant, measure: Duration) {
    let mut before = control.acknowledged.load(Ordering::Relaxed);
    while start.elapsed() < measure && !control.is_stopped() {
        let second = Instant::now();
        tokio::time::sleep((measure - start.elapsed().min(measure)).min(Duration::from_secs(1))).await;
        let now = control.acknowledged.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
        let rate = (now - before) as f64 / second.elapsed().as_secs_f64();
        let mut line = format!("{:>4.0} s  {rate:>10.0} writes/s", start.elapsed().as_secs_f64());
        for (count, what) in [(&control.retried, "retried"), (&control.unknown, "outcome unknown")] {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                line += &format!("  {count} {what}");
            }
        }
        eprintln!("{line}");
        before = now;
    }
}
