//! A consensus group for every tenant: created when the tenant signs up, used, and dropped when it leaves.
//!
//! Which tenant has which group is itself replicated: in one more group, the directory. And no tenant takes more than its
//! share: what one asks for beyond that is refused, and the others hardly notice.

mod load;

use futures::future::{join_all, try_join_all};
use raftyard::{
    Consistency, Group, GroupId, GroupLimits, GroupOptions, NodeId, RaftHost, ReadError, StateMachine, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Notes that a tenant may write per second.
const SHARE: u32 = 200;

/// The tenants and their groups. Group ids are never used twice.
#[derive(Default)]
struct Directory {
    groups: BTreeMap<String, u64>,
    given: u64,
}

#[derive(Serialize, Deserialize)]
enum Change {
    SignUp(String),
    Leave(String),
}

impl StateMachine for Directory {
    type Command = Change;
    /// The tenant's group; none if a tenant that leaves was not there.
    type Response = Option<u64>;
    type Query = ();
    type Answer = Vec<String>;
    type Snapshot = (BTreeMap<String, u64>, u64);

    fn apply(&mut self, change: Change, _: Timestamp) -> Option<u64> {
        match change {
            Change::SignUp(tenant) => {
                let next = self.given + 1;
                let group = *self.groups.entry(tenant).or_insert(next);
                self.given = self.given.max(group);
                Some(group)
            }
            Change::Leave(tenant) => self.groups.remove(&tenant),
        }
    }

    fn query(&self, (): ()) -> Vec<String> {
        self.groups.keys().cloned().collect()
    }

    fn snapshot(&self) -> Self::Snapshot {
        (self.groups.clone(), self.given)
    }

    fn restore(&mut self, (groups, given): Self::Snapshot) {
        (self.groups, self.given) = (groups, given);
    }
}

/// What a tenant keeps: notes, in the order in which they were written.
#[derive(Default)]
struct Notes(Vec<String>);

impl StateMachine for Notes {
    type Command = String;
    type Response = usize;
    type Query = ();
    type Answer = Vec<String>;
    type Snapshot = Vec<String>;

    fn apply(&mut self, note: String, _: Timestamp) -> usize {
        self.0.push(note);
        self.0.len()
    }

    fn query(&self, (): ()) -> Vec<String> {
        self.0.clone()
    }

    fn snapshot(&self) -> Vec<String> {
        self.0.clone()
    }

    fn restore(&mut self, notes: Vec<String>) {
        self.0 = notes;
    }
}

/// Creates a group's replicas on all nodes; returns them, the one that leads first.
async fn create<S: StateMachine + Default>(
    hosts: &[RaftHost],
    group: u64,
    limits: GroupLimits,
) -> Result<Vec<Group<S>>> {
    let members: Vec<NodeId> = hosts.iter().map(RaftHost::node).collect();
    let create = |host: &RaftHost| {
        let (host, members) = (host.clone(), members.clone());
        let options = GroupOptions::default().limits(limits);
        async move {
            host.create_group_with(GroupId(group), members, options, S::default)
                .await
        }
    };
    let mut replicas = try_join_all(hosts.iter().map(create)).await?;
    let leader = replicas.first().ok_or("no nodes")?.wait_for_leader().await?;
    replicas.sort_by_key(|replica| replica.node() != leader);
    Ok(replicas)
}

/// What is current; any replica tells, whoever leads by now.
async fn read<S: StateMachine<Query = ()>>(replicas: &[Group<S>]) -> Result<S::Answer> {
    let replica = replicas.first().ok_or("no nodes")?;
    loop {
        match replica.read((), Consistency::Follower).await {
            Err(ReadError::NotLeader { .. }) => replica.wait_for_leader().await?,
            answer => return Ok(answer?),
        };
    }
}

struct Tenants {
    hosts: Vec<RaftHost>,
    directory: Vec<Group<Directory>>,
}

impl Tenants {
    async fn sign_up(&self, tenant: &str) -> Result<Vec<Group<Notes>>> {
        let group = load::propose(&self.directory, || Change::SignUp(tenant.to_owned())).await?;
        let limits = GroupLimits {
            proposals_per_second: Some(SHARE.into()),
            ..GroupLimits::default()
        };
        create(&self.hosts, group.ok_or("a tenant that signs up has a group")?, limits).await
    }

    /// First the directory forgets the tenant, then its replicas go: what is left over by a crash in between is a
    /// group that nobody finds.
    async fn leave(&self, tenant: &str) -> Result<()> {
        let group = load::propose(&self.directory, || Change::Leave(tenant.to_owned())).await?;
        if let Some(group) = group {
            try_join_all(self.hosts.iter().map(|host| host.destroy_group(GroupId(group)))).await?;
        }
        Ok(())
    }
}

/// Lets every tenant write at half its share, and the one that is hot at ten times its share, for a second; prints how
/// long each had to wait.
async fn measure(title: &str, groups: &BTreeMap<&str, Vec<Group<Notes>>>, hot: Option<&str>) -> Result<()> {
    println!("{title}");
    let loads = groups.iter().map(|(tenant, notes)| async move {
        let per_second = if hot == Some(*tenant) { 10 * SHARE } else { SHARE / 2 };
        let outcome = load::run(notes, per_second, Duration::from_secs(1), |n| format!("note {n}"));
        Ok::<_, Box<dyn Error>>((tenant, per_second, outcome.await?))
    });
    for (tenant, per_second, outcome) in try_join_all(loads).await? {
        let load::Outcome {
            latency_us,
            refused,
            duration,
        } = outcome;
        let millis = |quantile| Duration::from_micros(latency_us.value_at_quantile(quantile)).as_secs_f64() * 1e3;
        let (p50, p99, accepted) = (millis(0.5), millis(0.99), latency_us.len());
        println!(
            "  {tenant:8} asks {per_second:4}/s: {accepted:3} accepted, {refused:4} refused, p50 {p50:.1} ms, p99 {p99:.1} ms, \
             {} ms in all",
            duration.as_millis()
        );
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let hosts = RaftHost::in_memory(3).await?;
    let directory = create(&hosts, 0, GroupLimits::default()).await?;
    let tenants = Tenants { hosts, directory };

    let mut groups = BTreeMap::new();
    for tenant in ["ada", "barbara", "grace"] {
        groups.insert(tenant, tenants.sign_up(tenant).await?);
    }
    for (tenant, notes) in &groups {
        for note in ["first", "second"] {
            load::propose(notes, || format!("{tenant}'s {note} note")).await?;
        }
        println!("{tenant} in {}: {:?}", notes[0].id(), read(notes).await?);
    }

    tenants.leave("barbara").await?;
    println!("left: {:?}", read(&tenants.directory).await?);
    let gone = load::propose(&groups["barbara"], || "too late".to_owned()).await;
    println!("barbara's group: {}", gone.err().ok_or("it should be gone")?);

    // Who comes back gets a new group: nothing of the old one is left.
    let notes = tenants.sign_up("barbara").await?;
    println!("barbara in {}: {:?}", notes[0].id(), read(&notes).await?);

    groups.insert("barbara", notes);
    measure("all at half their share", &groups, None).await?;
    measure("grace at ten times hers", &groups, Some("grace")).await?;
    // All apply the same; who leads refuses.
    let usages = || groups["grace"].iter().map(|replica| replica.status().usage);
    println!(
        "grace's group applied {} notes and refused {}",
        usages().map(|usage| usage.commands).max().unwrap_or_default(),
        usages().map(|usage| usage.refused).sum::<u64>()
    );
    join_all(tenants.hosts.iter().map(RaftHost::shutdown)).await;
    Ok(())
}
