//! Transfers between accounts, each exactly once, while leaders are cut off, killed and replaced.
//!
//! Whoever asks again after an unknown outcome, without more, sooner or later moves the same money twice. A
//! [`Client`] asks again under the same name, and the group applies it once.

use raftyard::store::MemoryLogStore;
use raftyard::{Client, Group, GroupId, MemoryNetwork, NodeId, RaftHost, StateMachine, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

type Failure = Box<dyn Error + Send + Sync>;

const ACCOUNTS: usize = 10;
const START: u64 = 100;
const CLIENTS: usize = 4;
const TRANSFERS: usize = 200;

#[derive(Clone, Serialize, Deserialize)]
struct Bank {
    balances: Vec<u64>,
    /// Transfers that were asked for, those without cover included.
    transfers: usize,
}

#[derive(Serialize, Deserialize)]
struct Transfer {
    from: usize,
    to: usize,
    amount: u64,
}

impl Bank {
    fn new() -> Self {
        Self {
            balances: vec![START; ACCOUNTS],
            transfers: 0,
        }
    }
}

impl StateMachine for Bank {
    type Command = Transfer;
    /// Whether there was cover.
    type Response = bool;
    type Query = ();
    type Answer = (Vec<u64>, usize);
    type Snapshot = Self;

    fn apply(&mut self, Transfer { from, to, amount }: Transfer, _: Timestamp) -> bool {
        self.transfers += 1;
        let left = self.balances.get(from).and_then(|balance| balance.checked_sub(amount));
        let Some(left) = left.filter(|_| to < self.balances.len()) else {
            return false;
        };
        self.balances[from] = left;
        self.balances[to] += amount;
        true
    }

    fn query(&self, (): ()) -> (Vec<u64>, usize) {
        (self.balances.clone(), self.transfers)
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(&mut self, snapshot: Self) {
        *self = snapshot;
    }
}

/// Three nodes in this process, whose links can be cut.
#[derive(Default)]
struct Cluster {
    network: MemoryNetwork,
    logs: BTreeMap<NodeId, MemoryLogStore>,
    hosts: BTreeMap<NodeId, RaftHost>,
    replicas: BTreeMap<NodeId, Group<Bank>>,
}

impl Cluster {
    fn nodes() -> impl Iterator<Item = NodeId> {
        (1..=3).map(NodeId)
    }

    /// Starts a node, on the log that an earlier life of it left.
    async fn open(&mut self, node: NodeId) -> Result<Group<Bank>, Failure> {
        let log = self.logs.entry(node).or_default().clone();
        let builder = RaftHost::builder("").node(node).listen(node.to_string()).workers(1);
        let builder = builder.network(self.network.node(node)).log_store(log);
        let builder = Self::nodes().fold(builder, |builder, peer| builder.peer(peer, peer.to_string()));
        let host = builder.open().await?;
        let replica = host.create_group(GroupId(1), Self::nodes(), Bank::new).await?;
        self.hosts.insert(node, host);
        self.replicas.insert(node, replica.clone());
        Ok(replica)
    }

    /// The node that leads, as it says itself.
    async fn leader(&self) -> NodeId {
        loop {
            let mut nodes = self.replicas.iter();
            if let Some((node, _)) = nodes.find(|(node, replica)| replica.leader() == Some(**node)) {
                return *node;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn transfer(bank: Arc<Client<Bank>>, client: usize) -> Result<(), Failure> {
    for n in 0..TRANSFERS {
        let (from, to) = ((client + n) % ACCOUNTS, (client + n * 7 + 1) % ACCOUNTS);
        let amount = (n as u64 * 13) % 40;
        bank.propose(Transfer { from, to, amount }).await?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut cluster = Cluster::default();
    for node in Cluster::nodes() {
        cluster.open(node).await?;
    }
    let client = Client::new(cluster.replicas.values().cloned());
    let bank = Arc::new(client.attempt(Duration::from_millis(200)));
    let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(transfer(bank.clone(), n))).collect();

    let pause = || tokio::time::sleep(Duration::from_millis(150));
    let mut mishaps = 0;
    while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
        let leader = cluster.leader().await;
        let others: Vec<_> = Cluster::nodes().filter(|node| *node != leader).collect();
        match mishaps % 3 {
            0 => {
                // Cut off, it takes what it can't commit. Nobody knows the outcome until it is asked again.
                others.iter().for_each(|other| cluster.network.cut(leader, *other));
                pause().await;
                others.iter().for_each(|other| cluster.network.heal(leader, *other));
            }
            1 => {
                cluster.replicas.remove(&leader);
                if let Some(host) = cluster.hosts.remove(&leader) {
                    host.shutdown().await;
                }
                pause().await;
                bank.replace(cluster.open(leader).await?);
            }
            // Refused if it lost its place meanwhile.
            _ => drop(cluster.replicas[&leader].transfer_leadership(others[0]).await),
        }
        mishaps += 1;
        pause().await;
        let total: u64 = bank.read(()).await?.0.iter().sum();
        if total != START * ACCOUNTS as u64 {
            return Err(format!("after {mishaps} mishaps the total is {total}").into());
        }
    }
    for client in clients {
        client.await??;
    }

    let (balances, transfers) = bank.read(()).await?;
    println!("{mishaps} mishaps; balances {balances:?}");
    println!("transfers: {transfers} of {}", CLIENTS * TRANSFERS);
    println!("total: {} of {}", balances.iter().sum::<u64>(), START * ACCOUNTS as u64);
    for host in cluster.hosts.values() {
        host.shutdown().await;
    }
    Ok(())
}
