//! A simulated network: connections that are late, break, and stall.

mod pipe;

use super::random::Random;
use super::trace::Trace;
use super::vital::Vital;
use crate::transport::{ByteStream, Connection, Listener, Network, NetworkFuture};
use parking_lot::Mutex;
use pipe::{End, Pipe};
use raftyard_groups::NodeId;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The network of a world. Clones are the same.
#[derive(Clone)]
pub(crate) struct SimNetwork(Arc<Fabric>);

/// What all nodes share. Locks are taken in the order of the fields, pipes last.
struct Fabric {
    hosts: Mutex<BTreeMap<String, Host>>,
    ways: Mutex<BTreeMap<(NodeId, NodeId), Way>>,
    random: Mutex<Random>,
    trace: Trace,
    latency_max_ms: u64,
}

/// What is at an address.
struct Host {
    vital: Vital,
    accept: mpsc::UnboundedSender<End>,
}

/// Everything that one node sends to another.
#[derive(Default)]
struct Way {
    /// How many faults cut it at the moment.
    cuts: u32,
    /// Later than usual by up to this, until then.
    slow: Option<(u64, Instant)>,
    /// So many writes of a thousand are lost and sent again, until then.
    lossy: Option<(u64, Instant)>,
    /// Readers that wait for it to heal.
    waiting: Vec<Waker>,
    pipes: Vec<Weak<Mutex<Pipe>>>,
}

/// Where a node listens.
pub(crate) fn address_of(node: NodeId) -> String {
    format!("node-{}:7000", node.0)
}

impl SimNetwork {
    pub(crate) fn new(random: Random, trace: Trace, latency_max_ms: u64) -> Self {
        Self(Arc::new(Fabric {
            hosts: Mutex::default(),
            ways: Mutex::default(),
            random: Mutex::new(random),
            trace,
            latency_max_ms,
        }))
    }

    /// A node's access to it, in one life of its process.
    pub(crate) fn access(&self, vital: Vital) -> Arc<dyn Network> {
        Arc::new(Access {
            vital,
            fabric: self.0.clone(),
        })
    }

    /// Lets nothing through from `from` to `to`. Each cut needs a mend of its own.
    pub(crate) fn cut(&self, from: NodeId, to: NodeId) {
        self.0.ways.lock().entry((from, to)).or_default().cuts += 1;
    }

