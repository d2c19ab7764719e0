//! Callers that wait, or take no answers, keep nobody out.

use super::calls::{caller, from_one, hello, payload, welcome};
use super::harness::{
    Node, append, cluster, config, connected, disk_of, heartbeat, numbers, quick, run, start, start_within, wait_until,
};
use crate::budget::InboundBudget;
use crate::transport::codec::{self, PostcardCodec};
use crate::transport::frame::Frame;
use crate::transport::lane::Lane;
use crate::transport::service::{Hello, PeerClient, PeerRequest, Receipt};
use crate::transport::wire::encoded_len;
use crate::transport::{
    ByteStream, Connection, Listener, MemoryNetwork, Network, NetworkFuture, NodeParcel, TcpNetwork, TransportLimits,
    bind,
};
use actix::Actor;
use parking_lot::Mutex;
use raftyard_groups::{Message, NodeId, NodeIncarnation, NodeMessage};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tarpc::client::{Config, NewClient};
use tarpc::{ClientMessage, Request, context};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_serde::Serializer;

const CROWD: usize = 8;

/// Node 2 with so much room, which knows a node 1 that is played by the test.
async fn lone(budget: InboundBudget, limits: TransportLimits) -> Node {
    let mut config = config(2, Arc::new(TcpNetwork), "127.0.0.1:0");
    config.limits = limits;
    let peers = BTreeMap::from([(NodeId(1), "127.0.0.1:1".to_owned())]);
    let bound = bind(config).await.unwrap();
    start_within(budget, bound, 2, disk_of(2), &peers, Actor::start)
}

/// Each newer connection of a lane has a frame that waits until this node has room, and so has each older one.
#[test]
fn a_frame_that_waits_for_room_does_not_outlive_its_session() {
    run(async {
        let budget = InboundBudget::new(64);
        let held = budget.acquire(64).await;
        let limits = TransportLimits {
            connections_max: CROWD,
            ..quick()
        };
        let node = lone(budget, limits).await;

        let frame = |number| Frame::seal(0, payload(&[from_one(&node, number)]));
        let mut last = None;
        for number in 0..=CROWD as u64 {
            let peer = caller(&node).await;
            peer.hello(context::current(), hello()).await.unwrap().unwrap();
            let sent = frame(number);
            let waiting = tokio::task::spawn_local(async move { peer.deliver(codec::context(), sent).await });
            if let Some(older) = last.replace(waiting) {
                let ended = tokio::time::timeout(Duration::from_secs(20), older).await;
                assert!(ended.expect("the older one is still served").unwrap().is_err());
            }
        }
        let lane = Lane::Heartbeat;
        let other = caller(&node).await;
        let answer = other.hello(context::current(), Hello { lane, ..hello() }).await;
        assert_eq!(answer.unwrap(), Ok(welcome()), "there is room for the other lane");

        assert_eq!(node.inbox.len(), 0);
        drop(held);
        assert_eq!(last.unwrap().await.unwrap().unwrap(), Ok(Receipt));
        assert_eq!(numbers(&node.inbox.from(NodeId(1))), [CROWD as u64]);
    });
}

/// Of two frames that came together the first fits, and the second waits for room.
#[test]
fn a_frame_that_was_taken_is_answered_while_the_next_one_waits_for_room() {
    run(async {
        // Each needs all there is.
        let node = lone(InboundBudget::new(1), quick()).await;
        node.inbox.stands_still.store(true, Relaxed);
        let mut stream = TcpStream::connect(&node.address).await.unwrap();
        let hello = call(0, PeerRequest::Hello { hello: hello() });
        stream.write_all(&hello).await.unwrap();
        take_answer(&mut stream).await;

        let frames = [0, 1].map(|seq| {
            let frame = Frame::seal(seq, payload(&[from_one(&node, seq)]));
            call(seq + 1, PeerRequest::Deliver { frame })
        });
        stream.write_all(&frames.concat()).await.unwrap();
        take_answer(&mut stream).await;
        assert_eq!(node.inbox.len(), 1, "the second one waits");
        node.inbox.stands_still.store(false, Relaxed);
        node.inbox.untaken.lock().clear();
        take_answer(&mut stream).await;
        assert_eq!(numbers(&node.inbox.from(NodeId(1))), [0, 1]);
    });
}

