//! A network inside one process, whose links can be cut.

use super::{ByteStream, Connection, Listener, Network, NetworkFuture};
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

/// Bytes that one direction of a connection holds before its writer waits.
const PIPE_BYTES: usize = 256 << 10;
/// Connections that wait to be accepted at one address.
const BACKLOG: usize = 128;

/// Connects nodes of one process. Clones are the same network.
///
/// A cut link behaves as a partition does: nothing fails, nothing arrives, and what was on its way arrives
/// once the link is healed, unless an end gave up first.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    fabric: Arc<Fabric>,
}

/// What all nodes share. Lock order: none of these is held while another is taken.
#[derive(Default)]
struct Fabric {
    listeners: Mutex<Listeners>,
    directions: Mutex<BTreeMap<(NodeId, NodeId), Arc<Direction>>>,
}

#[derive(Default)]
struct Listeners {
    ports: u64,
    by_address: BTreeMap<String, Bound>,
}

struct Bound {
    node: NodeId,
    accept: mpsc::Sender<DirectedStream>,
}

impl MemoryNetwork {
    /// A network without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `node`'s access to it. An address is any text; one that ends with `:0` gets a number of its own.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Arc<dyn Network> {
        Arc::new(MemoryNode {
            node,
            fabric: Arc::clone(&self.fabric),
        })
    }

    /// Cuts the link between `a` and `b`, both ways.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Lets nothing through from `from` to `to`. New connections between the two need both ways.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.fabric.direction(from, to).cut();
    }

    /// Heals the link between `a` and `b`, both ways.
    pub fn heal(&self, a: NodeId, b: NodeId) {
        self.fabric.direction(a, b).heal();
        self.fabric.direction(b, a).heal();
    }
}

impl Fabric {
    fn direction(&self, from: NodeId, to: NodeId) -> Arc<Direction> {
        Arc::clone(self.directions.lock().entry((from, to)).or_default())
    }

    /// Who listens there, if anyone.
    fn find(&self, address: &str) -> io::Result<(NodeId, mpsc::Sender<DirectedStream>)> {
        match self.listeners.lock().by_address.get(address) {
            Some(bound) if !bound.accept.is_closed() => Ok((bound.node, bound.accept.clone())),
            _ => Err(refused()),
        }
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there")
}

/// One node's access to a [`MemoryNetwork`].
struct MemoryNode {
    node: NodeId,
    fabric: Arc<Fabric>,
}

impl Network for MemoryNode {
    fn bind<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let mut listeners = self.fabric.listeners.lock();
            let address = match address.strip_suffix(":0") {
                Some(host) => {
                    listeners.ports += 1;
                    format!("{host}:{}", listeners.ports)
                }
                None => address.to_owned(),
            };
            let (accept, accepted) = mpsc::channel(BACKLOG);
            match listeners.by_address.get(&address) {
                Some(bound) if !bound.accept.is_closed() => {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "address already in use"));
                }
                _ => {}
            }
            let node = self.node;
            listeners.by_address.insert(address.clone(), Bound { node, accept });
            Ok(Box::new(MemoryListener { address, accepted }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, _: NodeId, address: &'a str) -> NetworkFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            let (peer, _) = self.fabric.find(address)?;
            let there = self.fabric.direction(self.node, peer);
            let back = self.fabric.direction(peer, self.node);
            there.healed().await;
            back.healed().await;
            let (mine, theirs) = tokio::io::duplex(PIPE_BYTES);
            // Looked up again: the listener may have gone while the link was cut.
            let (_, accept) = self.fabric.find(address)?;
            accept
                .send(DirectedStream {
                    pipe: theirs,
                    inward: there,
                })
                .await
                .map_err(|_| refused())?;
            Ok(Box::new(DirectedStream {
                pipe: mine,
                inward: back,
            }) as Box<dyn ByteStream>)
        })
    }
}

struct MemoryListener {
    address: String,
    accepted: mpsc::Receiver<DirectedStream>,
}

impl Listener for MemoryListener {
    fn accept(&mut self) -> NetworkFuture<'_, Connection> {
        Box::pin(async move {
            match self.accepted.recv().await {
                Some(stream) => Ok(Connection::unproved(stream)),
                None => Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    "another listener took the address",
                )),
            }
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.address.clone())
    }
}

/// Everything that one node sends to another.
#[derive(Default)]
struct Direction {
    state: Mutex<DirectionState>,
}

#[derive(Default)]
struct DirectionState {
    is_cut: bool,
    /// Readers that wait for it to heal.
    waiting: Vec<Waker>,
}

impl Direction {
    fn cut(&self) {
        self.state.lock().is_cut = true;
    }

    fn heal(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.is_cut = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll_healed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.is_cut {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    async fn healed(&self) {
        std::future::poll_fn(|cx| self.poll_healed(cx)).await;
    }
}

/// One end of a connection. Reads wait while the way towards it is cut; writes fill the pipe.
struct DirectedStream {
    pipe: DuplexStream,
    inward: Arc<Direction>,
}

impl AsyncRead for DirectedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.inward.poll_healed(cx));
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for DirectedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
