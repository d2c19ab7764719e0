//! One node as clients see it: the groups it hosts, and what becomes of a write or a read that is put to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, Either, FutureExt, join_all};
use raftyard::{Consistency, NodeId, OverloadReason, ProposeError, ReadError, ReplicaState};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{self, timeout_at};

use crate::access::Access;
use crate::config::{NodeConfig, PeerConfig, Reads};
use crate::dial::Dial;
use crate::hosting::Hosting;
use crate::machine::{Answer, Command, Query, Read, Response, Version};
use crate::proxy::{self, Route, Work};
use crate::replies::{NodeReplies, Room};
use crate::resp::Reply;
use crate::slots::ShardMap;
use crate::state::Replica;
use crate::status::Status;
use crate::topology::{Member, Topology};
use crate::writes::Outcome;

/// How long a command waits for a group that has no leader to get one: longer than an election takes.
pub(crate) const ELECTION: Duration = Duration::from_secs(2);

/// The share (one in so many) of all client connections that strangers may take: those who flood a node with connections on
/// which they say nothing keep no one out who is in.
const STRANGERS_SHARE: usize = 4;

/// The part of a node that all its connections share.
pub(crate) struct Node {
    me: NodeId,
    cluster: String,
    data_dir: PathBuf,
    /// All nodes that this one knows, whether they belong to a group or not.
    topology: RwLock<Arc<Topology>>,
    /// Those that it was told of while it ran.
    learned: Mutex<Vec<PeerConfig>>,
    hosting: Hosting,
    /// Which node is named next where any will do.
    turn: AtomicU64,
    shard_map: ShardMap,
    started: Instant,
    /// One permit per client connection that may still be opened.
    connection_permits: Arc<Semaphore>,
    clients_max: usize,
    /// One permit per client that may still be on its way to prove who it is.
    stranger_permits: Arc<Semaphore>,
    access: Arc<Access>,
    /// What the replies take that its clients wait for.
    replies: Arc<NodeReplies>,
    /// How to be a client of other nodes.
    dial: Arc<Dial>,
    proxy: bool,
    replica_reads: Consistency,
    rejected: AtomicU64,
    tls_failures: AtomicU64,
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
    /// `learned` are the nodes that it was told of while it ran.
    pub(crate) fn new(
        topology: Topology,
        hosting: Hosting,
        learned: Vec<PeerConfig>,
        config: &NodeConfig,
        dial: Dial,
    ) -> Self {
        let clients_max = config.max_clients.min(Semaphore::MAX_PERMITS);
        Self {
            me: config.node,
            cluster: config.cluster.clone(),
            data_dir: config.data_dir.clone(),
            topology: RwLock::new(Arc::new(topology)),
            learned: Mutex::new(learned),
            hosting,
            turn: AtomicU64::new(0),
            shard_map: config.shard_map,
            started: Instant::now(),
            connection_permits: Arc::new(Semaphore::new(clients_max)),
            clients_max,
            stranger_permits: Arc::new(Semaphore::new(clients_max.div_ceil(STRANGERS_SHARE))),
            access: Arc::new(Access::new(config.password.clone())),
            replies: Arc::default(),
            dial: Arc::new(dial),
            rejected: AtomicU64::new(0),
            tls_failures: AtomicU64::new(0),
            proxy: config.proxy,
            replica_reads: match config.reads {
                Reads::Linearizable => Consistency::Follower,
                Reads::Stale => Consistency::Stale,
            },
            connections: AtomicU64::new(0),
            commands: AtomicU64::new(0),
        }
    }

    /// Permits for client connections.
    pub(crate) fn connection_permits(&self) -> &Arc<Semaphore> {
        &self.connection_permits
    }

    /// Permits for those of them whose client has not proved yet who it is.
    pub(crate) fn stranger_permits(&self) -> &Arc<Semaphore> {
        &self.stranger_permits
    }

    /// What is asked of clients.
    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// What the replies take that its clients wait for.
    pub(crate) fn replies(&self) -> &Arc<NodeReplies> {
        &self.replies
    }

    /// How to be a client of other nodes.
    pub(crate) fn dial(&self) -> &Arc<Dial> {
        &self.dial
    }

    /// Notes a connection for which there was no room.
    pub(crate) fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a connection that did not come to speak TLS.
    pub(crate) fn count_tls_failure(&self) {
        self.tls_failures.fetch_add(1, Ordering::Relaxed);
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
        self.shard_map
    }

    /// Whether commands on groups that other nodes lead are forwarded to them.
    pub(crate) fn is_proxy(&self) -> bool {
        self.proxy
    }

