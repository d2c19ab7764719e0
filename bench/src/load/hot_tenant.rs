//! One group of many asks for a multiple of its share, and is limited to that: what do the others notice?

use super::{WARM_UP, pause, start_clients, watch};
use crate::Failure;
use crate::client::{Stats, lanes};
use crate::cluster::Cluster;
use crate::interrupt::Interrupt;
use crate::measure::{Reading, Span, add, count, ratio, set_latencies};
use crate::plan::Plan;
use crate::results::RoundResult;
use hdrhistogram::Histogram;
use raftyard::GroupLimits;
use std::path::Path;
use std::sync::Arc;

/// How often a write that is refused is asked again, per second: see [`crate::client::RETRY`].
const ASKED_AGAIN_PER_S: u64 = 200;

pub(super) async fn round(
    plan: &Plan,
    times: u64,
    data: &Path,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    let cluster = Cluster::open(&plan.cluster, data).await?;
    let measured = measure(plan, times, &cluster, interrupt).await;
    cluster.stop().await;
    measured
}

async fn measure(
    plan: &Plan,
    times: u64,
    cluster: &Cluster,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    let Some((hot, others)) = cluster.groups().split_first() else {
        return Err("there is no group".into());
    };
    let share = (plan.clients.rate.unwrap_or_default() / (others.len() as u64).max(1)).max(1);
    for replica in hot {
        replica.set_limits(GroupLimits {
            proposals_per_second: Some(share),
            ..GroupLimits::default()
        });
    }
    let (stats, hot_stats) = (Arc::new(Stats::new()?), Arc::new(Stats::new()?));
    let clients = start_clients(plan, lanes(others, &plan.clients, false)?, &stats)?;
    let (_, alone) = observe(plan, cluster, &stats, interrupt).await?;
    let hot_plan = hot_plan(plan, share * times);
    let hot_clients = start_clients(
        &hot_plan,
        lanes(std::slice::from_ref(hot), &hot_plan.clients, false)?,
        &hot_stats,
    )?;
    let before = hot_stats.counts();
    let (span, beside) = observe(plan, cluster, &stats, interrupt).await?;
    let after = hot_stats.counts();
    hot_clients.stop().await?;
    clients.stop().await?;
    if interrupt.is_asked() {
        return Ok(None);
    }
    let mut round = span.round(&beside);
    let mut quiet = RoundResult::default();
    set_latencies(&mut quiet, &alone);
    let hot_seconds = span.seconds + WARM_UP.as_secs_f64();
    let per_second = |now: u64, then: u64| ratio(count(now - then), hot_seconds);
    let asked = per_second(after.answered + after.retried, before.answered + before.retried);
    let p99 = round.p99_us.zip(quiet.p99_us);
    for (name, value) in [
        ("alone_p50_us", quiet.p50_us),
        ("alone_p99_us", quiet.p99_us),
        ("alone_max_us", quiet.max_us),
        ("p99_to_alone", p99.and_then(|(beside, alone)| ratio(beside, alone))),
        ("hot_ops_per_s", per_second(after.answered, before.answered)),
        ("hot_asked_to_share", asked.and_then(|asked| ratio(asked, count(share)))),
    ] {
        add(&mut round, name, value);
    }
    Ok(Some(round))
}

/// What was counted, after a warm-up, for as long as is to be measured.
async fn observe(
    plan: &Plan,
    cluster: &Cluster,
    stats: &Stats,
    interrupt: &Interrupt,
) -> Result<(Span, Histogram<u64>), Failure> {
    pause(interrupt, WARM_UP).await;
    stats.take_latencies()?;
    let before = Reading::take(cluster, stats);
    watch(stats, interrupt, |elapsed| elapsed >= plan.measure).await;
    let after = Reading::take(cluster, stats);
    Ok((before.until(&after), stats.take_latencies()?))
}

/// Clients of one group that ask about so often per second, whether they are refused or not.
fn hot_plan(plan: &Plan, asked_per_s: u64) -> Plan {
    let mut hot = plan.clone();
    hot.clients.rate = None;
    hot.clients.in_flight = (asked_per_s / ASKED_AGAIN_PER_S).max(1);
    hot
}