    /// Undoes one cut.
    pub(crate) fn mend(&self, from: NodeId, to: NodeId) {
        let waiting = {
            let mut ways = self.0.ways.lock();
            let way = ways.entry((from, to)).or_default();
            way.cuts = way.cuts.saturating_sub(1);
            if way.cuts > 0 {
                return;
            }
            std::mem::take(&mut way.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Makes what is sent from `from` to `to` late by up to `by_ms`, until `until`.
    pub(crate) fn slow(&self, from: NodeId, to: NodeId, by_ms: u64, until: Instant) {
        self.0.ways.lock().entry((from, to)).or_default().slow = Some((by_ms, until));
    }

    /// Loses so many of a thousand writes, which are sent again later, until `until`.
    pub(crate) fn lose(&self, from: NodeId, to: NodeId, permille: u64, until: Instant) {
        self.0.ways.lock().entry((from, to)).or_default().lossy = Some((permille, until));
    }

    /// Breaks all connections between two nodes.
    pub(crate) fn reset(&self, a: NodeId, b: NodeId) {
        self.0
            .break_pipes(|from, to, _| (from, to) == (a, b) || (from, to) == (b, a));
    }

    /// A node's process starts again: connections with its earlier one break. Of what that sent all arrives nevertheless, if
    /// its machine lived on.
    pub(crate) fn forget(&self, node: NodeId) {
        self.0
            .break_pipes(|from, to, pipe| to == node || (from == node && !pipe.is_ended()));
    }

    /// Ends all that disturbs.
    pub(crate) fn heal(&self) {
        let waiting: Vec<Waker> = {
            let mut ways = self.0.ways.lock();
            let ways = ways.values_mut();
            ways.flat_map(|way| {
                way.cuts = 0;
                way.slow = None;
                way.lossy = None;
                std::mem::take(&mut way.waiting)
            })
            .collect()
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Fabric {
    fn break_pipes(&self, which: impl Fn(NodeId, NodeId, &Pipe) -> bool) {
        let mut pipes = Vec::new();
        for ((from, to), way) in &*self.ways.lock() {
            let theirs = way.pipes.iter().filter_map(Weak::upgrade);
            pipes.extend(theirs.map(|pipe| (*from, *to, pipe)));
        }
        for (from, to, pipe) in pipes {
            let mut pipe = pipe.lock();
            if which(from, to, &pipe) {
                pipe.reset();
            }
        }
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.ways.lock().get(&(from, to)).is_some_and(|way| way.cuts > 0)
    }

    /// Ready once nothing cuts the way.
    fn poll_mended(&self, from: NodeId, to: NodeId, cx: &Context<'_>) -> Poll<()> {
        match self.ways.lock().get_mut(&(from, to)) {
            Some(way) if way.cuts > 0 => {
                if !way.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    way.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    async fn mended(&self, from: NodeId, to: NodeId) {
        std::future::poll_fn(|cx| self.poll_mended(from, to, cx)).await;
    }

    /// How long what is sent now takes.
    fn latency(&self, from: NodeId, to: NodeId) -> Duration {
        let now = Instant::now();
        let mut ways = self.ways.lock();
        let way = ways.entry((from, to)).or_default();
        let mut random = self.random.lock();
        let mut ms = random.below(self.latency_max_ms + 1);
        if let Some((by_ms, until)) = way.slow
            && until > now
        {
            ms += random.within(by_ms / 4..=by_ms);
        }
        if let Some((permille, until)) = way.lossy
            && until > now
            && random.chance(permille)
        {
            // Sent again after the time that TCP takes at least.
            ms += random.within(200..=600);
        }
        Duration::from_millis(ms)
    }

    fn pipe(&self, from: NodeId, to: NodeId) -> Arc<Mutex<Pipe>> {
        let pipe = Arc::new(Mutex::new(Pipe::new(from, to)));
        let mut ways = self.ways.lock();
        let way = ways.entry((from, to)).or_default();
        way.pipes.retain(|pipe| pipe.strong_count() > 0);
        way.pipes.push(Arc::downgrade(&pipe));
        pipe
    }

    /// Who listens there: none if nothing ever answers.
    fn find(&self, address: &str) -> io::Result<Option<(Vital, mpsc::UnboundedSender<End>)>> {
        match self.hosts.lock().get(address) {
            Some(host) if host.vital.is_silent() => Ok(None),
            Some(host) if !host.vital.is_dead() && !host.accept.is_closed() => {
                Ok(Some((host.vital.clone(), host.accept.clone())))
            }
            _ => Err(refused()),
        }
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there")
}

/// One node's access.
struct Access {
    vital: Vital,
    fabric: Arc<Fabric>,
}

impl Network for Access {
    fn bind<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let (accept, accepted) = mpsc::unbounded_channel();
            let host = Host {
                vital: self.vital.clone(),
                accept,
            };
            self.fabric.hosts.lock().insert(address.to_owned(), host);
            let address = address.to_owned();
            Ok(Box::new(SimListener { address, accepted }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, _: NodeId, address: &'a str) -> NetworkFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            let Some((peer, _)) = self.fabric.find(address)? else {
                return std::future::pending().await;
            };
            let (me, peer) = (self.vital.node(), peer.node());
            let there_and_back = self.fabric.latency(me, peer) + self.fabric.latency(peer, me);
            tokio::time::sleep(there_and_back).await;
            self.fabric.mended(me, peer).await;
            self.fabric.mended(peer, me).await;
            // Looked up again: it may have ended meanwhile.
            let Some((peer, accept)) = self.fabric.find(address)? else {
                return std::future::pending().await;
            };
            let there = self.fabric.pipe(me, peer.node());
            let back = self.fabric.pipe(peer.node(), me);
            self.fabric.trace.event(&[1, me.0, peer.node().0]);
            let theirs = End::new(peer, there.clone(), back.clone(), self.fabric.clone());
            accept.send(theirs).map_err(|_| refused())?;
            let mine = End::new(self.vital.clone(), back, there, self.fabric.clone());
            Ok(Box::new(mine) as Box<dyn ByteStream>)
        })
    }
}

struct SimListener {
    address: String,
    accepted: mpsc::UnboundedReceiver<End>,
}

impl Listener for SimListener {
    fn accept(&mut self) -> NetworkFuture<'_, Connection> {
        Box::pin(async move {
            match self.accepted.recv().await {
                Some(end) => Ok(Connection::unproved(end)),
                None => Err(io::ErrorKind::NotConnected.into()),
            }
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.address.clone())
    }
}
