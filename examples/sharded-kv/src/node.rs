//! One node as clients see it: the groups it hosts, and what becomes of a write or a read that is put to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::future::{BoxFuture, FutureExt, join_all};
use raftyard::{Consistency, Group, NodeId, ProposeError, ReadError};
use tokio::sync::Semaphore;

use crate::machine::{Answer, Command, KvMachine, Query};
use crate::proxy::{Route, Work};
use crate::resp::Reply;
use crate::slots::ShardMap;
use crate::status::Status;
use crate::topology::{Member, Topology};

/// The part of a node that all its connections share.
pub(crate) struct Node {
    topology: Arc<Topology>,
    /// One place per group of the shard map.
    groups: Vec<Group<KvMachine>>,
    started: Instant,
    /// One permit per client connection that may still be opened.
    connection_permits: Arc<Semaphore>,
    clients_max: usize,
    proxy: bool,
    connections: AtomicU64,
    commands: AtomicU64,
}

/// A command that was begun.
pub(crate) enum Started<'a> {
    Ready(Reply),
    Later(BoxFuture<'a, Reply>),
}

impl Started<'_> {
    /// Waits for the reply.
    pub(crate) async fn reply(self) -> Reply {
        match self {
            Self::Ready(reply) => reply,
            Self::Later(reply) => reply.await,
        }
    }
}

impl Node {
    /// `groups` has one place per group of the topology's shard map, in its order.
    pub(crate) fn new(topology: Topology, groups: Vec<Group<KvMachine>>, clients_max: usize, proxy: bool) -> Self {
        let clients_max = clients_max.min(Semaphore::MAX_PERMITS);
        Self {
            topology: Arc::new(topology),
            groups,
            started: Instant::now(),
            connection_permits: Arc::new(Semaphore::new(clients_max)),
            clients_max,
            proxy,
            connections: AtomicU64::new(0),
            commands: AtomicU64::new(0),
        }
    }

    /// Permits for client connections.
    pub(crate) fn connection_permits(&self) -> &Arc<Semaphore> {
        &self.connection_permits
    }

    /// Notes a new connection and gives it its number, from 1.
    pub(crate) fn count_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes commands that were begun.
    pub(crate) fn count_commands(&self, count: u64) {
        self.commands.fetch_add(count, Ordering::Relaxed);
    }

    /// How slots are dealt to groups.
    pub(crate) fn shard_map(&self) -> ShardMap {
        self.topology.shard_map()
    }

    /// Whether commands on groups that other nodes lead are forwarded to them.
    pub(crate) fn is_proxy(&self) -> bool {
        self.proxy
    }

    /// Where a command on `slot` goes, as far as this node knows.
    pub(crate) fn route(&self, slot: u16) -> Route {
        match self.group(slot).and_then(Group::leader) {
            Some(leader) if leader == self.topology.me() => Route::Here,
            Some(leader) => Route::To(leader),
            None => Route::Nowhere,
        }
    }

    /// The node `node` as clients see it.
    pub(crate) fn member(&self, node: NodeId) -> Option<&Member> {
        self.topology.member(node)
    }

    /// Waits until this node knew a leader of every group; it may still wait when the node shuts down.
    pub(crate) async fn leaders_known(&self) {
        for group in &self.groups {
            if group.wait_for_leader().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is known at this moment.
    pub(crate) fn status(&self) -> Status {
        Status {
            topology: Arc::clone(&self.topology),
            leaders: self.groups.iter().map(Group::leader).collect(),
            uptime: self.started.elapsed(),
            clients: self.clients_max - self.connection_permits.available_permits(),
            clients_max: self.clients_max,
            connections: self.connections.load(Ordering::Relaxed),
            commands: self.commands.load(Ordering::Relaxed),
        }
    }

    /// Puts `work` to the group that holds `slot`. It takes its place in the group's order now, not
    /// when the reply is awaited.
    pub(crate) fn put(&self, slot: u16, work: Work) -> Started<'_> {
        match work {
            Work::Write(command) => self.write(slot, command),
            Work::Read(query, consistency) => self.read(slot, query, consistency),
        }
    }

    fn write(&self, slot: u16, command: Command) -> Started<'_> {
        let group = match self.led(slot) {
            Ok(group) => group,
            Err(reply) => return Started::Ready(reply),
        };
        let response = group.propose(command);
        let reply = async move {
            match response.await {
                Ok(response) => Reply::from(response),
                Err(error) => self.write_error(slot, &error),
            }
        };
        Started::Later(reply.boxed())
    }