    /// How reads are answered after `READONLY`: by this node's replicas.
    pub(crate) fn replica_reads(&self) -> Consistency {
        self.replica_reads
    }

    /// Where a command on `slot` goes, as far as this node knows.
    pub(crate) fn route(&self, slot: u16) -> Route {
        let Some(group) = self.group(slot) else {
            return self.anybody().map_or(Route::Nowhere, |other| Route::To(other.node));
        };
        match group.leader() {
            Some(leader) if leader == self.me => Route::Here,
            Some(leader) => Route::To(leader),
            None => Route::Nowhere,
        }
    }

    /// The node `node` as clients see it.
    pub(crate) fn member(&self, node: NodeId) -> Option<Member> {
        self.topology().member(node).cloned()
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The replicas that are here.
    pub(crate) fn hosting(&self) -> &Hosting {
        &self.hosting
    }

    /// The nodes that it was told of while it ran.
    pub(crate) fn learned(&self) -> &Mutex<Vec<PeerConfig>> {
        &self.learned
    }

    /// All nodes that this one knows.
    pub(crate) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it knows this node.
    pub(crate) fn add_member(&self, member: Member) {
        let mut topology = self.topology.write().unwrap_or_else(PoisonError::into_inner);
        *topology = Arc::new(topology.with(member));
    }

    /// The nodes that belong to a group which this node hosts, and itself; all that it knows if it hosts none.
    fn belonging(&self, replicas: &[Option<Replica>]) -> Arc<Topology> {
        let known = self.topology();
        let groups = replicas.iter().flatten();
        let nodes: BTreeSet<NodeId> = groups.flat_map(|group| group.membership().nodes()).collect();
        if nodes.is_empty() {
            return known;
        }
        Arc::new(known.only(&nodes))
    }

    /// Another node, each time the next: one that hosts a group which this one does not may know who leads it.
    fn anybody(&self) -> Option<Member> {
        let topology = self.topology();
        let others: Vec<&Member> = topology
            .members()
            .iter()
            .filter(|member| member.node != self.me)
            .collect();
        let turn = self
            .turn
            .fetch_add(1, Ordering::Relaxed)
            .checked_rem(others.len() as u64)?;
        others.get(usize::try_from(turn).ok()?).map(|member| (*member).clone())
    }

    /// Waits until this node knew a leader of every group; it may still wait when the node shuts down.
    pub(crate) async fn leaders_known(&self) {
        for group in self.hosting.replicas().into_iter().flatten() {
            if group.wait_for_leader().await.is_err() && group.status().state != ReplicaState::Destroyed {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is known at this moment.
    pub(crate) fn status(&self) -> Status {
        let replicas = self.hosting.replicas();
        let leader = |replica: &Option<Replica>| replica.as_ref().and_then(Replica::leader);
        Status {
            topology: self.belonging(&replicas),
            leaders: replicas.iter().map(leader).collect(),
            uptime: self.started.elapsed(),
            clients: self.clients_max - self.connection_permits.available_permits(),
            clients_max: self.clients_max,
            connections: self.connections.load(Ordering::Relaxed),
            commands: self.commands.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            tls_failures: self.tls_failures.load(Ordering::Relaxed),
            access_refusals: self.access.refusals(),
            peers_refused: self.hosting.peers_refused(),
        }
    }

    /// Puts `work` to the group that holds `slot`. It takes its place in the group's order now, not
    /// when the reply is awaited. If the group has no leader, it is waited for until `by`.
    /// `room` is for the reply.
    pub(crate) fn put(&self, slot: u16, work: Work, by: time::Instant, room: Room) -> Started<'_> {
        match work {
            Work::Write(command) => self.write(slot, command, by, Some(room)),
            Work::Read(query, consistency) => self.read(slot, query, consistency, by, room),
        }
    }

    fn write(&self, slot: u16, command: Command, by: time::Instant, room: Option<Room>) -> Started<'_> {
        let group = match self.leading(slot, by) {
            Ok(group) => group,
            Err(started) => return started,
        };
        let outcome = if command.returned_bytes_max() > 0 {
            // In a session every replica would keep what it returns, which may be long, until the next is applied. All
            // that is lost: where this node leads again before anybody noticed, it does not append the command again.
            Either::Left(group.propose_plain(command))
        } else {
            Either::Right(group.propose(command))
        };
        let reply = async move {
            let reply = self.written(slot, outcome.await, by).await;
            drop(room);
            reply
        };
        Started::Later(reply.boxed())
    }

    /// The group that holds `slot`, or what is begun instead of a write to it if another node leads it.
    pub(crate) fn leading(&self, slot: u16, by: time::Instant) -> Result<Replica, Started<'_>> {
        self.led(slot).map_err(|reply| self.redirect(slot, reply, by))
    }

    /// What a client is told of a write to `slot`.
    pub(crate) async fn written(&self, slot: u16, outcome: Outcome, by: time::Instant) -> Reply {
        match outcome {
            Ok(response) => Reply::from(response),
            Err(error) => self.redirected(slot, self.write_error(slot, &error), by).await,
        }
    }

    /// With its place taken now; by this node's replica whoever leads, if a follower may.
    fn read(&self, slot: u16, query: Query, consistency: Consistency, by: time::Instant, room: Room) -> Started<'_> {
        let group = match consistency {
            Consistency::Follower | Consistency::Stale => self.group(slot).ok_or_else(|| self.elsewhere(slot, None)),
            _ => self.led(slot),
        };
        let group = match group {
            Ok(group) => group,
            Err(reply) => return self.redirect(slot, reply, by),
        };
        let room = Arc::new(room);
        let read = |query, room| Read {
            query,
            room: Some(room),
        };
        let answer = group.read(read(query.clone(), Arc::clone(&room)), consistency);
        let reply = async move {
            let mut answer = answer.await;
            if answer == Ok(Answer::NoRoom) {
                // Who waits for it now sends it next.
                let room = Arc::new(room.for_next());
                answer = group.read(read(query, room), consistency).await;
            }
            match answer {
                Ok(answer) => Reply::from(answer),
                Err(error) => self.redirected(slot, self.read_error(slot, &error), by).await,
            }
        };
        Started::Later(reply.boxed())
    }

