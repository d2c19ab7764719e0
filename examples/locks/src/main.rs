//! A lock service with leases and fencing tokens, on three nodes in one process.
//!
//! A lease ends by the time that the group agrees on, so all replicas see it end at the same command. The holder
//! may not notice: it may be paused, or its clock be slow. So each grant has a token, larger than all
//! before, and what the lock protects refuses whoever comes with an older one.

use futures::future::try_join_all;
use raftyard::{Client, GroupId, RaftHost, StateMachine, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

const LEASE_MS: u64 = 3_000;

#[derive(Default, Clone, Serialize, Deserialize)]
struct Locks {
    held: BTreeMap<String, Lease>,
    last_token: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lease {
    holder: String,
    token: u64,
    until: Timestamp,
}

#[derive(Serialize, Deserialize)]
enum Command {
    Acquire { lock: String, holder: String },
    Renew { lock: String, token: u64 },
    Release { lock: String, token: u64 },
}

impl Locks {
    /// The lease that holds a lock at that time.
    fn lease(&mut self, lock: &str, now: Timestamp) -> Option<&mut Lease> {
        self.held.get_mut(lock).filter(|lease| now < lease.until)
    }
}

impl StateMachine for Locks {
    type Command = Command;
    /// The lease, or who has it.
    type Response = Result<Lease, Option<String>>;
    type Query = String;
    type Answer = Option<Lease>;
    type Snapshot = Self;

    fn apply(&mut self, command: Command, now: Timestamp) -> Self::Response {
        let until = now.plus(LEASE_MS);
        match command {
            Command::Acquire { lock, holder } => {
                if let Some(lease) = self.lease(&lock, now) {
                    return Err(Some(lease.holder.clone()));
                }
                self.last_token += 1;
                let token = self.last_token;
                let lease = Lease { holder, token, until };
                self.held.insert(lock, lease.clone());
                Ok(lease)
            }
            Command::Renew { lock, token } => match self.lease(&lock, now) {
                Some(lease) if lease.token == token => {
                    lease.until = until;
                    Ok(lease.clone())
                }
                other => Err(other.map(|lease| lease.holder.clone())),
            },
            Command::Release { lock, token } => match self.lease(&lock, now) {
                Some(lease) if lease.token == token => self.held.remove(&lock).ok_or(None),
                other => Err(other.map(|lease| lease.holder.clone())),
            },
        }
    }

    fn query(&self, lock: String) -> Option<Lease> {
        self.held.get(&lock).cloned()
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(&mut self, snapshot: Self) {
        *self = snapshot;
    }
}

/// What the lock protects. It knows nothing of locks, but it refuses a token older than one it saw.
#[derive(Default)]
struct File {
    newest_token: u64,
    lines: Vec<&'static str>,
}

impl File {
    fn append(&mut self, token: u64, line: &'static str) -> Result<(), String> {
        if token < self.newest_token {
            return Err(format!("token {token} is older than {}", self.newest_token));
        }
        self.newest_token = token;
        self.lines.push(line);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hosts = RaftHost::in_memory(3).await?;
    let members: Vec<_> = hosts.iter().map(RaftHost::node).collect();
    let create = |host| RaftHost::create_group(host, GroupId(1), members.clone(), Locks::default);
    let replicas = try_join_all(hosts.iter().map(create)).await?;
    let client = Client::new(replicas.clone());
    let lock = || "report".to_owned();
    let acquire = |holder: &str| Command::Acquire {
        lock: lock(),
        holder: holder.to_owned(),
    };
    let mut file = File::default();

    let ada = client.propose(acquire("ada")).await?.map_err(|_| "taken")?;
    file.append(ada.token, "by ada")?;
    println!("ada has the lock, token {}", ada.token);
    if let Err(Some(holder)) = client.propose(acquire("bob")).await? {
        println!("bob has not: {holder} has it");
    }

    // The leader ends. Clients go on, and so does the lease, if it is renewed in time.
    let renew = || Command::Renew {
        lock: lock(),
        token: ada.token,
    };
    let leader = replicas[0].wait_for_leader().await?;
    for host in hosts.iter().filter(|host| host.node() == leader) {
        host.shutdown().await;
    }
    let renewed = client.propose(renew()).await?;
    println!("without the leader, ada's lease is renewed: {}", renewed.is_ok());

    // Ada is paused for too long, and does not know it.
    let bob = loop {
        match client.propose(acquire("bob")).await? {
            Ok(lease) => break lease,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    file.append(bob.token, "by bob")?;
    println!("ada's lease ran out, bob has the lock, token {}", bob.token);
    if let Err(refusal) = file.append(ada.token, "by ada, too late") {
        println!("ada comes too late: {refusal}");
    }
    println!("ada can't renew: {}", client.propose(renew()).await?.is_err());
    let token = bob.token;
    client
        .propose(Command::Release { lock: lock(), token })
        .await?
        .map_err(|_| "not held")?;
    println!(
        "free again: {}; the file: {:?}",
        client.read(lock()).await?.is_none(),
        file.lines
    );
    for host in &hosts {
        host.shutdown().await;
    }
    Ok(())
}
