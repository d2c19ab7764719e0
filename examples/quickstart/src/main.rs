//! A replicated counter on three nodes in one process.

use raftyard::{Consistency, GroupId, RaftHost, StateMachine};
use std::{collections::BTreeMap, error::Error};

#[derive(Default)]
struct Counter(i64);

impl StateMachine for Counter {
    type Command = i64;
    type Response = i64;
    type Query = ();
    type Answer = i64;
    fn apply(&mut self, add: i64) -> i64 {
        self.0 += add;
        self.0
    }
    fn query(&self, (): ()) -> i64 {
        self.0
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hosts = RaftHost::in_memory(3).await?;
    let members: Vec<_> = hosts.iter().map(RaftHost::node).collect();
    let mut replicas = BTreeMap::new();
    for host in &hosts {
        let replica = host.create_group(GroupId(1), members.clone(), Counter::default).await?;
        replicas.insert(host.node(), replica);
    }
    let leader = replicas[&members[0]].wait_for_leader().await?;
    let counter = &replicas[&leader];
    for add in [1, 2, 39] {
        println!("add {add}: {}", counter.propose(add).await?);
    }
    println!("read: {}", counter.read((), Consistency::Linearizable).await?);
    Ok(())
}
