//! Clients that keep writes on their way, and what is measured of them.

use crate::cli::Plan;
use crate::cluster::Cluster;
use crate::cpu;
use crate::machine::{KEYS_PER_CLIENT, Kv, Put};
use crate::report::Report;
use bytes::Bytes;
use hdrhistogram::Histogram;
use raftyard::{Group, ProposeError};
use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WARM_UP: Duration = Duration::from_secs(1);

/// What clients and the one who measures share.
#[derive(Default)]
struct Control {
    measuring: AtomicBool,
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

/// What one client saw.
struct Seen {
    latency_us: Histogram<u64>,
    failed: Option<ProposeError>,
}

pub(crate) async fn run(cluster: &Cluster, plan: &Plan) -> Result<Report, Box<dyn Error>> {
    let control = Arc::new(Control::default());
    // Up to a minute, in microseconds, with three significant digits.
    let empty = Histogram::<u64>::new_with_max(60_000_000, 3)?;
    let mut clients = JoinSet::new();
    for client in 0..plan.clients {
        let group = usize::try_from(client % plan.groups)?;
        let group = cluster.leaders.get(group).ok_or("no such group")?.clone();
        let value = Bytes::from(vec![b'v'; plan.payload - 8]);
        clients.spawn(client_loop(
            group,
            client,
            value,
            plan.depth,
            control.clone(),
            empty.clone(),
        ));
    }
    tokio::time::sleep(WARM_UP).await;
    let (before, cpu_before, start) = (cluster.metrics(), cpu::used(), Instant::now());
    let acknowledged_before = control.acknowledged.load(Ordering::Relaxed);
    control.measuring.store(true, Ordering::Relaxed);
    show_progress(&control, start, plan.measure).await;
    control.measuring.store(false, Ordering::Relaxed);
    let acknowledged = control.acknowledged.load(Ordering::Relaxed) - acknowledged_before;
    let (elapsed, cpu_after, after) = (start.elapsed(), cpu::used(), cluster.metrics());
    control.stop.store(true, Ordering::Relaxed);

    let mut latency_us = empty;
    while let Some(seen) = clients.join_next().await {
        let seen = seen?;
        if let Some(error) = seen.failed {
            return Err(format!("a write failed: {error}").into());
        }
        latency_us.add(&seen.latency_us)?;
    }
    let cpu = cpu_before
        .zip(cpu_after)
        .map(|(before, after)| after.saturating_sub(before));
    Ok(Report::new(
        plan,
        acknowledged,
        elapsed,
        &latency_us,
        cpu,
        after.since(&before),
    ))
}

/// Keeps `depth` writes on their way, in order; ends at the first error.
async fn client_loop(
    group: Group<Kv>,
    client: u64,
    value: Bytes,
    depth: usize,
    control: Arc<Control>,
    latencies: Histogram<u64>,
) -> Seen {
    let mut seen = Seen {
        latency_us: latencies,
        failed: None,
    };
    let mut waiting = VecDeque::with_capacity(depth);
    let mut written = 0;
    loop {
        while waiting.len() < depth && !control.stop.load(Ordering::Relaxed) {
            let key = client * KEYS_PER_CLIENT + written % KEYS_PER_CLIENT;
            written += 1;
            waiting.push_back((Instant::now(), group.propose(Put::new(key, value.clone()))));
        }
        let Some((asked, outcome)) = waiting.pop_front() else {
            return seen;
        };
        match outcome.await {
            Ok(()) => {
                control.acknowledged.fetch_add(1, Ordering::Relaxed);
                if control.measuring.load(Ordering::Relaxed) {
                    let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
                    seen.latency_us.saturating_record(micros);
                }
            }
            Err(error) => {
                control.stop.store(true, Ordering::Relaxed);
                seen.failed.get_or_insert(error);
            }
        }
    }
}

/// A line a second on standard error, until the time is over or a client failed.
async fn show_progress(control: &Control, start: Instant, measure: Duration) {
    let mut before = control.acknowledged.load(Ordering::Relaxed);
    while start.elapsed() < measure && !control.stop.load(Ordering::Relaxed) {
        let second = Instant::now();
        tokio::time::sleep((measure - start.elapsed().min(measure)).min(Duration::from_secs(1))).await;
        let now = control.acknowledged.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
        let rate = (now - before) as f64 / second.elapsed().as_secs_f64();
        eprintln!("{:>4.0} s  {rate:>10.0} writes/s", start.elapsed().as_secs_f64());
        before = now;
    }
}
