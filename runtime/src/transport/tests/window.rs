//! How many frames are on their way to a peer that is slow to answer.

use super::harness::{append, config, disk_of, quick, run, start, wait_until};
use crate::transport::codec;
use crate::transport::frame::Frame;
use crate::transport::lane::Lane;
use crate::transport::service::{Hello, Peer, Receipt, Refusal, Welcome};
use crate::transport::{
    ByteStream, Network, SnapshotAnswer, SnapshotChunk, SnapshotOffer, TcpNetwork, TransportLimits, bind,
};
use futures::StreamExt;
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::sync::Arc;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::sync::Semaphore;

/// A peer that answers a frame for each permit it is given.
#[derive(Clone)]
struct SlowPeer {
    answers: Arc<Semaphore>,
    frames: Arc<Mutex<Vec<Frame>>>,
}

impl Peer for SlowPeer {
    async fn hello(self, _: Context, _: Hello) -> Result<Welcome, Refusal> {
        Ok(Welcome { disk: disk_of(2) })
    }

    async fn deliver(self, _: Context, frame: Frame) -> Result<Receipt, Refusal> {
        self.frames.lock().push(frame);
        self.answers.acquire().await.unwrap().forget();
        Ok(Receipt)
    }

    async fn snapshot_offer(self, _: Context, _: SnapshotOffer) -> Result<SnapshotAnswer, Refusal> {
        Ok(SnapshotAnswer::Refused)
    }

    async fn snapshot_chunk(self, _: Context, _: SnapshotChunk) -> Result<SnapshotAnswer, Refusal> {
        Ok(SnapshotAnswer::Refused)
    }
}

impl SlowPeer {
    async fn serve_connection(self, stream: Box<dyn ByteStream>) {
        let channel = BaseChannel::with_defaults(codec::server(stream, quick().frame_bytes_max));
        channel
            .execute(self.serve())
            .for_each(|answer| async {
                tokio::task::spawn_local(answer);
            })
            .await;
    }
}

/// Sends messages of 1000 bytes one by one; returns how many frames were on their way at most, before
/// and after two answers.
async fn frames_in_flight(limits: TransportLimits) -> (usize, usize) {
    const MESSAGES: u64 = 40;
    let peer = SlowPeer {
        answers: Arc::new(Semaphore::new(0)),
        frames: Arc::default(),
    };
    let mut listener = TcpNetwork.bind("127.0.0.1:0").await.unwrap();
    let peers = [(NodeId(2), listener.local_address().unwrap())].into();
    let serving = peer.clone();
    tokio::task::spawn_local(async move {
        while let Ok(connection) = listener.accept().await {
            tokio::task::spawn_local(serving.clone().serve_connection(connection.stream));
        }
    });
    let mut config = config(1, Arc::new(TcpNetwork), "127.0.0.1:0");
    config.limits = limits;
    let a = start(bind(config).await.unwrap(), 1, &peers);
    let b = a.stand_in(NodeId(2));
    let outbox = a.handle.outbox(NodeId(2), Lane::Data);
    a.handle.send(&[append(&a, &b, 0, 1000)]);
    wait_until("the first frame arrives", || peer.frames.lock().len() == 1).await;
    for number in 1..MESSAGES {
        a.handle.send(&[append(&a, &b, number, 1000)]);
        // The link runs: either this leaves as a frame of its own, or the window is full and it waits.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    wait_until("the window is full", || {
        let sent = a.handle.counts().frames_sent;
        outbox.bytes() > 0 && peer.frames.lock().len() as u64 == sent
    })
    .await;
    let before = peer.frames.lock().len();
    peer.answers.add_permits(2);
    wait_until("what waited leaves as one frame", || outbox.bytes() == 0).await;
    wait_until("all messages have left", || {
        a.handle.counts().messages_sent == MESSAGES && a.handle.counts().frames_sent == peer.frames.lock().len() as u64
    })
    .await;
    let after = peer.frames.lock().len();
    let frames = std::mem::take(&mut *peer.frames.lock());
    for (seq, frame) in frames.into_iter().enumerate() {
        assert_eq!(frame.seq(), seq as u64);
        frame.open().unwrap();
    }
    (before, after)
}

#[test]
fn calls_are_pipelined_up_to_the_window() {
    run(async {
        let limits = TransportLimits {
            window_calls: 4,
            ..quick()
        };
        assert_eq!(frames_in_flight(limits).await, (4, 5));
    });
}

#[test]
fn bytes_in_flight_are_bounded() {
    run(async {
        let limits = TransportLimits {
            window_calls: 8,
            window_bytes: 1500,
            ..quick()
        };
        assert_eq!(frames_in_flight(limits).await, (2, 3));
    });
}
