//! One connection from a peer, as the receiving node sees it.

use super::counters::Counters;
use super::frame::Frame;
use super::handle::TransportHandle;
use super::handshake::{HandshakeRefusal, cut};
use super::lane::Lane;
use super::peer_disks::{MeetError, PeerDisks};
use super::service::{
    Hello, PROTOCOL, Peer, Receipt, Refusal, SnapshotAnswer, SnapshotChunk, SnapshotOffer, SnapshotPart, Welcome,
};
use super::wire::{self, Decoded};
use crate::budget::{InboundBudget, InboundPermit};
use raftyard_groups::{Message, NodeId, NodeMessage};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tarpc::context::Context;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Takes what peers send. Called on the transport's thread, which serves all connections: it hands the
/// messages on and returns.
pub(crate) trait Inbound: Send + Sync + 'static {
    /// The messages of one frame, in the order in which `from` sent them; never empty. The permit counts
    /// their bytes; it is to be kept until they are taken care of.
    fn deliver(&self, from: NodeId, messages: Vec<Message>, permit: InboundPermit);

    /// A message of that node as a node.
    fn between_nodes(&self, from: NodeId, message: NodeMessage);

    /// A part of a snapshot. The answer comes once it is taken care of; the next part of that peer waits for it.
    fn snapshot(&self, from: NodeId, part: SnapshotPart) -> oneshot::Receiver<SnapshotAnswer>;
}

impl From<MeetError> for Refusal {
    fn from(error: MeetError) -> Self {
        match error {
            MeetError::OtherDisk => Self::OtherDisk,
            MeetError::Removed => Self::UnknownNode,
            MeetError::NotNoted(_) => Self::NotNoted,
        }
    }
}

/// What all sessions of a node share. Lives on the transport's thread.
pub(crate) struct Reception {
    pub(crate) cluster: String,
    pub(crate) node: NodeId,
    /// Knows who is a peer.
    pub(crate) handle: TransportHandle,
    /// Knows them by their disks.
    pub(crate) disks: Arc<dyn PeerDisks>,
    pub(crate) inbound: Arc<dyn Inbound>,
    /// Bytes of the data lane that may be received and not yet taken care of.
    pub(crate) budget: InboundBudget,
    /// The same of the heartbeat lane, where nothing waits: beyond it messages of groups are dropped.
    pub(crate) heartbeat_budget: InboundBudget,
    pub(crate) counters: Arc<Counters>,
    /// How to end the session that serves a peer and lane.
    pub(crate) current: RefCell<BTreeMap<(NodeId, Lane), CancellationToken>>,
}

/// What a connection has become.
pub(crate) struct Session {
    reception: Rc<Reception>,
    /// Who the caller has proved to be, where callers do.
    proved: Option<NodeId>,
    /// Whether it has said an acceptable hello.
    pub(crate) welcomed: Arc<AtomicBool>,
    open: RefCell<Option<Opened>>,
    /// Under which it is the current one, from the welcome on.
    named: Cell<Option<(NodeId, Lane)>>,
    /// Ends the session: a newer connection of the same peer and lane takes its place. Without this a
    /// connection whose other end vanished would stay for ever, and its late frames could follow newer ones.
    pub(crate) replaced: CancellationToken,
}

/// Whom an accepted hello named.
#[derive(Clone, Copy)]
struct Opened {
    from: NodeId,
    lane: Lane,
    /// Number of the next frame.
    next_seq: u64,
}

impl Session {
    pub(crate) fn new(reception: Rc<Reception>, proved: Option<NodeId>) -> Self {
        Self {
            reception,
            proved,
            welcomed: Arc::default(),
            open: RefCell::new(None),
            named: Cell::new(None),
            replaced: CancellationToken::new(),
        }
    }

    /// Whether the caller has been welcomed, and none of its frames refused.
    pub(crate) fn is_open(&self) -> bool {
        self.open.borrow().is_some()
    }

    async fn welcome(&self, hello: &Hello) -> Result<Welcome, Refusal> {
        let reception = &self.reception;
        let from = NodeId(hello.from);
        if hello.protocol != PROTOCOL {
            return Err(Refusal::Protocol(PROTOCOL));
        }
        if let Some(proved) = self.proved
            && proved != from
        {
            return Err(Refusal::Certificate(proved.0));
        }
        if hello.cluster != reception.cluster {
            return Err(Refusal::Cluster(reception.cluster.clone()));
        }
        if hello.to != reception.node.0 {
            return Err(Refusal::Target(reception.node.0));
        }
        if !reception.handle.knows(from) {
            return Err(Refusal::UnknownNode);
        }
        if self.is_open() {
            return Err(Refusal::SecondHello);
        }
        reception.disks.meet(from, hello.disk).await?;
        if !reception.handle.knows(from) {
            // It was removed meanwhile.
            return Err(Refusal::UnknownNode);
        }
        let mut current = reception.current.borrow_mut();
        if let Some(older) = current.insert((from, hello.lane), self.replaced.clone()) {
            older.cancel();
        }
        self.named.set(Some((from, hello.lane)));
        *self.open.borrow_mut() = Some(Opened {
            from,
            lane: hello.lane,
            next_seq: 0,
        });
        self.welcomed.store(true, Relaxed);
        Ok(Welcome {
            disk: reception.disks.own(),
        })
    }

