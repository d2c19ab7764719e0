//! Many groups, clients of each, and nodes that stop, start and are cut off at random: what was acknowledged
//! is there once, in every replica alike; no read goes back in time; every call is answered.

use super::support::random::Random;
use super::support::settings::seed;
use super::support::{Cluster, PATIENCE, eventually};
use parking_lot::Mutex;
use raftyard::{
    Client, Compaction, Consistency, Group, GroupId, HostMetrics, Limits, NodeId, ProposeError, RequestId, Resolution,
    StateMachine, Timestamp, Tuning,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NODES: usize = 3;
const GROUPS: u64 = 12;
const CLIENTS_PER_GROUP: u64 = 3;
const MISHAPS: u64 = 14;

/// Every command that was applied, in order, where the test can see it.
struct Ledger(Arc<Mutex<Vec<u64>>>);

impl StateMachine for Ledger {
    type Command = u64;
    type Response = usize;
    type Query = ();
    type Answer = Vec<u64>;
    type Snapshot = Vec<u64>;

    fn apply(&mut self, command: u64, _: Timestamp) -> usize {
        let mut applied = self.0.lock();
        applied.push(command);
        applied.len()
    }

    fn query(&self, (): ()) -> Vec<u64> {
        self.0.lock().clone()
    }

    fn snapshot(&self) -> Vec<u64> {
        self.0.lock().clone()
    }

    fn restore(&mut self, applied: Vec<u64>) {
        *self.0.lock() = applied;
    }
}

/// What is known of one group.
#[derive(Default)]
struct Known {
    /// What a client may ask: the replicas on nodes that run.
    replicas: Vec<Option<Group<Ledger>>>,
    /// What each node's replica applied in its present life.
    applied: Vec<Arc<Mutex<Vec<u64>>>>,
    /// Commands that were acknowledged, and those that certainly never happen.
    acknowledged: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// Those whose outcome nobody told.
    unknown: BTreeMap<u64, RequestId>,
    /// The longest answer of any read that is over.
    longest_read: usize,
}

async fn answered<F: Future>(what: &str, call: F) -> F::Output {
    let answer = tokio::time::timeout(PATIENCE, call).await;
    answer.unwrap_or_else(|_| panic!("a {what} was never answered"))
}

/// Opens a node and all groups on it.
async fn open(cluster: &mut Cluster, id: NodeId, groups: &[Arc<Mutex<Known>>]) {
    cluster.open(id).await;
    let node = super::support::slot(id);
    for (group, known) in (0..).zip(groups) {
        let applied = Arc::<Mutex<Vec<u64>>>::default();
        let machine = Ledger(applied.clone());
        let created = cluster.host(id).create_group(GroupId(group), cluster.ids(), || machine);
        let replica = created.await.expect("the group is created");
        let mut known = known.lock();
        known.applied[node] = applied;
        known.replicas[node] = Some(replica);
    }
}

/// Stops a node. Returns what it did.
async fn stop(cluster: &mut Cluster, id: NodeId, groups: &[Arc<Mutex<Known>>]) -> HostMetrics {
    for known in groups {
        known.lock().replicas[super::support::slot(id)] = None;
    }
    let did = cluster.host(id).metrics();
    cluster.stop(id).await;
    did
}

/// Proposes and reads in turn, at any replica, until told to end.
async fn client(known: Arc<Mutex<Known>>, commands: u64, seed: u64, end: Arc<AtomicBool>) -> u64 {
    let mut random = Random(seed);
    let mut command = commands;
    while !end.load(Ordering::Relaxed) {
        let node = usize::try_from(random.below(NODES as u64)).expect("small");
        let replica = known.lock().replicas[node].clone();
        let Some(replica) = replica else {
            tokio::task::yield_now().await;
            continue;
        };
        if random.below(3) > 0 {
            command += 1;
            match answered("proposal", replica.propose(command)).await {
                Ok(_) => drop(known.lock().acknowledged.insert(command)),
                Err(error) if !error.may_have_happened() => {
                    known.lock().refused.insert(command);
                    if !matches!(error, ProposeError::Dropped) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                Err(ProposeError::OutcomeUnknown { request: Some(request) }) => {
                    known.lock().unknown.insert(command, request);
                }
                Err(_) => {}
            }
        } else {
            let (acknowledged, longest_read) = {
                let known = known.lock();
                (known.acknowledged.clone(), known.longest_read)
            };
            let consistency = match random.below(2) {
                0 => Consistency::Linearizable,
                _ => Consistency::Follower,
            };
            let read = replica.read((), consistency);
            if let Ok(lines) = answered("read", read).await {
                assert!(lines.len() >= longest_read, "a read went back in time");
                let seen: BTreeSet<u64> = lines.iter().copied().collect();
                let missed: Vec<_> = acknowledged.difference(&seen).collect();
                assert!(
                    missed.is_empty(),
                    "a read missed what was acknowledged before: {missed:?}"
                );
                let mut known = known.lock();
                known.longest_read = known.longest_read.max(lines.len());
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    command - commands
}

/// One mishap, and its end. Returns what nodes that were stopped did.
async fn mishap(cluster: &mut Cluster, groups: &[Arc<Mutex<Known>>], random: &mut Random) -> Vec<HostMetrics> {
    let mut did = Vec::new();
    let ids = cluster.ids();
    let id = ids[usize::try_from(random.below(NODES as u64)).expect("small")];
    let pause = Duration::from_millis(20 + random.below(300));
    match random.below(7) {
        5 | 6 => {
            // Leaderships go round while everything is asked of them.
            for known in groups {
                let replicas = known.lock().replicas.clone();
                for replica in replicas.into_iter().flatten() {
                    // Refused by all but the leader's, and where another transfer is under way.
                    answered("transfer", replica.transfer_leadership(id)).await.ok();
                }
            }
        }
        0 | 1 => {
            did.push(stop(cluster, id, groups).await);
            tokio::time::sleep(pause).await;
            open(cluster, id, groups).await;
        }
        4 => {
            // Whoever leads next has to apply its log anew, while it is asked already.
            for id in ids.clone() {
                did.push(stop(cluster, id, groups).await);
            }
            for id in ids {
                open(cluster, id, groups).await;
            }
        }
        2 => {
            cluster.isolate(id);
            tokio::time::sleep(pause * 2).await;
            cluster.heal(id);
        }
        _ => {
            // It hears all others, and none hears it.
            for other in ids.into_iter().filter(|other| *other != id) {
                cluster.network.cut_one_way(id, other);
            }
            tokio::time::sleep(pause * 2).await;
            cluster.heal(id);
        }
    }
    tokio::time::sleep(pause).await;
    did
}

#[tokio::test]
async fn groups_keep_their_word_while_nodes_stop_and_links_are_cut() {
    keep_their_word(Compaction::default()).await;
}

#[tokio::test]
async fn groups_keep_their_word_while_their_logs_are_compacted() {
    let metrics = keep_their_word(Compaction {
        entries: 20,
        tail_entries: 3,
        ..Compaction::default()
    })
    .await;
    assert!(metrics.snapshots_taken > 0, "{metrics:?}");
}

/// Settles what nobody told, now that all nodes run: what is said of it must be true.
async fn resolve(known: &Mutex<Known>) -> usize {
    let (replicas, unknown) = {
        let known = known.lock();
        (known.replicas.clone(), known.unknown.clone())
    };
    let client = Client::new(replicas.into_iter().flatten()).deadline(PATIENCE);
    for (command, request) in &unknown {
        let resolution = answered("resolution", client.resolve(*request)).await;
        match resolution.expect("a leader can be had") {
            Resolution::Applied(_) => drop(known.lock().acknowledged.insert(*command)),
            Resolution::NotApplied => drop(known.lock().refused.insert(*command)),
            // The entry that would have opened its session came to nothing, as it did itself.
            Resolution::Forgotten => {}
        }
    }
    unknown.len()
}

/// Returns what the nodes did.
async fn keep_their_word(compaction: Compaction) -> HostMetrics {
    let seed = seed();
    let mut random = Random(seed);
    let mut cluster = Cluster::closed(NODES);
    cluster.limits = Limits {
        request_timeout_ms: 1_000,
        ..Limits::default()
    };
    cluster.compaction = compaction;
    cluster.tuning = Tuning {
        election_timeout_ms: 200,
        heartbeat_interval_ms: 40,
        // A restarted replica applies its log in many steps, and is asked in between.
        apply_bytes_max: 500,
        ..Tuning::default()
    };
    let groups: Vec<_> = (0..GROUPS)
        .map(|_| {
            Arc::new(Mutex::new(Known {
                replicas: vec![None; NODES],
                applied: vec![Arc::default(); NODES],
                ..Known::default()
            }))
        })
        .collect();
    for id in cluster.ids() {
        open(&mut cluster, id, &groups).await;
    }
    let end = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for known in &groups {
        for n in 0..CLIENTS_PER_GROUP {
            let seed = random.below(u64::MAX);
            clients.push(tokio::spawn(client(known.clone(), n << 32, seed, end.clone())));
        }
    }
    let mut did = Vec::new();
    for _ in 0..MISHAPS {
        did.extend(mishap(&mut cluster, &groups, &mut random).await);
        let failed = clients.iter().any(tokio::task::JoinHandle::is_finished);
        if failed {
            break;
        }
    }
    end.store(true, Ordering::Relaxed);
    let mut proposed = 0;
    for client in clients {
        proposed += client.await.expect("a client found a fault");
    }

    let mut resolved = 0;
    for known in &groups {
        resolved += resolve(known).await;
    }
    println!("{resolved} unknown outcomes resolved");

    for (group, known) in groups.iter().enumerate() {
        let alike = || {
            let known = known.lock();
            let [first, rest @ ..] = known.applied.as_slice() else {
                return false;
            };
            let first = first.lock();
            first.len() >= known.longest_read.max(known.acknowledged.len())
                && rest.iter().all(|other| *other.lock() == *first)
        };
        eventually(&format!("all replicas of group {group} are alike"), alike).await;
        let known = known.lock();
        let applied = known.applied[0].lock();
        let once: BTreeSet<u64> = applied.iter().copied().collect();
        assert_eq!(once.len(), applied.len(), "group {group} applied a command twice");
        assert!(
            known.acknowledged.is_subset(&once),
            "group {group} lost what it acknowledged"
        );
        assert!(
            known.refused.is_disjoint(&once),
            "group {group} applied what it said never happens"
        );
    }
    let acknowledged: usize = groups.iter().map(|known| known.lock().acknowledged.len()).sum();
    println!("{acknowledged} of {proposed} proposals acknowledged");
    assert!(
        acknowledged > 100,
        "of {proposed} proposals only {acknowledged} were acknowledged"
    );
    groups.iter().for_each(|known| known.lock().replicas.clear());
    did.extend(cluster.ids().into_iter().map(|id| cluster.host(id).metrics()));
    cluster.stop_all().await;
    did.into_iter().sum()
}
