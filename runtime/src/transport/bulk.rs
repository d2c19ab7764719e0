//! Sends snapshots to one peer, on a connection of their own, so that they never delay anything else.
//!
//! A snapshot is offered; the peer answers from where on it wants it; chunks follow in order, a few in
//! flight. What fails is not tried again here: whoever asked is told, asks again when the peer is heard, and
//! the peer then says how far it was.

use super::codec;
use super::config::TransportLimits;
use super::counters::Counters;
use super::handshake::HandshakeError;
use super::lane::Lane;
use super::network::Network;
use super::peer_disks::PeerDisks;
use super::service::{Hello, PROTOCOL, PeerClient, SnapshotAnswer, SnapshotChunk, SnapshotOffer, chunk_crc};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use parking_lot::Mutex;
use raftyard_groups::{GroupId, NodeId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tarpc::client;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Reads a piece: from an offset on, at most so many bytes; `None` if it can't be read.
pub(crate) type ReadPiece = Box<dyn Fn(u64, usize) -> oneshot::Receiver<Option<Bytes>> + Send>;

/// A snapshot to be sent.
pub(crate) struct Outgoing {
    pub(crate) to: NodeId,
    pub(crate) offer: SnapshotOffer,
    pub(crate) read: ReadPiece,
    pub(crate) done: Done,
}

/// Told at the end whether the peer has all of a snapshot. It has not if this is dropped, as with the queue of a
/// peer that is removed: whoever waits sends it nothing else.
pub(crate) struct Done(Option<Box<dyn FnOnce(bool) + Send>>);

impl Done {
    pub(crate) fn new(told: impl FnOnce(bool) + Send + 'static) -> Self {
        Self(Some(Box::new(told)))
    }

    pub(super) fn tell(mut self, is_complete: bool) {
        if let Some(told) = self.0.take() {
            told(is_complete);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            told(false);
        }
    }
}

/// What waits to be sent to one peer. At most one snapshot per group waits, because a group asks for the next
/// only when it was told of the last.
#[derive(Default)]
pub(super) struct BulkQueue {
    waiting: Mutex<VecDeque<Outgoing>>,
    filled: Notify,
    /// Whose snapshot is being sent, and how far that is.
    sending: Mutex<Option<(GroupId, SnapshotTransfer)>>,
}

/// How far a snapshot is on its way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotTransfer {
    /// Bytes that the peer has written.
    pub sent_bytes: u64,
    /// Bytes of all of it.
    pub total_bytes: u64,
}

impl BulkQueue {
    pub(super) fn push(&self, outgoing: Outgoing) {
        self.waiting.lock().push_back(outgoing);
        self.filled.notify_one();
    }

    pub(super) fn transfer_of(&self, group: GroupId) -> Option<SnapshotTransfer> {
        let sending = *self.sending.lock();
        sending.filter(|(of, _)| *of == group).map(|(_, transfer)| transfer)
    }

    fn note(&self, offer: &SnapshotOffer, sent_bytes: u64) {
        let transfer = SnapshotTransfer {
            sent_bytes,
            total_bytes: offer.size,
        };
        *self.sending.lock() = Some((GroupId(offer.group), transfer));
    }

    fn pop(&self) -> Option<Outgoing> {
        self.waiting.lock().pop_front()
    }
}

/// Keeps a node's snapshots to so many bytes per second, over all peers.
pub(super) struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the turn of `bytes`.
    async fn take(&self, bytes: usize) {
        let micros = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_second;
        let start = {
            let mut free_at = self.free_at.lock();
            let start = free_at.max(Instant::now());
            *free_at = start + Duration::from_micros(micros);
            start
        };
        sleep_until(start).await;
    }
}

/// One peer.
pub(super) struct Bulk {
    pub(super) cluster: String,
    pub(super) node: NodeId,
    pub(super) peer: NodeId,
    pub(super) address: watch::Receiver<String>,
    pub(super) network: Arc<dyn Network>,
    pub(super) queue: Arc<BulkQueue>,
    pub(super) disks: Arc<dyn PeerDisks>,
    pub(super) counters: Arc<Counters>,
    pub(super) limits: TransportLimits,
    pub(super) pace: Arc<Pace>,
}

