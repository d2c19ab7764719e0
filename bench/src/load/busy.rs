//! Groups that clients keep busy.

use super::{WARM_UP, pause, start_clients, watch};
use crate::Failure;
use crate::client::{Stats, lanes};
use crate::cluster::Cluster;
use crate::interrupt::Interrupt;
use crate::measure::Reading;
use crate::plan::{Plan, Work};
use crate::results::RoundResult;
use raftyard::Consistency;
use std::path::Path;
use std::sync::Arc;

pub(super) async fn round(plan: &Plan, data: &Path, interrupt: &Interrupt) -> Result<Option<RoundResult>, Failure> {
    let Some(cluster) = Cluster::open(&plan.cluster, data, interrupt).await? else {
        return Ok(None);
    };
    let measured = measure(plan, &cluster, interrupt).await;
    cluster.stop().await;
    measured
}

pub(super) async fn measure(
    plan: &Plan,
    cluster: &Cluster,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    let stats = Arc::new(Stats::new()?);
    let to_followers = matches!(plan.work, Work::Read(Consistency::Follower | Consistency::Stale));
    let busy = cluster.groups().get(..usize::try_from(plan.cluster.groups)?);
    let lanes = lanes(busy.unwrap_or_default(), &plan.clients, to_followers)?;
    let clients = start_clients(plan, lanes, &stats)?;
    pause(interrupt, WARM_UP).await;
    stats.take_latencies()?;
    let before = Reading::take(cluster, &stats);
    watch(&stats, interrupt, |elapsed| elapsed >= plan.measure).await;
    let after = Reading::take(cluster, &stats);
    let latencies = stats.take_latencies();
    clients.stop().await?;
    if interrupt.is_asked() {
        return Ok(None);
    }
    let span = before.until(&after);
    if span.counts.answered == 0 {
        return Err("nothing was answered while it was measured, so that there are no figures".into());
    }
    Ok(Some(span.round(&latencies?)))
}
