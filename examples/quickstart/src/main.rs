//! A replicated counter on three nodes in one process.

use raftyard::{Consistency, GroupId, NodeId, RaftHost, StateMachine};

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
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (group, members) = (GroupId(1), [1, 2, 3].map(NodeId));
    let mut replicas = Vec::new();
    for host in RaftHost::in_memory(3).await? {
        replicas.push(host.create_group(group, members, Counter::default).await?);
    }
    let leader = replicas[0].wait_for_leader().await?;
    let led = members.iter().position(|node| *node == leader).ok_or("no such node")?;
    let counter = &replicas[led];
    for add in [1, 2, 39] {
        println!("add {add}: {}", counter.propose(add).await?);
    }
    println!("read: {}", counter.read((), Consistency::Linearizable).await?);
    Ok(())
}
