//! Groups of which nobody wants anything: what do they cost?

use super::pause;
use crate::Failure;
use crate::client::Stats;
use crate::cluster::Cluster;
use crate::interrupt::Interrupt;
use crate::measure::{Reading, add, count, ratio};
use crate::plan::Plan;
use crate::process;
use crate::results::RoundResult;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long new groups are left alone before they are measured.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) async fn round(
    plan: &Plan,
    number: u64,
    data: &Path,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    let mut cluster = Cluster::open_empty(&plan.cluster, data).await?;
    let measured = measure(plan, number, &mut cluster, interrupt).await;
    cluster.stop().await;
    measured
}

async fn measure(
    plan: &Plan,
    number: u64,
    cluster: &mut Cluster,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    let (memory, start) = (process::resident_bytes(), Instant::now());
    if !cluster.create_groups(plan.cluster.groups, interrupt).await? {
        return Ok(None);
    }
    let created = start.elapsed();
    pause(interrupt, SETTLE).await;
    let stats = Stats::new()?;
    let before = Reading::take(cluster, &stats);
    pause(interrupt, plan.measure).await;
    let after = Reading::take(cluster, &stats);
    let grown = process::resident_bytes().zip(memory);
    if interrupt.is_asked() {
        return Ok(None);
    }
    let span = before.until(&after);
    let mut round = RoundResult {
        seconds: span.seconds,
        ..RoundResult::default()
    };
    span.add_per_second(&mut round);
    let replicas = plan.cluster.groups * plan.cluster.nodes;
    add(&mut round, "replicas", Some(count(replicas)));
    add(&mut round, "create_s", Some(created.as_secs_f64()));
    let per_group = ratio(count(span.did.messages_sent), span.seconds * count(plan.cluster.groups));
    add(&mut round, "messages_per_group_and_s", per_group);
    // A later round is given memory that an earlier one has given back to the allocator, but not to the system.
    if number == 1 {
        let bytes = grown.and_then(|(now, then)| ratio(count(now.saturating_sub(then)), count(replicas)));
        add(&mut round, "resident_bytes_per_replica", bytes);
    }
    Ok(Some(round))
}