    /// Linearizable, with its place taken now; by this node's replica whoever leads, if a follower may.
    fn read(&self, slot: u16, query: Query, consistency: Consistency) -> Started<'_> {
        let group = match consistency {
            Consistency::Follower => self.group(slot).ok_or_else(not_served),
            _ => self.led(slot),
        };
        let group = match group {
            Ok(group) => group,
            Err(reply) => return Started::Ready(reply),
        };
        let answer = group.read(query, consistency);
        let reply = async move {
            match answer.await {
                Ok(answer) => Reply::from(answer),
                Err(error) => self.read_error(slot, &error),
            }
        };
        Started::Later(reply.boxed())
    }

    /// How many keys the groups hold that this node leads, `None` if one of them did not say.
    pub(crate) async fn count_keys(&self) -> Option<i64> {
        let me = Some(self.topology.me());
        let counts = self
            .groups
            .iter()
            .filter(|group| group.leader() == me)
            .map(|group| group.read(Query::KeyCount, Consistency::Linearizable));
        join_all(counts).await.into_iter().try_fold(0, |sum, count| {
            match count {
                Ok(Answer::Integer(count)) => Some(sum + count),
                // It is led by another node by now, which counts it.
                Err(ReadError::NotLeader { .. }) => Some(sum),
                Ok(_) | Err(_) => None,
            }
        })
    }

    fn group(&self, slot: u16) -> Option<&Group<KvMachine>> {
        self.groups.get(usize::from(self.shard_map().group_of(slot)))
    }

    /// The group that holds `slot`, or what to say if another node leads it.
    fn led(&self, slot: u16) -> Result<&Group<KvMachine>, Reply> {
        let group = self.group(slot).ok_or_else(not_served)?;
        match group.leader() {
            Some(leader) if leader == self.topology.me() => Ok(group),
            leader => Err(self.elsewhere(slot, leader)),
        }
    }

    /// Sends the client to the leader, or tells it that there is none.
    fn elsewhere(&self, slot: u16, leader: Option<NodeId>) -> Reply {
        let other = leader
            .filter(|leader| *leader != self.topology.me())
            .and_then(|leader| self.topology.member(leader));
        match other {
            Some(member) => {
                let resp = &member.resp;
                Reply::Error(format!("MOVED {slot} {}:{}", resp.host, resp.port))
            }
            None => not_served(),
        }
    }

    /// The codes say what a client must know: only after `UNKNOWN` may the write have happened.
    fn write_error(&self, slot: u16, error: &ProposeError) -> Reply {
        match error {
            ProposeError::NotLeader { leader } => self.elsewhere(slot, *leader),
            ProposeError::Overloaded { .. } => overloaded(),
            ProposeError::Closed => closed(),
            ProposeError::Dropped => Reply::error("TRYAGAIN the group changed its leader, the write was not applied"),
            ProposeError::OutcomeUnknown { .. } => Reply::error("UNKNOWN the write may or may not have been applied"),
            error if error.may_have_happened() => Reply::Error(format!("UNKNOWN {error}")),
            error => Reply::Error(format!("ERR {error}")),
        }
    }

    fn read_error(&self, slot: u16, error: &ReadError) -> Reply {
        match error {
            ReadError::NotLeader { leader } => self.elsewhere(slot, *leader),
            ReadError::Overloaded { .. } => overloaded(),
            ReadError::Closed => closed(),
            ReadError::TimedOut => Reply::error("TRYAGAIN the leader could not confirm the read in time"),
            error => Reply::Error(format!("ERR {error}")),
        }
    }
}

/// What to say where no leader is known.
pub(crate) fn not_served() -> Reply {
    Reply::error("CLUSTERDOWN Hash slot not served")
}

fn overloaded() -> Reply {
    Reply::error("BUSY overloaded, try again")
}

fn closed() -> Reply {
    Reply::error("CLUSTERDOWN The node is shutting down")
}
