//! One client with one write on its way: how near does that come to what it can't do without?

use super::busy;
use crate::Failure;
use crate::cluster::Cluster;
use crate::floors::Floors;
use crate::interrupt::Interrupt;
use crate::measure::{add, ratio};
use crate::plan::Plan;
use crate::results::RoundResult;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) async fn round(plan: &Plan, data: &Path, interrupt: &Interrupt) -> Result<Option<RoundResult>, Failure> {
    let cluster = Cluster::open(&plan.cluster, data).await?;
    let measured = measure(plan, &cluster, data, interrupt).await;
    cluster.stop().await;
    measured
}

async fn measure(
    plan: &Plan,
    cluster: &Cluster,
    data: &Path,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    // Before and after the writes, so that a machine that gets slower meanwhile is noticed by all alike.
    let time = plan.measure / 8;
    let floors = look_at(Floors::new()?, data.to_owned(), time).await?;
    let Some(mut round) = busy::measure(plan, cluster, interrupt).await? else {
        return Ok(None);
    };
    let floors = look_at(floors, data.to_owned(), time).await?;
    let medians = floors.medians();
    let sum = medians.iter().map(|(_, median)| median).sum();
    for (name, median) in medians {
        add(&mut round, name, Some(median));
    }
    add(&mut round, "floors_p50_us", Some(sum));
    let to_floors = round.p50_us.and_then(|p50| ratio(p50, sum));
    add(&mut round, "p50_to_floors", to_floors);
    Ok(Some(round))
}

/// On a thread of its own: it blocks.
async fn look_at(mut floors: Floors, data: PathBuf, time: Duration) -> Result<Floors, Failure> {
    let measured = move || floors.measure(&data, time).map(|()| floors);
    tokio::task::spawn_blocking(measured).await?
}
