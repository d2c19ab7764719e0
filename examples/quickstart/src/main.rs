//! A replicated counter on three nodes in one process.

use futures::future::try_join_all;
use raftyard::{Consistency, GroupId, RaftHost, StateMachine, Timestamp};
#[derive(Default)]
struct Counter(i64);
impl StateMachine for Counter {
    type Command = i64;
    type Response = i64;
    type Query = ();
    type Answer = i64;
    type Snapshot = i64;
    fn apply(&mut self, add: i64, _: Timestamp) -> i64 {
        self.0 += add;
        self.0
    }
    fn query(&self, (): ()) -> i64 {
        self.0
    }
    fn snapshot(&self) -> i64 {
        self.0
    }
    fn restore(&mut self, count: i64) {
        self.0 = count;
    }
}
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hosts = RaftHost::in_memory(3).await?;
    let members: Vec<_> = hosts.iter().map(RaftHost::node).collect();
    let create = |host| RaftHost::create_group(host, GroupId(1), members.clone(), Counter::default);
    let replicas = try_join_all(hosts.iter().map(create)).await?;
    let replicas: std::collections::BTreeMap<_, _> = members.iter().zip(replicas).collect();
    let counter = &replicas[&replicas[&members[0]].wait_for_leader().await?];
    for add in [1, 2, 39] {
        println!("add {add}: {}", counter.propose(add).await?);
    }
    println!("read: {}", counter.read((), Consistency::Linearizable).await?);
    Ok(())
}