    /// Waits until the frame's bytes fit into what the node may hold: the peer, whose call is answered only
    /// then, sends no faster than this node works. Heartbeats never wait: there is room for them, or there is none.
    async fn room_for(&self, frame: &Frame) -> Option<InboundPermit> {
        let lane = self.open.borrow().as_ref().map(|opened| opened.lane)?;
        match lane {
            Lane::Heartbeat => self.reception.heartbeat_budget.try_acquire(frame.payload_len()),
            Lane::Data => self.reception.budget.acquire(frame.payload_len()).await,
            Lane::Snapshot => None,
        }
    }

    async fn receive_snapshot(&self, part: SnapshotPart) -> Result<SnapshotAnswer, Refusal> {
        let from = match &*self.open.borrow() {
            Some(opened) if opened.lane == Lane::Snapshot => opened.from,
            _ => return Err(Refusal::NoHello),
        };
        if !self.reception.handle.knows(from) {
            // It was removed.
            self.open.take();
            return Err(Refusal::UnknownNode);
        }
        let answer = self.reception.inbound.snapshot(from, part);
        // The other end is dropped only when the node ends.
        Ok(answer.await.unwrap_or(SnapshotAnswer::Refused))
    }

    fn receive(&self, frame: Frame, permit: Option<InboundPermit>) -> Result<Receipt, Refusal> {
        // Taken, so that a refused frame closes the session: a later one must not be accepted after a gap.
        let Some(opened) = self.open.borrow_mut().take() else {
            return Err(Refusal::NoHello);
        };
        let Opened { from, lane, .. } = opened;
        if !self.reception.handle.knows(from) {
            // It was removed.
            return Err(Refusal::UnknownNode);
        }
        let refuse = |refusal: Refusal, error: &dyn std::fmt::Display| {
            tracing::error!(peer = %from, ?lane, %error, "frame refused");
            Err(refusal)
        };
        if frame.seq() != opened.next_seq {
            let error = format!("frame {} instead of {}", frame.seq(), opened.next_seq);
            return refuse(Refusal::Sequence(opened.next_seq), &error);
        }
        let payload = match frame.open() {
            Ok(payload) => payload,
            Err(error) => return refuse(Refusal::Checksum, &error),
        };
        let Decoded {
            mut messages,
            mut between_nodes,
        } = match wire::decode(&payload) {
            Ok(decoded) => decoded,
            Err(error) => return refuse(Refusal::Payload, &error),
        };
        *self.open.borrow_mut() = Some(Opened {
            next_seq: opened.next_seq + 1,
            ..opened
        });

        let reception = &self.reception;
        let received = messages.len() + between_nodes.len();
        messages.retain(|message| message.from == from && message.to == reception.node && Lane::of(message) == lane);
        between_nodes.retain(|parcel| parcel.from == from && parcel.to == reception.node && lane == Lane::Heartbeat);
        let misaddressed = received - messages.len() - between_nodes.len();
        if misaddressed > 0 {
            tracing::warn!(peer = %from, ?lane, misaddressed, "misaddressed messages dropped");
        }
        reception.counters.add_received(received, misaddressed);
        for parcel in between_nodes {
            reception.inbound.between_nodes(from, parcel.message);
        }
        match permit {
            _ if messages.is_empty() => {}
            Some(permit) => reception.inbound.deliver(from, messages, permit),
            // Whoever said that says it again if it still matters.
            None => {
                tracing::debug!(peer = %from, messages = messages.len(), "no room for heartbeats of groups");
                reception.counters.add_dropped(messages.len());
            }
        }
        Ok(Receipt)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A cancelled one has already made room.
        if let Some(name) = self.named.get()
            && !self.replaced.is_cancelled()
        {
            self.reception.current.borrow_mut().remove(&name);
        }
    }
}

/// Answers the calls of one connection.
#[derive(Clone)]
pub(crate) struct SessionService(pub(crate) Rc<Session>);

impl Peer for SessionService {
    async fn hello(self, _: Context, hello: Hello) -> Result<Welcome, Refusal> {
        let answer = self.0.welcome(&hello).await;
        match &answer {
            Ok(Welcome { .. }) => {
                tracing::debug!(peer = hello.from, lane = ?hello.lane, "peer connected");
            }
            Err(refusal) => {
                let cluster = cut(&hello.cluster);
                let claimed = format!("who says that it is node {} of {cluster:?}", hello.from);
                let refusal = match refusal {
                    Refusal::Certificate(node) => HandshakeRefusal::Node(NodeId(*node)),
                    Refusal::Cluster(_) => HandshakeRefusal::Cluster(cluster),
                    Refusal::UnknownNode => HandshakeRefusal::UnknownNode,
                    Refusal::Target(_) => HandshakeRefusal::Target(NodeId(hello.to)),
                    Refusal::Protocol(_) => HandshakeRefusal::Protocol(hello.protocol),
                    Refusal::OtherDisk => HandshakeRefusal::OtherDisk,
                    other => HandshakeRefusal::Other(other.to_string()),
                };
                self.0.reception.counters.refusals.note(&claimed, &refusal);
            }
        }
        answer
    }

    async fn deliver(self, _: Context, frame: Frame) -> Result<Receipt, Refusal> {
        let permit = self.0.room_for(&frame).await;
        self.0.receive(frame, permit)
    }

    async fn snapshot_offer(self, _: Context, offer: SnapshotOffer) -> Result<SnapshotAnswer, Refusal> {
        self.0.receive_snapshot(SnapshotPart::Offer(offer)).await
    }

    async fn snapshot_chunk(self, _: Context, chunk: SnapshotChunk) -> Result<SnapshotAnswer, Refusal> {
        self.0.receive_snapshot(SnapshotPart::Chunk(chunk)).await
    }
}
