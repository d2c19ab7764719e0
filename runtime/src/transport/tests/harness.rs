//! Nodes with an inbox, and messages with a number.

use crate::budget::{InboundBudget, InboundPermit};
use crate::store::DiskId;
use crate::transport::wire::{self, WireError};
use crate::transport::{
    BoundTransport, Inbound, MeetError, Network, PeerDisks, SnapshotAnswer, SnapshotPart, Stop, TransportActor,
    TransportConfig, TransportHandle, TransportLimits, bind,
};
use actix::{Actor, Addr};
use bytes::Bytes;
use futures::future::{LocalBoxFuture, pending, ready};
use parking_lot::Mutex;
use raftyard_groups::{
    Body, Entry, GroupId, Incarnation, LogId, LogIndex, Message, NodeId, NodeMessage, Payload, Prompt, ReadRound, Term,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::oneshot;

pub(crate) const CLUSTER: &str = "test";

/// Limits under which tests need not wait long.
pub(crate) fn quick() -> TransportLimits {
    TransportLimits {
        connect_deadline: Duration::from_secs(30),
        call_deadline: Duration::from_secs(30),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..TransportLimits::default()
    }
}

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// Waits until `condition` holds; fails, naming it, if that takes too long.
pub(crate) async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("waited in vain: {what}");
}

#[derive(Default)]
pub(crate) struct Inbox {
    received: Mutex<Vec<(NodeId, Message)>>,
    pub(crate) between_nodes: Mutex<Vec<(NodeId, NodeMessage)>>,
    /// Whether nobody takes care of what comes.
    pub(crate) stands_still: AtomicBool,
    /// Permits of what came meanwhile.
    pub(crate) untaken: Mutex<Vec<InboundPermit>>,
}

impl Inbound for Inbox {
    fn deliver(&self, from: NodeId, messages: Vec<Message>, permit: InboundPermit) {
        assert!(!messages.is_empty());
        if self.stands_still.load(Relaxed) {
            self.untaken.lock().push(permit);
        }
        let mut received = self.received.lock();
        received.extend(messages.into_iter().map(|message| (from, message)));
    }

    fn between_nodes(&self, from: NodeId, message: NodeMessage) {
        self.between_nodes.lock().push((from, message));
    }

    fn snapshot(&self, _: NodeId, _: SnapshotPart) -> oneshot::Receiver<SnapshotAnswer> {
        oneshot::channel().1
    }
}

impl Inbox {
    pub(crate) fn len(&self) -> usize {
        self.received.lock().len()
    }

    pub(crate) fn from(&self, node: NodeId) -> Vec<Message> {
        let received = self.received.lock();
        let from = received.iter().filter(|(from, _)| *from == node);
        from.map(|(_, message)| message.clone()).collect()
    }

    pub(crate) fn has(&self, message: &Message) -> bool {
        self.received.lock().iter().any(|(_, m)| m == message)
    }
}

/// The disk that a node of the tests has.
pub(crate) fn disk_of(node: u64) -> DiskId {
    DiskId(u128::from(node))
}

/// Remembers peers as long as the node runs.
pub(crate) struct Memory {
    own: DiskId,
    met: Mutex<BTreeMap<NodeId, DiskId>>,
    stands_still: AtomicBool,
}

impl Memory {
    pub(crate) fn forget(&self, peer: NodeId) {
        self.met.lock().remove(&peer);
    }

    /// From now on no meeting comes to an end.
    pub(crate) fn stand_still(&self) {
        self.stands_still.store(true, Relaxed);
    }
}

impl PeerDisks for Memory {
    fn own(&self) -> DiskId {
        self.own
    }

    fn meet(&self, peer: NodeId, disk: DiskId) -> LocalBoxFuture<'_, Result<(), MeetError>> {
        if self.stands_still.load(Relaxed) {
            return Box::pin(pending());
        }
        let known = *self.met.lock().entry(peer).or_insert(disk);
        let met = (known == disk).then_some(()).ok_or(MeetError::OtherDisk);
        Box::pin(ready(met))
    }
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: String,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) disks: Arc<Memory>,
    pub(crate) handle: TransportHandle,
    pub(crate) actor: Addr<TransportActor>,
}

impl Node {
    /// Stands for a peer that is none of these nodes, to name it in messages.
    pub(crate) fn stand_in(&self, id: NodeId) -> Self {
        Self {
            id,
            address: String::new(),
            inbox: Arc::default(),
            disks: self.disks.clone(),
            handle: self.handle.clone(),
            actor: self.actor.clone(),
        }
    }

    pub(crate) async fn stop(&self) {
        self.actor.send(Stop).await.unwrap();
    }
}

pub(crate) fn config(node: u64, network: Arc<dyn Network>, listen: &str) -> TransportConfig {
    TransportConfig {
        cluster: CLUSTER.to_owned(),
        node: NodeId(node),
        listen: listen.to_owned(),
        network,
        seed: node,
        limits: quick(),
    }
}

