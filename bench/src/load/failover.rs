//! The node that leads most groups is lost, as in a crash: how long until every group is led again, what does that
//! cost, and for how long can clients not write?

use super::{POLL, WARM_UP, pause};
use crate::Failure;
use crate::client::{Stats, Write};
use crate::cluster::{Cluster, leader_position};
use crate::interrupt::Interrupt;
use crate::kv::Kv;
use crate::measure::{Reading, add, count, ratio, set_latencies};
use crate::plan::Plan;
use crate::process::CLIENT_THREADS;
use crate::results::RoundResult;
use hdrhistogram::Histogram;
use raftyard::{Group, NodeId};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Groups of the lost node that somebody writes to.
const PROBES: usize = 64;

/// How long a write of a probe may take before it is asked elsewhere.
const ATTEMPT: Duration = Duration::from_millis(100);

/// How long the groups may take until the round is given up.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn round(plan: &Plan, data: &Path, interrupt: &Interrupt) -> Result<Option<RoundResult>, Failure> {
    let Some(mut cluster) = Cluster::open(&plan.cluster, data, interrupt).await? else {
        return Ok(None);
    };
    let clients = Builder::new_multi_thread()
        .worker_threads(plan.clients.threads)
        .thread_name(CLIENT_THREADS)
        .enable_all()
        .build()?;
    let measured = measure(plan, &mut cluster, &clients, interrupt).await;
    clients.shutdown_background();
    cluster.stop().await;
    measured
}

async fn measure(
    plan: &Plan,
    cluster: &mut Cluster,
    clients: &Runtime,
    interrupt: &Interrupt,
) -> Result<Option<RoundResult>, Failure> {
    let (victim, lost) = who_leads_most(cluster);
    let probes = Probes::start(cluster, victim, &lost, plan.clients.value_bytes, clients);
    pause(interrupt, WARM_UP).await;
    let Probes {
        mut tasks,
        state,
        mut holding,
    } = probes;
    state.crash.store(true, Ordering::SeqCst);
    // Nobody may hold on to the node.
    holding.recv().await;
    let stats = Stats::new()?;
    eprintln!("{victim}, which leads {} groups, is lost", lost.len());
    let start = Instant::now();
    cluster.crash(victim);
    // Of those that are left alone: what the other one did can't be told any more.
    let before = Reading::take(cluster, &stats);
    let is_lost = |replicas: &[Group<Kv>]| {
        let group = replicas.first().map(|replica| replica.id().0);
        group.is_some_and(|group| lost.binary_search(&group).is_ok())
    };
    let mut latency_us = Histogram::<u64>::new_with_max(PATIENCE.as_micros().try_into()?, 3)?;
    let mut waiting: Vec<&[Group<Kv>]> = cluster.groups().iter().map(Vec::as_slice).collect();
    // One that was led again may have lost its leader meanwhile: it is over when all are led at once.
    let mut first_time = true;
    while !waiting.is_empty() && !interrupt.is_asked() {
        if start.elapsed() > PATIENCE {
            return Err(format!("{} groups are without a leader after {PATIENCE:?}", waiting.len()).into());
        }
        tokio::time::sleep(POLL).await;
        let elapsed = u64::try_from(start.elapsed().as_micros())?;
        waiting.retain(|replicas| {
            let is_led = is_led(replicas);
            if is_led && first_time && is_lost(replicas) {
                latency_us.saturating_record(elapsed);
            }
            !is_led
        });
        if waiting.is_empty() {
            let all = cluster.groups().iter().map(Vec::as_slice);
            waiting = all.filter(|replicas| !is_led(replicas)).collect();
            first_time = false;
        }
    }
    let all_led_after = start.elapsed();
    let after = Reading::take(cluster, &stats);
    state.over.store(true, Ordering::SeqCst);
    let mut unavailable_us = Histogram::<u64>::new_with_max(PATIENCE.as_micros().try_into()?, 3)?;
    while let Some(longest) = tasks.join_next().await {
        unavailable_us.saturating_record(u64::try_from(longest?.as_micros())?);
    }
    if interrupt.is_asked() {
        return Ok(None);
    }
    let span = before.until(&after);
    let ops = lost.len() as u64;
    let mut round = RoundResult {
        ops,
        seconds: all_led_after.as_secs_f64(),
        ops_per_s: ratio(count(ops), all_led_after.as_secs_f64()).unwrap_or_default(),
        cpu_us_per_op: span.cpu.and_then(|cpu| ratio(cpu.as_secs_f64() * 1e6, count(ops))),
        ..RoundResult::default()
    };
    set_latencies(&mut round, &latency_us);
    span.add_per_second(&mut round);
    add(&mut round, "groups", Some(count(plan.cluster.groups)));
    add(&mut round, "all_led_after_ms", Some(all_led_after.as_secs_f64() * 1e3));
    add(&mut round, "cpu_s", span.cpu.map(|cpu| cpu.as_secs_f64()));
    add(&mut round, "probes", Some(count(unavailable_us.len())));
    let millis = |quantile| Some(count(unavailable_us.value_at_quantile(quantile)) / 1e3);
    add(&mut round, "unavailable_p50_ms", millis(0.5));
    add(&mut round, "unavailable_worst_ms", millis(1.0));
    Ok(Some(round))
}

