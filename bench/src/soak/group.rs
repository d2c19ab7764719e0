//! One group of a soak, and what is known of it from outside.

use super::tally::Tally;
use super::world::NODES;
use crate::Failure;
use crate::cluster::leader_position;
use raftyard::{Consistency, Group, GroupId, Incarnation};
use std::time::{Duration, Instant};

/// A group that takes no write for this long, or whose replicas don't agree, is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// Before a refused request is asked again.
const RETRY: Duration = Duration::from_millis(20);

pub(crate) struct SoakGroup {
    pub(crate) id: GroupId,
    pub(crate) incarnation: Incarnation,
    /// By node; none where the node is away.
    pub(crate) replicas: [Option<Group<Tally>>; NODES],
    /// Nodes that missed that it was destroyed.
    pub(crate) outdated: [bool; NODES],
    /// Writes of this incarnation that were answered.
    pub(crate) acknowledged: u64,
    /// Writes that may have happened.
    pub(crate) unknown: u64,
    /// Where to ask next if no leader is known.
    next: usize,
}

impl SoakGroup {
    pub(crate) fn new(id: GroupId) -> Self {
        Self {
            id,
            incarnation: Incarnation(1),
            replicas: [const { None }; NODES],
            outdated: [false; NODES],
            acknowledged: 0,
            unknown: 0,
            next: 0,
        }
    }

    /// Whom to ask: who leads, or one after the other.
    fn ask(&mut self) -> Option<Group<Tally>> {
        let known: Vec<Group<Tally>> = self.replicas.iter().flatten().cloned().collect();
        if let Some(leader) = leader_position(&known)
            && let Some(Some(replica)) = self.replicas.get(leader)
            && self.next.is_multiple_of(2)
        {
            return Some(replica.clone());
        }
        known.get(self.next / 2 % known.len().max(1)).cloned()
    }

    /// Writes until the write is answered, or may have happened.
    pub(crate) async fn write(&mut self, command: u64) -> Result<(), Failure> {
        let since = Instant::now();
        loop {
            let refused = match self.ask() {
                Some(replica) => match replica.propose(command).await {
                    Ok(_) => {
                        self.acknowledged += 1;
                        return Ok(());
                    }
                    Err(error) if error.may_have_happened() => {
                        self.unknown += 1;
                        return Ok(());
                    }
                    Err(error) => error.to_string(),
                },
                None => "no node is there".to_owned(),
            };
            self.wait_a_little(since, &refused).await?;
        }
    }

    /// Reads what must be current, and checks it.
    pub(crate) async fn read(&mut self) -> Result<(), Failure> {
        let since = Instant::now();
        loop {
            let refused = match self.ask() {
                Some(replica) => {
                    let consistency = if self.next.is_multiple_of(3) {
                        Consistency::Follower
                    } else {
                        Consistency::Linearizable
                    };
                    match replica.read((), consistency).await {
                        Ok(tally) => return self.check(tally),
                        Err(error) => error.to_string(),
                    }
                }
                None => "no node is there".to_owned(),
            };
            self.wait_a_little(since, &refused).await?;
        }
    }

    /// Nothing acknowledged is lost, and nothing is counted twice.
    fn check(&self, tally: Tally) -> Result<(), Failure> {
        let most = self.acknowledged + self.unknown;
        if (self.acknowledged..=most).contains(&tally.count) {
            return Ok(());
        }
        let (id, count, acknowledged) = (self.id, tally.count, self.acknowledged);
        Err(format!("{id}: {count} writes are counted, {acknowledged} to {most} were made").into())
    }

    async fn wait_a_little(&mut self, since: Instant, refused: &str) -> Result<(), Failure> {
        if since.elapsed() > STUCK {
            let states: Vec<_> = self.replicas.iter().flatten().map(Group::status).collect();
            return Err(format!("{} is stuck: {refused}; {states:#?}", self.id).into());
        }
        self.next += 1;
        tokio::time::sleep(RETRY).await;
        Ok(())
    }

    /// Takes one more write, and then all replicas hold the same: what was acknowledged.
    pub(crate) async fn agree(&mut self) -> Result<(), Failure> {
        let (since, acknowledged) = (Instant::now(), self.acknowledged);
        while self.acknowledged == acknowledged {
            self.write(0).await?;
        }
        loop {
            let mut tallies = Vec::new();
            for replica in self.replicas.iter().flatten() {
                tallies.push(replica.read((), Consistency::Stale).await?);
            }
            let Some(first) = tallies.first() else {
                return Err("no node is there".into());
            };
            if tallies.len() == NODES && tallies.iter().all(|tally| tally == first) {
                return self.check(*first);
            }
            self.wait_a_little(since, &format!("replicas differ: {tallies:?}"))
                .await?;
        }
    }
}