    /// Asks the group at `place`.
    pub(crate) async fn ask(&self, place: u16, query: Query, consistency: Consistency) -> Result<Answer, ReadError> {
        match self.hosting.replica(usize::from(place)) {
            Some(group) => group.read(query.into(), consistency).await,
            None => Err(ReadError::NotLeader { leader: None }),
        }
    }

    /// The versions of `keys`, which have the slot `slot`; by this node's replica whoever leads, if `anywhere`.
    ///
    /// # Errors
    ///
    /// What to answer instead.
    pub(crate) async fn versions(&self, slot: u16, keys: Vec<Bytes>, anywhere: bool) -> Result<Vec<Version>, Reply> {
        let (group, consistency) = if anywhere {
            (
                self.group(slot).ok_or_else(|| self.elsewhere(slot, None))?,
                Consistency::Follower,
            )
        } else {
            (self.led(slot)?, Consistency::Linearizable)
        };
        match group.read(Query::Versions(keys).into(), consistency).await {
            Ok(Answer::Versions(versions)) => Ok(versions),
            Ok(other) => Err(Reply::from(other)),
            Err(error) => Err(self.read_error(slot, &error)),
        }
    }

    /// Has the groups that this node leads delete all keys.
    pub(crate) async fn flush(&self) -> Reply {
        let by = time::Instant::now() + ELECTION;
        let led = (0..self.shard_map().groups()).filter(|place| self.leads((*place).into()));
        let flushes = led.map(|place| {
            let slot = *self.shard_map().slots_of(place).start();
            self.write(slot, Command::Flush, by, None).reply()
        });
        let replies = join_all(flushes).await;
        let refusal = replies.into_iter().find(|reply| *reply != Reply::OK);
        refusal.map_or(Reply::OK, proxy::final_refusal)
    }

    /// Whether this node leads the group at `place`, as far as it knows.
    pub(crate) fn leads(&self, place: usize) -> bool {
        let leader = self.hosting.replica(place).and_then(|group| group.leader());
        leader == Some(self.me)
    }

    /// Has the group at `place` remove keys that have expired. False if it is not known to have removed any.
    pub(crate) async fn purge(&self, place: usize) -> bool {
        let Some(group) = self.hosting.replica(place) else {
            return false;
        };
        matches!(group.propose_plain(Command::Purge).await, Ok(Response::Integer(1..)))
    }

    /// How many replicas beside the leader's have a write that was answered, at least: with the leader's they are a majority.
    pub(crate) fn replicas_of_writes(&self) -> i64 {
        let voters = |group: Replica| group.membership().voters().count();
        let least = self.hosting.replicas().into_iter().flatten().map(voters).min();
        i64::try_from(least.unwrap_or_default() / 2).unwrap_or(i64::MAX)
    }

