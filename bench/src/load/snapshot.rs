//! A replica that has nothing is fed a large state, beside writes to other groups: what do these notice?

use super::{POLL, WARM_UP, pause, start_clients, watch};
use crate::Failure;
use crate::client::{Stats, lanes};
use crate::cluster::Cluster;
use crate::interrupt::Interrupt;
use crate::kv::{Kv, Put};
use crate::measure::{Reading, add, count, ratio, set_latencies};
use crate::plan::Plan;
use crate::results::RoundResult;
use bytes::Bytes;
use raftyard::{Group, GroupId, NodeId};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a value of the large state.
const VALUE_BYTES: usize = 16 << 10;

/// Values in a MiB.
const VALUES_PER_MIB: u64 = (1 << 20) / VALUE_BYTES as u64;

/// Writes on their way while the state is made.
const FILLING: usize = 64;

/// How long the state may take to be made, or to arrive, and for each MiB.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1));

/// Entries that logs keep before their snapshots: so few that most of a state of this size comes as a snapshot.
pub(crate) fn tail_entries(mib: u64) -> u64 {
    (mib * VALUES_PER_MIB / 8).clamp(1, 10_000)
}

pub(super) async fn round(
    plan: &Plan,
    mib: u64,
    data: &Path,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    let Some(cluster) = Cluster::open(&plan.cluster, data, interrupt).await? else {
        return Ok(None);
    };
    let measured = measure(plan, mib, &cluster, interrupt).await;
    cluster.stop().await;
    measured
}

async fn measure(
    plan: &Plan,
    mib: u64,
    cluster: &Cluster,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    let patience = PATIENCE.0 + PATIENCE.1 * u32::try_from(mib)?;
    let Some(large) = Large::create(plan, cluster).await? else {
        return Err("there is nobody to be fed".into());
    };
    eprintln!("making a state of {mib} MiB");
    if !large.fill(mib * VALUES_PER_MIB, patience, interrupt).await? {
        return Ok(None);
    }
    let stats = Arc::new(Stats::new()?);
    let clients = start_clients(plan, lanes(cluster.groups(), &plan.clients, false)?, &stats)?;
    pause(interrupt, WARM_UP).await;
    stats.take_latencies()?;
    let start = Reading::take(cluster, &stats);
    watch(&stats, interrupt, |elapsed| elapsed >= plan.measure).await;
    let joined = Reading::take(cluster, &stats);
    let quiet = stats.take_latencies()?;
    eprintln!("the replica that has nothing begins");
    let fed = large.create_on_last(cluster).await;
    if let Ok(fed) = &fed {
        let is_there = || fed.status().applied >= large.applied();
        watch(&stats, interrupt, |elapsed| is_there() || elapsed > patience).await;
        if !is_there() && !interrupt.is_asked() {
            stats.stop();
        }
    }
    let end = Reading::take(cluster, &stats);
    let fed = fed.map(|fed| fed.status().applied >= large.applied());
    let during = stats.take_latencies()?;
    clients.stop().await?;
    if interrupt.is_asked() {
        return Ok(None);
    }
    if !fed? {
        return Err(format!("the replica has not caught up after {patience:?}").into());
    }
    let (before, span) = (start.until(&joined), joined.until(&end));
    let mut round = span.round(&during);
    let mut quiet_round = RoundResult::default();
    set_latencies(&mut quiet_round, &quiet);
    for (name, value) in [
        ("before_p50_us", quiet_round.p50_us),
        ("before_p99_us", quiet_round.p99_us),
        ("before_p999_us", quiet_round.p999_us),
        ("before_max_us", quiet_round.max_us),
        ("before_ops_per_s", ratio(count(before.counts.answered), before.seconds)),
        ("caught_up_after_s", Some(span.seconds)),
        (
            "snapshot_mib_sent",
            Some(count(span.did.snapshot_bytes_sent) / f64::from(1 << 20)),
        ),
        ("snapshots_installed", Some(count(span.did.snapshots_installed))),
    ] {
        add(&mut round, name, value);
    }
    Ok(Some(round))
}

/// The group with the large state, which the last node has nothing of at first.
struct Large {
    id: GroupId,
    members: Vec<NodeId>,
    replicas: Vec<Group<Kv>>,
}

impl Large {
    /// `None` if there are no nodes.
    async fn create(plan: &Plan, cluster: &Cluster) -> Result<Option<Self>, Failure> {
        let Some((_, first)) = cluster.hosts().split_last() else {
            return Ok(None);
        };
        let nodes = plan.cluster.nodes;
        // Of a new group the member whose turn it is campaigns at once: not the one that is missing.
        let free = (plan.cluster.groups..).find(|id| id % nodes != nodes - 1);
        let mut large = Self {
            id: GroupId(free.unwrap_or_default()),
            members: (1..=nodes).map(NodeId).collect(),
            replicas: Vec::new(),
        };
        for host in first {
            let created = host.create_group(large.id, large.members.clone(), Kv::default);
            large.replicas.push(created.await?);
        }
        for replica in &large.replicas {
            replica.wait_for_leader().await?;
        }
        Ok(Some(large))
    }

    async fn create_on_last(&self, cluster: &Cluster) -> Result<Group<Kv>, Failure> {
        let last = cluster.hosts().last().ok_or("there is no node")?;
        Ok(last.create_group(self.id, self.members.clone(), Kv::default).await?)
    }

    /// Writes so many values, and waits until all replicas that there are applied them; false if interrupted.
    async fn fill(&self, values: u64, patience: Duration, interrupt: &Interrupt) -> Result<bool, Failure> {
        let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
        let end = Instant::now() + patience;
        let leader = || {
            self.replicas
                .iter()
                .find(|replica| replica.leader() == Some(replica.node()))
        };
        let (mut waiting, mut again) = (VecDeque::new(), Vec::new());
        let mut keys = 0..values;
        loop {
            if interrupt.is_asked() {
                return Ok(false);
            }
            if Instant::now() > end {
                return Err(format!("the state is not there after {patience:?}").into());
            }
            while waiting.len() < FILLING
                && let Some(leader) = leader()
                && let Some(key) = again.pop().or_else(|| keys.next())
            {
                waiting.push_back((key, leader.propose(Put::new(key, value.clone()))));
            }
            match waiting.pop_front() {
                // To write a value a second time does no harm.
                Some((key, outcome)) => again.extend(outcome.await.is_err().then_some(key)),
                None if again.is_empty() && keys.is_empty() => break,
                None => tokio::time::sleep(POLL).await,
            }
        }
        while self
            .replicas
            .iter()
            .any(|replica| replica.status().applied < self.applied())
        {
            if Instant::now() > end {
                return Err("a replica lags".into());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(true)
    }

    /// As far as the furthest replica has applied.
    fn applied(&self) -> u64 {
        let applied = self.replicas.iter().map(|replica| replica.status().applied);
        applied.max().unwrap_or_default()
    }
}
