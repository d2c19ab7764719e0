//! The actor that owns a node's listener and its links.

use super::acceptor;
use super::bulk::{Bulk, Pace};
use super::config::{TransportConfig, TransportError};
use super::handle::{TransportHandle, Way};
use super::lane::Lane;
use super::link::Link;
use super::network::Listener;
use super::outbox::OutboxBounds;
use super::peer_disks::PeerDisks;
use super::session::{Inbound, Reception};
use crate::budget::InboundBudget;
use actix::{Actor, ActorContext, ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use raftyard_groups::NodeId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Listens at the configured address. Call it on the thread that the actor will be started on: a socket
/// belongs to the runtime it was opened in.
///
/// # Errors
///
/// [`TransportError`] if a limit can't be or the address can't be listened on.
pub(crate) async fn bind(config: TransportConfig) -> Result<BoundTransport, TransportError> {
    config.limits.check()?;
    let listen = |source| TransportError::Listen {
        address: config.listen.clone(),
        source,
    };
    let listener = config.network.bind(&config.listen).await.map_err(listen)?;
    let address = listener.local_address().map_err(listen)?;
    Ok(BoundTransport {
        config,
        listener,
        address,
    })
}

/// A transport that listens, but accepts and sends nothing yet.
pub(crate) struct BoundTransport {
    config: TransportConfig,
    listener: Box<dyn Listener>,
    address: String,
}

impl BoundTransport {
    /// Where peers reach this node.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The actor, to be started, and the handle to send with. `peers` are the addresses of the other nodes;
    /// only they may connect, and this node's own is passed over.
    pub(crate) fn into_actor(
        self,
        mut peers: BTreeMap<NodeId, String>,
        disks: Arc<dyn PeerDisks>,
        inbound: Arc<dyn Inbound>,
        budget: InboundBudget,
    ) -> (TransportActor, TransportHandle) {
        let Self { config, listener, .. } = self;
        peers.remove(&config.node);
        let handle = TransportHandle {
            ways: Arc::default(),
            counters: Arc::default(),
        };
        let mut actor = TransportActor {
            config,
            disks,
            inbound,
            budget,
            handle: handle.clone(),
            listener: Some(listener),
            pace: None,
            tasks: Vec::new(),
            links: 0,
            ways: 0,
            stop: CancellationToken::new(),
        };
        for (peer, address) in peers {
            actor.add_way(peer, address);
        }
        (actor, handle)
    }
}

/// Owns the tasks of a node's transport: one that accepts, one per peer and lane. They run beside the actor
/// on its thread; the actor itself only starts and stops them. Ends by [`Stop`], or when its last address
/// is dropped.
pub(crate) struct TransportActor {
    config: TransportConfig,
    disks: Arc<dyn PeerDisks>,
    inbound: Arc<dyn Inbound>,
    budget: InboundBudget,
    handle: TransportHandle,
    /// Until started.
    listener: Option<Box<dyn Listener>>,
    /// From then on.
    pace: Option<Arc<Pace>>,
    tasks: Vec<JoinHandle<()>>,
    /// How many were started: links of one node must not draw the same jitter.
    links: u64,
    /// How many ways there were.
    ways: u64,
    stop: CancellationToken,
}

/// A node may connect from now on, and is reached there; or, if it is known already, it moved.
pub(crate) struct SetPeer(pub(crate) NodeId, pub(crate) String);

impl actix::Message for SetPeer {
    type Result = ();
}

/// A node may not connect any more, and nothing is sent to it.
pub(crate) struct RemovePeer(pub(crate) NodeId);

impl actix::Message for RemovePeer {
    type Result = ();
}

/// Ends the transport: closes the listener and all connections, drops what waits to be sent. Answered when
/// all of that is done.
pub(crate) struct Stop;

impl actix::Message for Stop {
    type Result = ();
}

impl TransportActor {
    fn reception(&self) -> Reception {
        Reception {
            cluster: self.config.cluster.clone(),
            node: self.config.node,
            handle: self.handle.clone(),
            disks: Arc::clone(&self.disks),
            inbound: Arc::clone(&self.inbound),
            budget: self.budget.clone(),
            heartbeat_budget: InboundBudget::new(self.config.limits.heartbeat_bytes_max),
            counters: Arc::clone(&self.handle.counters),
            current: RefCell::default(),
        }
    }

    fn add_way(&mut self, peer: NodeId, address: String) -> Arc<Way> {
        let bounds = OutboxBounds {
            bytes_max: self.config.limits.outbox_bytes_max,
            batch_bytes_target: self.config.limits.frame_bytes_target,
            message_bytes_max: self.config.limits.message_bytes_max(),
        };
        self.ways += 1;
        let stop = self.stop.child_token();
        let way = Way::new(self.ways, address, bounds, &self.handle.counters, stop);
        let way = Arc::new(way);
        self.handle.ways.write().insert(peer, way.clone());
        way
    }

    /// Starts all that sends to a peer.
    fn start_sending(&mut self, peer: NodeId, way: &Way) {
        let Some(pace) = self.pace.clone() else {
            // Not started yet.
            return;
        };
        self.tasks.retain(|task| !task.is_finished());
        let config = &self.config;
        for lane in Lane::ALL {
            let link = Link {
                cluster: config.cluster.clone(),
                node: config.node,
                peer,
                address: way.address.subscribe(),
                lane,
                network: Arc::clone(&config.network),
                outbox: Arc::clone(way.outbox(lane)),
                disks: Arc::clone(&self.disks),
                counters: Arc::clone(&self.handle.counters),
                limits: config.limits.clone(),
                seed: config.seed.wrapping_add(self.links),
            };
            self.links += 1;
            self.tasks.push(tokio::task::spawn_local(link.run(way.stop.clone())));
        }
        let bulk = Bulk {
            cluster: config.cluster.clone(),
            node: config.node,
            peer,
            address: way.address.subscribe(),
            network: Arc::clone(&config.network),
            queue: Arc::clone(&way.bulk),
            disks: Arc::clone(&self.disks),
            counters: Arc::clone(&self.handle.counters),
            limits: config.limits.clone(),
            pace,
        };
        self.tasks.push(tokio::task::spawn_local(bulk.run(way.stop.clone())));
    }
}

impl Actor for TransportActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if let Some(listener) = self.listener.take() {
            let accepting = acceptor::accept(
                listener,
                self.reception(),
                self.config.limits.clone(),
                self.stop.clone(),
            );
            self.tasks.push(tokio::task::spawn_local(accepting));
        }
        self.pace = Some(Arc::new(Pace::new(self.config.limits.snapshot_bytes_per_second)));
        let ways = self.handle.ways.read().clone();
        for (peer, way) in ways {
            self.start_sending(peer, &way);
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.stop.cancel();
    }
}

impl Handler<Stop> for TransportActor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        self.stop.cancel();
        let tasks = std::mem::take(&mut self.tasks);
        let ended = async move {
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, "a task of the transport failed");
                }
            }
        };
        Box::pin(ended.into_actor(self).map(|(), _, ctx| ctx.stop()))
    }
}

impl Handler<SetPeer> for TransportActor {
    type Result = ();

    fn handle(&mut self, SetPeer(peer, address): SetPeer, _: &mut Self::Context) {
        if peer == self.config.node || self.stop.is_cancelled() {
            return;
        }
        let known = self.handle.ways.read().get(&peer).cloned();
        match known {
            Some(way) => {
                way.address.send_if_modified(|old| {
                    let moved = *old != address;
                    *old = address;
                    moved
                });
            }
            None => {
                let way = self.add_way(peer, address);
                self.start_sending(peer, &way);
            }
        }
    }
}

impl Handler<RemovePeer> for TransportActor {
    type Result = ();

    fn handle(&mut self, RemovePeer(peer): RemovePeer, _: &mut Self::Context) {
        let removed = self.handle.ways.write().remove(&peer);
        if let Some(way) = removed {
            way.stop.cancel();
        }
    }
}
