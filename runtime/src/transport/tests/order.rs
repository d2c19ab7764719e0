//! Frames leave in the order of their numbers, however busy the task that sends them.

use super::harness::{append, config, disk_of, quick, run, start, wait_until};
use crate::transport::codec;
use crate::transport::frame::Frame;
use crate::transport::service::{Hello, Peer, Receipt, Refusal, Welcome};
use crate::transport::{
    ByteStream, Listener, MemoryNetwork, Network, NetworkFuture, SnapshotAnswer, SnapshotChunk, SnapshotOffer,
    TransportLimits, bind,
};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, ready};
use futures::task::noop_waker;
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tarpc::context;
use tarpc::server::{BaseChannel, Channel};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::task::coop::{consume_budget, unconstrained};

/// A peer that answers at once, and remembers the numbers of the frames that came on each of its connections.
#[derive(Clone, Default)]
struct PromptPeer(Arc<Mutex<Vec<Vec<u64>>>>);

/// One connection of it.
#[derive(Clone)]
struct Served {
    peer: PromptPeer,
    connection: usize,
}

impl Peer for Served {
    async fn hello(self, _: context::Context, _: Hello) -> Result<Welcome, Refusal> {
        Ok(Welcome { disk: disk_of(2) })
    }

    async fn deliver(self, _: context::Context, frame: Frame) -> Result<Receipt, Refusal> {
        self.peer.0.lock()[self.connection].push(frame.seq());
        Ok(Receipt)
    }

    async fn snapshot_offer(self, _: context::Context, _: SnapshotOffer) -> Result<SnapshotAnswer, Refusal> {
        Ok(SnapshotAnswer::Refused)
    }

    async fn snapshot_chunk(self, _: context::Context, _: SnapshotChunk) -> Result<SnapshotAnswer, Refusal> {
        Ok(SnapshotAnswer::Refused)
    }
}

/// A connection whose other end has answered before a flush returns.
struct Answered {
    near: DuplexStream,
    serving: BoxFuture<'static, ()>,
    flushes: usize,
}

impl AsyncRead for Answered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_read(cx, buf)
    }
}

impl AsyncWrite for Answered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.near).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.near).poll_flush(cx);
        // Each takes another part of the task's turn, so that the turn ends at each place some time.
        self.flushes += 1;
        for _ in 0..self.flushes % 7 {
            let _ = pin!(consume_budget()).poll(cx);
        }
        let serving = &mut self.serving;
        // It is polled whenever there can be something for it: nobody need wake it.
        let _ = unconstrained(serving).poll_unpin(&mut Context::from_waker(&noop_waker()));
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_shutdown(cx)
    }
}

/// Reaches the peer and nobody else.
struct ToPeer(PromptPeer);

impl Network for ToPeer {
    fn bind<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, Box<dyn Listener>> {
        Box::pin(async move { MemoryNetwork::new().node(NodeId(1)).bind(address).await })
    }

    fn connect<'a>(&'a self, _: NodeId, _: &'a str) -> NetworkFuture<'a, Box<dyn ByteStream>> {
        let (near, far) = duplex(1 << 20);
        let connection = {
            let mut connections = self.0.0.lock();
            connections.push(Vec::new());
            connections.len() - 1
        };
        let served = Served {
            peer: self.0.clone(),
            connection,
        };
        let channel = BaseChannel::with_defaults(codec::server(Box::new(far), quick().frame_bytes_max));
        let serving = channel.execute(served.serve()).for_each(|answer| answer).boxed();
        let stream: Box<dyn ByteStream> = Box::new(Answered {
            near,
            serving,
            flushes: 0,
        });
        Box::pin(ready(Ok(stream)))
    }
}

/// When all that a task waits for is there, its turn ends because it lasts too long: wherever that is, the next frame
/// must not be sent before the one whose turn it was.
#[test]
fn a_task_that_is_always_busy_sends_frames_in_order() {
    const FRAMES: u64 = 2_000;
    run(async {
        let peer = PromptPeer::default();
        let mut config = config(1, Arc::new(ToPeer(peer.clone())), "1");
        config.limits = TransportLimits {
            frame_bytes_target: 1,
            ..quick()
        };
        let peers = [(NodeId(2), "2".to_owned())].into();
        let a = start(bind(config).await.unwrap(), 1, &peers);
        let b = a.stand_in(NodeId(2));
        let messages: Vec<_> = (0..FRAMES).map(|number| append(&a, &b, number, 10)).collect();
        a.handle.send(&messages);
        wait_until("all frames have arrived", || {
            peer.0.lock().iter().map(Vec::len).sum::<usize>() as u64 == FRAMES
        })
        .await;
        let connections = std::mem::take(&mut *peer.0.lock());
        let used: Vec<_> = connections.into_iter().filter(|frames| !frames.is_empty()).collect();
        assert_eq!(used, [(0..FRAMES).collect::<Vec<_>>()]);
    });
}