/// The next answer to a call, whatever it says.
async fn take_answer(stream: &mut TcpStream) {
    let read = async {
        let length = stream.read_u32().await.unwrap();
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer).await.unwrap();
    };
    let answered = tokio::time::timeout(Duration::from_secs(20), read).await;
    answered.expect("no answer comes");
}

/// A worker that stands still, while a peer says more and more of what is urgent.
#[test]
fn heartbeats_that_nobody_takes_are_bounded_and_those_between_nodes_pass() {
    run(async {
        let network = MemoryNetwork::new();
        let node = |node| {
            let mut config = config(node, network.node(NodeId(node)), "node:0");
            config.limits.heartbeat_bytes_max = 64 << 10;
            config
        };
        let nodes = cluster(vec![node(1), node(2)]).await;
        let [one, two] = nodes.as_slice() else {
            panic!("two nodes")
        };
        connected(one, two).await;
        let before = two.inbox.len();
        two.inbox.stands_still.store(true, Relaxed);
        let says = |seq| NodeMessage::Heartbeat {
            incarnation: NodeIncarnation::default(),
            seq,
            newest_reply: None,
        };
        let (sent, dropped) = (AtomicU64::new(0), || two.handle.counts().messages_dropped);
        wait_until("there is no room for more", || {
            for _ in 0..100 {
                let number = sent.fetch_add(1, Relaxed);
                one.handle.send(&[heartbeat(one, two, number)]);
            }
            dropped() > 100
        })
        .await;
        let held = encoded_len(&heartbeat(one, two, 0)) * (two.inbox.len() - before);
        assert!(held <= 64 << 10, "{held} bytes wait for nobody");

        let (from, to) = (one.id, two.id);
        one.handle.send_node(&NodeParcel {
            from,
            to,
            message: says(7),
        });
        wait_until("what nodes say arrives", || {
            two.inbox.between_nodes.lock().as_slice() == [(from, says(7))]
        })
        .await;
        let late = append(one, two, u64::MAX - 1, 16);
        one.handle.send(std::slice::from_ref(&late));
        wait_until("so do appends", || two.inbox.has(&late)).await;

        two.inbox.stands_still.store(false, Relaxed);
        two.inbox.untaken.lock().clear();
        let taken = heartbeat(one, two, u64::MAX - 1);
        one.handle.send(std::slice::from_ref(&taken));
        wait_until("there is room again", || two.inbox.has(&taken)).await;
    });
}

/// Each lane has its bound, which holds for what belongs to it.
#[test]
fn what_belongs_to_another_lane_is_dropped() {
    run(async {
        let node = lone(InboundBudget::new(1 << 20), quick()).await;
        let beat = Message {
            from: NodeId(1),
            ..heartbeat(&node, &node, 5)
        };
        let data = from_one(&node, 6);
        let cases = [
            (Lane::Heartbeat, vec![beat.clone()]),
            (Lane::Data, vec![data.clone()]),
            (Lane::Snapshot, vec![]),
        ];
        for (lane, taken) in cases {
            let before = node.inbox.len();
            let peer = caller(&node).await;
            let welcomed = peer.hello(codec::context(), Hello { lane, ..hello() }).await;
            assert_eq!(welcomed.unwrap(), Ok(welcome()));
            let frame = Frame::seal(0, payload(&[data.clone(), beat.clone()]));
            assert_eq!(peer.deliver(codec::context(), frame).await.unwrap(), Ok(Receipt));
            assert_eq!(node.inbox.from(NodeId(1))[before..], taken, "on the lane {lane:?}");
        }
        assert_eq!(node.handle.counts().messages_misaddressed, 4);
    });
}

/// A disk that can't be noted now, and a caller that waits for it.
#[test]
fn a_hello_that_waits_for_the_disk_has_its_deadline() {
    run(async {
        let limits = TransportLimits {
            connect_deadline: Duration::from_millis(50),
            ..quick()
        };
        let node = lone(InboundBudget::new(1 << 20), limits).await;
        node.disks.stand_still();
        let peer = caller(&node).await;
        let answer = tokio::time::timeout(Duration::from_secs(20), peer.hello(codec::context(), hello()));
        assert!(answer.await.expect("never closed").is_err());
    });
}