impl Bulk {
    /// Sends what is queued, one after the other, until `stop`. The connection lasts as long as there is
    /// something to send.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut address = self.address.clone();
        loop {
            let mut next = self.queue.pop();
            if next.is_none() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = self.queue.filled.notified() => {}
                }
                continue;
            }
            address.mark_unchanged();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // It moved: what is sent to where it was arrives nowhere.
                Ok(()) = address.changed() => {}
                () = self.connection(&mut next) => {}
            }
            *self.queue.sending.lock() = None;
            if let Some(outgoing) = next {
                outgoing.done.tell(false);
            }
        }
    }

    /// Takes from `next` what was sent, then from the queue, until that is empty or something fails.
    async fn connection(&self, next: &mut Option<Outgoing>) {
        let address = self.address.borrow().clone();
        let connecting = timeout(self.limits.connect_deadline, self.network.connect(self.peer, &address));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                if let Some(HandshakeError { peer, refusal }) = HandshakeError::of(&error) {
                    self.counters.refusals.note(peer, refusal);
                }
                return;
            }
            Err(_) => return,
        };
        let transport = codec::client(stream, self.limits.frame_bytes_max);
        let client::NewClient { client, dispatch } = PeerClient::new(client::Config::default(), transport);
        let sending = async {
            let hello = client.hello(codec::context(), self.hello());
            let welcome = match timeout(self.limits.connect_deadline, hello).await {
                Ok(Ok(Ok(welcome))) => welcome,
                refused => return tracing::debug!(peer = self.peer.0, ?refused, "no connection for snapshots"),
            };
            // Counted and reported by the links.
            if let Err(error) = self.disks.meet(self.peer, welcome.disk).await {
                return tracing::debug!(peer = self.peer.0, %error, "no connection for snapshots");
            }
            while let Some(outgoing) = &*next {
                let is_complete = self.transfer(&client, outgoing).await;
                if let Some(outgoing) = next.take() {
                    outgoing.done.tell(is_complete);
                }
                if is_complete {
                    *next = self.queue.pop();
                }
            }
        };
        tokio::select! {
            biased;
            _ = dispatch => {}
            () = sending => {}
        }
    }

    /// Whether the peer has all of it in the end.
    async fn transfer(&self, client: &PeerClient, outgoing: &Outgoing) -> bool {
        let offer = &outgoing.offer;
        let offered = client.snapshot_offer(codec::context(), offer.clone());
        let mut at = match timeout(self.limits.snapshot_call_deadline, offered).await {
            Ok(Ok(Ok(SnapshotAnswer::Complete))) => return true,
            Ok(Ok(Ok(SnapshotAnswer::Wanted { offset }))) => offset,
            refused => {
                tracing::debug!(peer = self.peer.0, group = offer.group, ?refused, "snapshot not taken");
                return false;
            }
        };
        self.queue.note(offer, at);
        let mut calls = FuturesOrdered::new();
        loop {
            while at < offer.size && calls.len() < self.limits.window_calls {
                let left = usize::try_from(offer.size - at).unwrap_or(usize::MAX);
                let wanted = (outgoing.read)(at, left.min(self.limits.snapshot_chunk_bytes));
                let Ok(Some(bytes)) = wanted.await else {
                    return false;
                };
                if bytes.is_empty() {
                    return false;
                }
                self.pace.take(bytes.len()).await;
                let len = bytes.len();
                self.counters.add_snapshot_bytes(len);
                let chunk = SnapshotChunk {
                    group: offer.group,
                    offset: at,
                    crc: chunk_crc(offer.group, at, &bytes),
                    bytes,
                };
                at += len as u64;
                let expected = at;
                let mut call = Box::pin(async move {
                    let call = client.snapshot_chunk(codec::context(), chunk);
                    (expected, timeout(self.limits.snapshot_call_deadline, call).await)
                });
                // The order of the calls is the order in which they are first polled. Unconstrained: as in `link`.
                match futures::poll!(unconstrained(call.as_mut())) {
                    std::task::Poll::Ready(answer) => {
                        calls.push_back(futures::future::Either::Left(futures::future::ready(answer)));
                    }
                    std::task::Poll::Pending => calls.push_back(futures::future::Either::Right(call)),
                }
            }
            match calls.next().await {
                Some((_, Ok(Ok(Ok(SnapshotAnswer::Complete))))) => return true,
                Some((expected, Ok(Ok(Ok(SnapshotAnswer::Wanted { offset }))))) if offset == expected => {
                    self.queue.note(offer, offset);
                }
                other => {
                    tracing::debug!(peer = self.peer.0, group = offer.group, ?other, "snapshot broken off");
                    return false;
                }
            }
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            cluster: self.cluster.clone(),
            from: self.node.0,
            to: self.peer.0,
            lane: Lane::Snapshot,
            disk: self.disks.own(),
        }
    }
}