pub(crate) fn start(bound: BoundTransport, id: u64, peers: &BTreeMap<NodeId, String>) -> Node {
    start_on(bound, id, disk_of(id), peers)
}

/// Starts a node on another disk than its own.
pub(crate) fn start_on(bound: BoundTransport, id: u64, disk: DiskId, peers: &BTreeMap<NodeId, String>) -> Node {
    start_with(bound, id, disk, peers, Actor::start)
}

/// Starts a node's actor by `place`.
pub(crate) fn start_with(
    bound: BoundTransport,
    id: u64,
    disk: DiskId,
    peers: &BTreeMap<NodeId, String>,
    place: impl FnOnce(TransportActor) -> Addr<TransportActor>,
) -> Node {
    start_within(InboundBudget::new(64 << 20), bound, id, disk, peers, place)
}

/// Starts a node that holds no more than this of what it receives.
pub(crate) fn start_within(
    budget: InboundBudget,
    bound: BoundTransport,
    id: u64,
    disk: DiskId,
    peers: &BTreeMap<NodeId, String>,
    place: impl FnOnce(TransportActor) -> Addr<TransportActor>,
) -> Node {
    let inbox = Arc::new(Inbox::default());
    let address = bound.address().to_owned();
    let disks = Arc::new(Memory {
        own: disk,
        met: Mutex::default(),
        stands_still: AtomicBool::default(),
    });
    let (actor, handle) = bound.into_actor(peers.clone(), disks.clone(), inbox.clone(), budget);
    Node {
        id: NodeId(id),
        address,
        inbox,
        disks,
        handle,
        actor: place(actor),
    }
}

/// Starts nodes 1, 2, … that all know each other.
pub(crate) async fn cluster(configs: Vec<TransportConfig>) -> Vec<Node> {
    let mut bound = Vec::new();
    for config in configs {
        let id = config.node;
        bound.push((id, bind(config).await.unwrap()));
    }
    let address = |(id, bound): &(NodeId, BoundTransport)| (*id, bound.address().to_owned());
    let peers = bound.iter().map(address).collect();
    let start = |(id, bound): (NodeId, BoundTransport)| start(bound, id.0, &peers);
    bound.into_iter().map(start).collect()
}

/// Sends heartbeats and appends between the two until one of each has arrived, both ways.
pub(crate) async fn connected(a: &Node, b: &Node) {
    let probes = |a: &Node, b: &Node| [heartbeat(a, b, u64::MAX), append(a, b, u64::MAX, 0)];
    wait_until("nodes are connected", || {
        [(a, b), (b, a)].into_iter().all(|(from, to)| {
            let probes = probes(from, to);
            let arrived = probes.iter().all(|probe| to.inbox.has(probe));
            if !arrived {
                from.handle.send(&probes);
            }
            arrived
        })
    })
    .await;
}

fn message(from: &Node, to: &Node, group: u64, prompt: Prompt) -> Message {
    Message {
        group: GroupId(group),
        incarnation: Incarnation(1),
        from: from.id,
        to: to.id,
        term: Term(3),
        body: Body::Prompt(prompt),
    }
}

/// The messages of groups in a payload.
pub(crate) fn decode(payload: &Bytes) -> Result<Vec<Message>, WireError> {
    wire::decode(payload).map(|decoded| decoded.messages)
}

/// A message of the heartbeat lane.
pub(crate) fn heartbeat(from: &Node, to: &Node, number: u64) -> Message {
    let prompt = Prompt::Heartbeat {
        commit: LogIndex(number),
        round: ReadRound(1),
    };
    message(from, to, number % 48, prompt)
}

/// A message of the data lane, with a command of `size` bytes.
pub(crate) fn append(from: &Node, to: &Node, number: u64, size: usize) -> Message {
    let prompt = Prompt::Append {
        prev: LogId::new(2, 10),
        entries: vec![Entry {
            index: LogIndex(11),
            term: Term(3),
            payload: Payload::Command(Bytes::from(vec![0x5a; size])),
        }],
        commit: LogIndex(number),
    };
    message(from, to, number % 48, prompt)
}

/// The numbers of those `messages` that `connected` did not send.
pub(crate) fn numbers(messages: &[Message]) -> Vec<u64> {
    let number = |message: &Message| match &message.body {
        Body::Prompt(Prompt::Heartbeat { commit, .. } | Prompt::Append { commit, .. }) => commit.0,
        other => panic!("not sent by a test: {other:?}"),
    };
    let numbers = messages.iter().map(number);
    numbers.filter(|number| *number != u64::MAX).collect()
}

/// The seed to use: `RAFTYARD_SEED` if it is set.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("RAFTYARD_SEED").ok();
    let seed = given.map_or(20_261, |seed| seed.parse().expect("RAFTYARD_SEED is a number"));
    println!("RAFTYARD_SEED={seed}");
    seed
}

/// Marsaglia's xorshift64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}