/// A call as it is on the wire.
fn call(id: u64, message: PeerRequest) -> Vec<u8> {
    let context = codec::context();
    let request = ClientMessage::Request(Request { context, id, message });
    let call = Pin::new(&mut PostcardCodec).serialize(&request).unwrap();
    let length = u32::try_from(call.len()).unwrap();
    [&length.to_be_bytes(), call.as_ref()].concat()
}

/// A hello for a node that this one is not.
fn misled(id: u64) -> Vec<u8> {
    let hello = Hello { to: 3, ..hello() };
    call(id, PeerRequest::Hello { hello })
}

/// Connections to one node that hold little of what is not read.
struct Narrow(Mutex<Option<mpsc::UnboundedReceiver<DuplexStream>>>);

struct NarrowListener(mpsc::UnboundedReceiver<DuplexStream>);

impl Network for Narrow {
    fn bind<'a>(&'a self, _: &'a str) -> NetworkFuture<'a, Box<dyn Listener>> {
        let accepted = self.0.lock().take().unwrap();
        Box::pin(async move { Ok(Box::new(NarrowListener(accepted)) as Box<dyn Listener>) })
    }

    fn connect<'a>(&'a self, _: NodeId, _: &'a str) -> NetworkFuture<'a, Box<dyn ByteStream>> {
        Box::pin(std::future::pending())
    }
}

impl Listener for NarrowListener {
    fn accept(&mut self) -> NetworkFuture<'_, Connection> {
        Box::pin(async move { Ok(Connection::unproved(self.0.recv().await.unwrap())) })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok("narrow".to_owned())
    }
}

/// Node 2 behind narrow connections, and how to make one.
async fn narrow(limits: TransportLimits) -> (Node, impl Fn() -> DuplexStream) {
    let (accept, accepted) = mpsc::unbounded_channel();
    let mut config = config(2, Arc::new(Narrow(Mutex::new(Some(accepted)))), "");
    config.limits = limits;
    let peers = BTreeMap::from([(NodeId(1), "nowhere".to_owned())]);
    let node = start(bind(config).await.unwrap(), 2, &peers);
    let connect = move || {
        let (mine, theirs) = tokio::io::duplex(4 << 10);
        accept.send(theirs).unwrap();
        mine
    };
    (node, connect)
}

#[test]
fn callers_that_read_no_answers_keep_no_peer_out() {
    run(async {
        let (_node, connect) = narrow(TransportLimits {
            connections_max: CROWD,
            connect_deadline: Duration::from_secs(2),
            ..quick()
        })
        .await;
        let hellos: Vec<u8> = (0..1_000).flat_map(misled).collect();
        let mut flooding = Vec::new();
        for _ in 0..20 {
            let (mut stream, hellos) = (connect(), hellos.clone());
            flooding.push(tokio::task::spawn_local(async move {
                while stream.write_all(&hellos).await.is_ok() {}
            }));
        }
        for caller in flooding {
            let ended = tokio::time::timeout(Duration::from_secs(20), caller).await;
            ended.expect("never closed").unwrap();
        }
        let transport = codec::client(Box::new(connect()), quick().frame_bytes_max);
        let NewClient { client, dispatch } = PeerClient::new(Config::default(), transport);
        tokio::task::spawn_local(dispatch);
        let answer = client.hello(context::current(), hello()).await;
        assert_eq!(answer.unwrap(), Ok(welcome()));
    });
}

/// One that was welcomed, and takes no answer from then on.
#[test]
fn a_peer_that_takes_no_answers_is_left() {
    run(async {
        let (node, connect) = narrow(TransportLimits {
            call_deadline: Duration::from_millis(200),
            ..quick()
        })
        .await;
        let mut stream = connect();
        let hello = call(0, PeerRequest::Hello { hello: hello() });
        stream.write_all(&hello).await.unwrap();
        let frames = async {
            for seq in 0.. {
                let frame = Frame::seal(seq, payload(&[from_one(&node, seq)]));
                let call = call(seq + 1, PeerRequest::Deliver { frame });
                if stream.write_all(&call).await.is_err() {
                    break;
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), frames).await;
        ended.expect("it is still served");
    });
}
