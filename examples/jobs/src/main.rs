//! A durable queue of jobs, whose workers crash and whose nodes restart.
//!
//! A worker leases a job, does it, and acknowledges it. If it crashes in between, its lease runs out, and
//! another worker gets the job: so a job may be done twice, but only one lease of it can be acknowledged.

use futures::future::try_join_all;
use raftyard::{Client, Group, GroupId, MemoryNetwork, NodeId, RaftHost, StateMachine, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

type Failure = Box<dyn Error + Send + Sync>;

const JOBS: u64 = 60;
const WORKERS: u64 = 4;
const NODES: u64 = 3;
const LEASE_MS: u64 = 250;

#[derive(Default, Clone, Serialize, Deserialize)]
struct Queue {
    /// Not acknowledged yet, and who has them until when.
    open: BTreeMap<u64, (String, Option<Lease>)>,
    last_job: u64,
    last_lease: u64,
    acknowledged: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Lease {
    number: u64,
    until: Timestamp,
}

#[derive(Clone, Serialize, Deserialize)]
enum Command {
    Enqueue(String),
    Lease,
    Acknowledge { job: u64, lease: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
enum Response {
    Enqueued(u64),
    Leased {
        job: u64,
        what: String,
        lease: u64,
    },
    /// There is none that nobody has.
    Nothing,
    /// False: the lease had run out, and somebody else has the job, or had.
    Acknowledged(bool),
}

impl StateMachine for Queue {
    type Command = Command;
    type Response = Response;
    type Query = ();
    /// How many are open, and how many are acknowledged.
    type Answer = (usize, u64);
    type Snapshot = Self;

    fn apply(&mut self, command: Command, now: Timestamp) -> Response {
        match command {
            Command::Enqueue(what) => {
                self.last_job += 1;
                self.open.insert(self.last_job, (what, None));
                Response::Enqueued(self.last_job)
            }
            Command::Lease => {
                let is_free = |lease: &Option<Lease>| lease.is_none_or(|lease| lease.until <= now);
                let Some((job, (what, lease))) = self.open.iter_mut().find(|(_, (_, lease))| is_free(lease)) else {
                    return Response::Nothing;
                };
                self.last_lease += 1;
                let (number, until) = (self.last_lease, now.plus(LEASE_MS));
                *lease = Some(Lease { number, until });
                let (job, what, lease) = (*job, what.clone(), number);
                Response::Leased { job, what, lease }
            }
            Command::Acknowledge { job, lease } => {
                let leased = self.open.get(&job).and_then(|(_, leased)| *leased);
                let is_current = leased.is_some_and(|leased| leased.number == lease);
                if is_current {
                    self.open.remove(&job);
                    self.acknowledged += 1;
                }
                Response::Acknowledged(is_current)
            }
        }
    }

    fn query(&self, (): ()) -> (usize, u64) {
        (self.open.len(), self.acknowledged)
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(&mut self, snapshot: Self) {
        *self = snapshot;
    }
}

/// Three nodes that keep their logs under `data`.
async fn open(data: &Path) -> Result<(Vec<RaftHost>, Vec<Group<Queue>>), Failure> {
    let (network, nodes) = (MemoryNetwork::new(), || (1..=NODES).map(NodeId));
    let mut hosts = Vec::new();
    for node in nodes() {
        let builder = RaftHost::builder(data.join(node.to_string())).node(node).workers(1);
        let builder = builder.listen(node.to_string()).network(network.node(node));
        let builder = nodes().fold(builder, |builder, peer| builder.peer(peer, peer.to_string()));
        hosts.push(builder.open().await?);
    }
    let replicas = hosts
        .iter()
        .map(|host| host.create_group(GroupId(1), nodes(), Queue::default));
    let replicas = try_join_all(replicas).await?;
    Ok((hosts, replicas))
}

/// Works until told to end; crashes before every fifth acknowledgement of a lease.
async fn work(queue: Arc<Client<Queue>>, done: Arc<Vec<AtomicU64>>, end: Arc<AtomicBool>) {
    while !end.load(Ordering::Relaxed) {
        match queue.propose(Command::Lease).await {
            Ok(Response::Leased { job, what, lease }) => {
                // The work itself: `what` is the number of a cell to be counted up.
                if let Some(cell) = what.parse().ok().and_then(|cell: usize| done.get(cell)) {
                    cell.fetch_add(1, Ordering::Relaxed);
                }
                if lease % 5 != 0 {
                    queue.propose(Command::Acknowledge { job, lease }).await.ok();
                }
            }
            // Nothing to do, or all nodes are away.
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let data = tempfile::tempdir()?;
    let (hosts, replicas) = open(data.path()).await?;
    let queue = Arc::new(Client::new(replicas));
    for job in 0..JOBS {
        queue.propose(Command::Enqueue(job.to_string())).await?;
    }
    let (done, end) = (
        Arc::new((0..JOBS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>()),
        Arc::default(),
    );
    let workers = (0..WORKERS).map(|_| tokio::spawn(work(queue.clone(), done.clone(), Arc::clone(&end))));
    let workers: Vec<_> = workers.collect();
    while queue.read(()).await?.1 < JOBS / 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    for host in &hosts {
        host.shutdown().await;
    }
    let (hosts, replicas) = open(data.path()).await?;
    replicas.into_iter().for_each(|replica| queue.replace(replica));
    println!("restarted with {:?} open and acknowledged", queue.read(()).await?);

    while queue.read(()).await?.0 > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    end.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await?;
    }
    let done: Vec<u64> = done.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    println!("acknowledged: {} of {JOBS}", queue.read(()).await?.1);
    println!("done at least once: {}", done.iter().all(|count| *count > 0));
    println!(
        "done again after a crash: {}",
        done.iter().filter(|count| **count > 1).count()
    );
    for host in &hosts {
        host.shutdown().await;
    }
    Ok(())
}