/// Whether a replica says of itself that it leads.
fn is_led(replicas: &[Group<Kv>]) -> bool {
    replicas.iter().any(|replica| replica.leader() == Some(replica.node()))
}

/// The node that leads most groups, and which these are, ascending.
fn who_leads_most(cluster: &Cluster) -> (NodeId, Vec<u64>) {
    let leads = |node: NodeId| {
        let led = cluster.groups().iter().filter(move |replicas| {
            leader_position(replicas)
                .and_then(|at| replicas.get(at))
                .is_some_and(|leader| leader.node() == node)
        });
        led.filter_map(|replicas| Some(replicas.first()?.id().0))
            .collect::<Vec<u64>>()
    };
    let nodes = (1..=cluster.hosts().len() as u64).map(NodeId);
    let led = nodes.map(|node| (node, leads(node)));
    led.max_by_key(|(_, led)| led.len()).unwrap_or((NodeId(1), Vec::new()))
}

/// Clients that write to groups which lose their leader, one write at a time.
struct Probes {
    /// Each returns the longest time without an answer, from the crash on.
    tasks: JoinSet<Duration>,
    state: Arc<ProbeState>,
    /// Closed once no probe holds on to the node that is to be lost.
    holding: mpsc::Receiver<()>,
}

#[derive(Default)]
struct ProbeState {
    /// The node is about to be lost.
    crash: AtomicBool,
    /// Every group is led again: end with the next answer.
    over: AtomicBool,
}

impl Probes {
    fn start(cluster: &Cluster, victim: NodeId, lost: &[u64], value_bytes: usize, clients: &Runtime) -> Self {
        let (mut tasks, state) = (JoinSet::new(), Arc::new(ProbeState::default()));
        let (hold, holding) = mpsc::channel(1);
        let write = Write::new(value_bytes);
        let probed = lost.iter().step_by(lost.len().div_ceil(PROBES).max(1));
        let probed = probed.filter_map(|group| usize::try_from(*group).ok());
        for group in probed {
            let replicas = cluster.replicas(group).to_vec();
            let probe = probe(replicas, victim, write.clone(), state.clone(), hold.clone());
            tasks.spawn_on(probe, clients.handle());
        }
        Self { tasks, state, holding }
    }
}

async fn probe(
    mut replicas: Vec<Group<Kv>>,
    victim: NodeId,
    write: Write,
    state: Arc<ProbeState>,
    hold: mpsc::Sender<()>,
) -> Duration {
    let (mut at, mut key) = (leader_position(&replicas).unwrap_or_default(), 0);
    let (mut answered, mut longest) = (Instant::now(), Duration::ZERO);
    let mut hold = Some(hold);
    let give_up = Instant::now() + PATIENCE;
    loop {
        if state.crash.load(Ordering::SeqCst) && hold.is_some() {
            replicas.retain(|replica| replica.node() != victim);
            at = 0;
            hold = None;
        }
        let Some(replica) = replicas.get(at) else {
            return longest;
        };
        key += 1;
        let was_over = state.over.load(Ordering::SeqCst);
        let outcome = tokio::time::timeout(ATTEMPT, replica.propose(write.put(key % 8))).await;
        if let Ok(Ok(())) = outcome {
            if hold.is_none() {
                longest = longest.max(answered.elapsed());
            }
            answered = Instant::now();
            if was_over {
                return longest;
            }
        } else {
            if Instant::now() > give_up {
                return longest.max(answered.elapsed());
            }
            // Whoever is said to lead, or the next.
            let named = leader_position(&replicas).filter(|named| *named != at);
            at = named.unwrap_or((at + 1) % replicas.len());
            tokio::time::sleep(POLL).await;
        }
    }
}