    /// What to say to a command on `slot` if another node leads its group.
    pub(crate) fn redirection(&self, slot: u16) -> Option<Reply> {
        self.led(slot).err()
    }

    fn group(&self, slot: u16) -> Option<Replica> {
        self.hosting.replica(usize::from(self.shard_map().group_of(slot)))
    }

    /// The group that holds `slot`, or what to say if another node leads it.
    fn led(&self, slot: u16) -> Result<Replica, Reply> {
        let group = self.group(slot).ok_or_else(|| self.elsewhere(slot, None))?;
        match group.leader() {
            Some(leader) if leader == self.me => Ok(group),
            leader => Err(self.elsewhere(slot, leader)),
        }
    }

    /// Sends the client to the leader, or tells it that there is none. Where no replica of the group is here, any other
    /// node may know better.
    fn elsewhere(&self, slot: u16, leader: Option<NodeId>) -> Reply {
        let known = leader.filter(|leader| *leader != self.me);
        let other = match known.and_then(|leader| self.member(leader)) {
            None if self.group(slot).is_none() => self.anybody(),
            known => known,
        };
        match other {
            Some(member) => moved(slot, &member),
            None => not_served(),
        }
    }

    /// What the client is told in the end, where that need not wait for an election.
    fn redirect(&self, slot: u16, reply: Reply, by: time::Instant) -> Started<'_> {
        if reply == not_served() && !self.proxy {
            Started::Later(self.redirected(slot, reply, by).boxed())
        } else {
            Started::Ready(reply)
        }
    }

    /// A client that follows `MOVED` sees nothing of an election or a transfer of leadership: where no leader is known
    /// it is told of the next one, if there is one by `by`. (As a proxy this node tries again by itself.)
    async fn redirected(&self, slot: u16, reply: Reply, by: time::Instant) -> Reply {
        let Some(group) = self.group(slot).filter(|_| reply == not_served() && !self.proxy) else {
            return reply;
        };
        let leader = timeout_at(by, group.wait_for_leader()).await;
        let leader = leader.ok().and_then(Result::ok);
        leader
            .and_then(|leader| self.member(leader))
            .map_or(reply, |member| moved(slot, &member))
    }

    /// The codes say what a client must know: only after `UNKNOWN` may the write have happened.
    fn write_error(&self, slot: u16, error: &ProposeError) -> Reply {
        match error {
            ProposeError::NotLeader { leader } => self.elsewhere(slot, *leader),
            ProposeError::Overloaded { reason, retry_after } => overloaded(*reason, *retry_after),
            ProposeError::Closed => closed(),
            ProposeError::Quarantined(_) => not_served(),
            ProposeError::Dropped => Reply::error("TRYAGAIN the group changed its leader, the write was not applied"),
            ProposeError::OutcomeUnknown { .. } => Reply::error("UNKNOWN the write may or may not have been applied"),
            error if error.may_have_happened() => Reply::Error(format!("UNKNOWN {error}")),
            error => Reply::Error(format!("ERR {error}")),
        }
    }

    pub(crate) fn read_error(&self, slot: u16, error: &ReadError) -> Reply {
        match error {
            ReadError::NotLeader { leader } => self.elsewhere(slot, *leader),
            ReadError::Overloaded { reason, retry_after } => overloaded(*reason, *retry_after),
            ReadError::Closed => closed(),
            ReadError::Quarantined(_) => not_served(),
            ReadError::TimedOut => Reply::error("TRYAGAIN the leader could not confirm the read in time"),
            error => Reply::Error(format!("ERR {error}")),
        }
    }
}

fn moved(slot: u16, member: &Member) -> Reply {
    let resp = &member.resp;
    Reply::Error(format!("MOVED {slot} {}:{}", resp.host, resp.port))
}

/// What to say where no leader is known.
pub(crate) fn not_served() -> Reply {
    Reply::error("CLUSTERDOWN Hash slot not served")
}

/// Nothing happened, and soon there is room again.
fn overloaded(reason: OverloadReason, retry_after: Duration) -> Reply {
    let millis = retry_after.as_micros().div_ceil(1_000);
    Reply::Error(format!("BUSY overloaded, try again in {millis} ms: {reason}"))
}

fn closed() -> Reply {
    Reply::error("CLUSTERDOWN The node is shutting down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_for_overload_is_told_why_and_until_when() {
        let refused = overloaded(OverloadReason::ByteRate(500), Duration::from_micros(20_500));
        let text = "BUSY overloaded, try again in 21 ms: the group takes 500 bytes of proposals per second";
        assert_eq!(refused, Reply::error(text));
    }
}
