//! The actor that owns a node's listener and its links.

use super::acceptor;
use super::bulk::{Bulk, Pace};
use super::config::{TransportConfig, TransportError};
use super::counters::Counters;
use super::handle::TransportHandle;
use super::lane::Lane;
use super::link::Link;
use super::network::Listener;
use super::outbox::{Outbox, OutboxBounds};
use super::session::{Inbound, Reception};
use crate::budget::InboundBudget;
use actix::{Actor, ActorContext, ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use raftyard_groups::NodeId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
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
        inbound: Arc<dyn Inbound>,
        budget: InboundBudget,
    ) -> (TransportActor, TransportHandle) {
        let Self { config, listener, .. } = self;
        peers.remove(&config.node);
        let counters = Arc::new(Counters::default());
        let bounds = OutboxBounds {
            bytes_max: config.limits.outbox_bytes_max,
            batch_bytes_target: config.limits.frame_bytes_target,
            message_bytes_max: config.limits.message_bytes_max(),
        };
        let ways = peers.keys().flat_map(|peer| Lane::ALL.map(|lane| (*peer, lane)));
        let outboxes = ways
            .map(|way| {
                let outbox = Outbox::new(bounds, Arc::clone(&counters));
                if way.1 == Lane::Data {
                    outbox.open();
                }
                (way, Arc::new(outbox))
            })
            .collect();
        let bulk = peers.keys().map(|peer| (*peer, Arc::default())).collect();
        let handle = TransportHandle {
            bulk: Arc::new(bulk),
            outboxes: Arc::new(outboxes),
            counters,
        };
        let actor = TransportActor {
            config,
            peers,
            inbound,
            budget,
            handle: handle.clone(),
            listener: Some(listener),
            tasks: Vec::new(),
            stop: CancellationToken::new(),
        };
        (actor, handle)
    }
}

/// Owns the tasks of a node's transport: one that accepts, one per peer and lane. They run beside the actor
/// on its thread; the actor itself only starts and stops them. Ends by [`Stop`], or when its last address
/// is dropped.
pub(crate) struct TransportActor {
    config: TransportConfig,
    peers: BTreeMap<NodeId, String>,
    inbound: Arc<dyn Inbound>,
    budget: InboundBudget,
    handle: TransportHandle,
    /// Until started.
    listener: Option<Box<dyn Listener>>,
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
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
            peers: self.peers.keys().copied().collect(),
            inbound: Arc::clone(&self.inbound),
            budget: self.budget.clone(),
            counters: Arc::clone(&self.handle.counters),
            current: RefCell::default(),
        }
    }

    fn bulks(&self) -> Vec<Bulk> {
        let config = &self.config;
        let pace = Rc::new(Pace::new(config.limits.snapshot_bytes_per_second));
        let peers = self.handle.bulk.iter().zip(self.peers.values());
        let bulk = |((peer, queue), address): ((&NodeId, &Arc<_>), &String)| Bulk {
            cluster: config.cluster.clone(),
            node: config.node,
            peer: *peer,
            address: address.clone(),
            network: Arc::clone(&config.network),
            queue: Arc::clone(queue),
            counters: Arc::clone(&self.handle.counters),
            limits: config.limits.clone(),
            pace: Rc::clone(&pace),
        };
        peers.map(bulk).collect()
    }

    fn links(&self) -> Vec<Link> {
        let config = &self.config;
        let mut links = Vec::new();
        for ((peer, lane), outbox) in self.handle.outboxes.iter() {
            let Some(address) = self.peers.get(peer) else {
                continue;
            };
            links.push(Link {
                cluster: config.cluster.clone(),
                node: config.node,
                peer: *peer,
                address: address.clone(),
                lane: *lane,
                network: Arc::clone(&config.network),
                outbox: Arc::clone(outbox),
                counters: Arc::clone(&self.handle.counters),
                limits: config.limits.clone(),
                // Links of one node must not draw the same jitter.
                seed: config.seed.wrapping_add(links.len() as u64),
            });
        }
        links
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
        for link in self.links() {
            let running = link.run(self.stop.clone());
            self.tasks.push(tokio::task::spawn_local(running));
        }
        for bulk in self.bulks() {
            let running = bulk.run(self.stop.clone());
            self.tasks.push(tokio::task::spawn_local(running));
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
