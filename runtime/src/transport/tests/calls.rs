//! Who may call, and what a caller may not do.

use super::harness::{
    CLUSTER, Node, append, cluster, config, connected, disk_of, heartbeat, numbers, quick, run, start, start_on,
    wait_until,
};
use crate::transport::codec;
use crate::transport::frame::Frame;
use crate::transport::lane::Lane;
use crate::transport::service::{
    Hello, PROTOCOL, PeerClient, Receipt, Refusal, SnapshotAnswer, SnapshotOffer, Welcome,
};
use crate::transport::wire::{encode, encoded_len};
use crate::transport::{Done, HandshakeCounts, Network, Outgoing, RemovePeer, SetPeer, TcpNetwork, bind};
use bytes::{Bytes, BytesMut};
use raftyard_groups::{Message, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tarpc::client::{Config, NewClient};
use tarpc::context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

const LOOPBACK: &str = "127.0.0.1:0";

fn tcp(node: u64) -> crate::transport::TransportConfig {
    config(node, Arc::new(TcpNetwork), LOOPBACK)
}

/// Node 2, which knows a node 1 that is played by the test.
async fn node_two(hello_deadline: Duration) -> Node {
    let mut config = tcp(2);
    config.limits.connect_deadline = hello_deadline;
    let peers = BTreeMap::from([(NodeId(1), "127.0.0.1:1".to_owned())]);
    start(bind(config).await.unwrap(), 2, &peers)
}

pub(super) async fn caller(of: &Node) -> PeerClient {
    let stream = TcpNetwork.connect(of.id, &of.address).await.unwrap();
    let transport = codec::client(stream, quick().frame_bytes_max);
    let NewClient { client, dispatch } = PeerClient::new(Config::default(), transport);
    tokio::task::spawn_local(dispatch);
    client
}

pub(super) fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        cluster: CLUSTER.to_owned(),
        from: 1,
        to: 2,
        lane: Lane::Data,
        disk: disk_of(1),
    }
}

pub(super) fn welcome() -> Welcome {
    Welcome { disk: disk_of(2) }
}

pub(super) fn payload(messages: &[Message]) -> Bytes {
    let mut buf = BytesMut::new();
    for message in messages {
        encode(message, encoded_len(message), usize::MAX, &mut buf).unwrap();
    }
    buf.freeze()
}

/// A message as node 1 would send it to `to`.
pub(super) fn from_one(to: &Node, number: u64) -> Message {
    Message {
        from: NodeId(1),
        ..append(to, to, number, 16)
    }
}

#[test]
fn strangers_are_refused_by_name() {
    run(async {
        let node = node_two(quick().connect_deadline).await;
        let cases = [
            (Hello { protocol: 9, ..hello() }, Refusal::Protocol(PROTOCOL)),
            (
                Hello {
                    cluster: "other".to_owned(),
                    ..hello()
                },
                Refusal::Cluster(CLUSTER.to_owned()),
            ),
            (Hello { to: 3, ..hello() }, Refusal::Target(2)),
            (Hello { from: 3, ..hello() }, Refusal::UnknownNode),
            (Hello { from: 2, ..hello() }, Refusal::UnknownNode),
        ];
        for (hello, refusal) in cases {
            let stranger = caller(&node).await;
            let answer = stranger.hello(context::current(), hello).await.unwrap();
            assert_eq!(answer, Err(refusal));
            let frame = Frame::seal(0, payload(&[from_one(&node, 1)]));
            let answer = stranger.deliver(context::current(), frame).await.unwrap();
            assert_eq!(answer, Err(Refusal::NoHello));
        }
        let refused = HandshakeCounts {
            wrong_cluster: 1,
            wrong_node: 1,
            unknown_node: 2,
            other: 1,
            ..HandshakeCounts::default()
        };
        assert_eq!(node.handle.counts().handshakes_refused, refused);
        let known = caller(&node).await;
        let answer = known.hello(context::current(), hello()).await.unwrap();
        assert_eq!(answer, Ok(welcome()));
        let answer = known.hello(context::current(), hello()).await.unwrap();
        assert_eq!(answer, Err(Refusal::SecondHello));
        assert_eq!(node.inbox.len(), 0);
    });
}

#[test]
fn a_peer_on_another_disk_is_refused_in_both_directions_until_it_is_known_anew() {
    run(async {
        let nodes = cluster(vec![tcp(1), tcp(2)]).await;
        let [one, two] = nodes.as_slice() else {
            panic!("two nodes")
        };
        connected(one, two).await;

        // It is told so when it calls, on every lane.
        for lane in [Lane::Heartbeat, Lane::Data, Lane::Snapshot] {
            let wiped = caller(two).await;
            let disk = disk_of(9);
            let answer = wiped.hello(context::current(), Hello { lane, disk, ..hello() }).await;
            assert_eq!(answer.unwrap(), Err(Refusal::OtherDisk));
            let frame = Frame::seal(0, payload(&[from_one(two, 1)]));
            let answer = wiped.deliver(context::current(), frame).await.unwrap();
            assert_eq!(answer, Err(Refusal::NoHello));
        }
        assert_eq!(two.handle.counts().handshakes_refused.other_disk, 3);

        // And nothing is sent to it when it is called.
        let address = one.address.clone();
        one.stop().await;
        let peers = BTreeMap::from([(NodeId(2), two.address.clone())]);
        let bound = bind(config(1, Arc::new(TcpNetwork), &address)).await.unwrap();
        let wiped = start_on(bound, 1, disk_of(9), &peers);
        let refused = |node: &Node| node.handle.counts().handshakes_refused;
        wait_until("each end knows why", || {
            let (by_two, by_one) = (refused(two), refused(&wiped));
            by_two.other_disk > 5 && by_one.own_disk > 0
        })
        .await;
        two.handle
            .send(&[append(two, &wiped, 5, 16), heartbeat(two, &wiped, 5)]);
        wiped
            .handle
            .send(&[append(&wiped, two, 6, 16), heartbeat(&wiped, two, 6)]);
        let before = refused(two).other_disk;
        wait_until("both tried again", || refused(two).other_disk > before + 4).await;
        assert_eq!((wiped.inbox.len(), numbers(&two.inbox.from(NodeId(1)))), (0, vec![]));

        two.disks.forget(NodeId(1));
        connected(&wiped, two).await;
        wiped.stop().await;
        two.stop().await;
    });
}

fn offer() -> SnapshotOffer {
    SnapshotOffer {
        group: 1,
        incarnation: 1,
        term: 1,
        last_term: 1,
        last_index: 1,
        size: 1,
        crc: 0,
    }
}

#[test]
fn a_peer_that_is_removed_sends_no_more_of_its_snapshot() {
    run(async {
        let node = node_two(quick().connect_deadline).await;
        let peer = caller(&node).await;
        let lane = Lane::Snapshot;
        let answer = peer.hello(context::current(), Hello { lane, ..hello() }).await;
        assert_eq!(answer.unwrap(), Ok(welcome()));
        let answer = peer.snapshot_offer(context::current(), offer()).await;
        assert_eq!(answer.unwrap(), Ok(SnapshotAnswer::Refused), "it is handed on");
        node.actor.send(RemovePeer(NodeId(1))).await.unwrap();
        let answer = peer.snapshot_offer(context::current(), offer()).await;
        assert_eq!(answer.unwrap(), Err(Refusal::UnknownNode));
    });
}

/// Has the node send a snapshot to node 1, of which it is never given a byte. What is told of it in the end.
fn send_snapshot_to_one(node: &Node) -> oneshot::Receiver<bool> {
    let (done, outcome) = oneshot::channel();
    node.handle.send_snapshot(Outgoing {
        to: NodeId(1),
        offer: offer(),
        read: Box::new(|_, _| oneshot::channel().1),
        done: Done::new(move |is_complete| {
            done.send(is_complete).ok();
        }),
    });
    outcome
}

/// Or its group would wait for ever, and send the peer none when it is back.
#[test]
fn who_sends_a_snapshot_is_told_that_the_peer_was_removed() {
    run(async {
        let node = node_two(quick().connect_deadline).await;
        let mut told = Vec::new();
        for _ in 0..3 {
            told.push(send_snapshot_to_one(&node));
        }
        node.actor.send(RemovePeer(NodeId(1))).await.unwrap();
        for outcome in told {
            assert_eq!(outcome.await, Ok(false));
        }
    });
}

/// It would else wait for who does not answer any more where it was.
#[test]
fn who_sends_a_snapshot_is_told_that_the_peer_moved() {
    run(async {
        let silent = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
        let mut config = tcp(2);
        config.limits.connect_deadline = Duration::from_secs(600);
        let peers = BTreeMap::from([(NodeId(1), silent.local_addr().unwrap().to_string())]);
        let node = start(bind(config).await.unwrap(), 2, &peers);
        let outcome = send_snapshot_to_one(&node);
        let mut connections = Vec::new();
        for _ in 0..3 {
            // Those of the lanes, and of the snapshot.
            connections.push(silent.accept().await.unwrap());
        }
        let nowhere = SetPeer(NodeId(1), "127.0.0.1:1".to_owned());
        node.actor.send(nowhere).await.unwrap();
        let told = tokio::time::timeout(Duration::from_secs(20), outcome).await;
        assert_eq!(told.expect("it waits for ever"), Ok(false));
    });
}

#[test]
fn a_damaged_or_misplaced_frame_is_refused_and_so_are_all_after_it() {
    run(async {
        let node = node_two(quick().connect_deadline).await;
        let frame = |seq, number| Frame::seal(seq, payload(&[from_one(&node, number)]));
        let damaged = {
            let mut damaged = postcard::to_allocvec(&frame(1, 8)).unwrap();
            *damaged.last_mut().unwrap() ^= 1;
            postcard::from_bytes::<Frame>(&damaged).unwrap()
        };
        let cases = [
            (damaged, Refusal::Checksum),
            (frame(2, 8), Refusal::Sequence(1)),
            (frame(0, 8), Refusal::Sequence(1)),
            (Frame::seal(1, Bytes::from_static(b"noise")), Refusal::Payload),
        ];
        for (bad, refusal) in cases {
            let before = node.inbox.len();
            let peer = caller(&node).await;
            peer.hello(context::current(), hello()).await.unwrap().unwrap();
            let answer = peer.deliver(context::current(), frame(0, 7)).await.unwrap();
            assert_eq!(answer, Ok(Receipt));
            let answer = peer.deliver(context::current(), bad).await.unwrap();
            assert_eq!(answer, Err(refusal));
            let answer = peer.deliver(context::current(), frame(1, 8)).await.unwrap();
            assert_eq!(answer, Err(Refusal::NoHello));
            assert_eq!(node.inbox.len(), before + 1);
        }
    });
}

#[test]
fn a_newer_connection_ends_the_older_one_of_its_lane() {
    run(async {
        let node = node_two(quick().connect_deadline).await;
        let frame = |seq, number| Frame::seal(seq, payload(&[from_one(&node, number)]));
        let heartbeats = Hello {
            lane: Lane::Heartbeat,
            ..hello()
        };
        let [other, older, newer] = [caller(&node).await, caller(&node).await, caller(&node).await];
        other.hello(context::current(), heartbeats).await.unwrap().unwrap();
        older.hello(context::current(), hello()).await.unwrap().unwrap();
        newer.hello(context::current(), hello()).await.unwrap().unwrap();
        assert!(older.deliver(context::current(), frame(0, 1)).await.is_err());
        let urgent = Message {
            from: NodeId(1),
            ..heartbeat(&node, &node, 2)
        };
        for (peer, frame) in [(&newer, frame(0, 2)), (&other, Frame::seal(0, payload(&[urgent])))] {
            let answer = peer.deliver(context::current(), frame).await.unwrap();
            assert_eq!(answer, Ok(Receipt));
        }
        assert_eq!(numbers(&node.inbox.from(NodeId(1))), [2, 2]);
    });
}

#[test]
fn misaddressed_messages_are_dropped_alone() {
    run(async {
        let node = node_two(quick().connect_deadline).await;
        let peer = caller(&node).await;
        peer.hello(context::current(), hello()).await.unwrap().unwrap();
        let good = from_one(&node, 1);
        let messages = [
            Message {
                from: NodeId(3),
                ..good.clone()
            },
            good.clone(),
            Message {
                to: NodeId(3),
                ..good.clone()
            },
        ];
        let frame = Frame::seal(0, payload(&messages));
        let answer = peer.deliver(context::current(), frame).await.unwrap();
        assert_eq!(answer, Ok(Receipt));
        assert_eq!(node.inbox.from(NodeId(1)), [good]);
        let counts = node.handle.counts();
        assert_eq!((counts.messages_received, counts.messages_misaddressed), (3, 2));
    });
}

#[test]
fn who_says_no_hello_is_closed() {
    run(async {
        let node = node_two(Duration::from_millis(50)).await;
        let mut silent = TcpNetwork.connect(node.id, &node.address).await.unwrap();
        let mut byte = [0];
        let closed = tokio::time::timeout(Duration::from_secs(20), silent.read(&mut byte));
        assert_eq!(closed.await.expect("never closed").unwrap_or(0), 0);

        wait_until("it is counted", || node.handle.counts().handshakes_refused.late >= 1).await;

        let strange = Hello { from: 3, ..hello() };
        let deadline = Instant::now() + Duration::from_secs(20);
        let refused = loop {
            let caller = caller(&node).await;
            // One that is late itself is closed unanswered.
            if let Ok(answer) = caller.hello(context::current(), strange.clone()).await {
                assert_eq!(answer, Err(Refusal::UnknownNode));
                break caller;
            }
            assert!(Instant::now() < deadline, "never answered");
        };
        while refused.hello(context::current(), strange.clone()).await.is_ok() {
            assert!(Instant::now() < deadline, "never closed");
        }
    });
}

#[test]
fn callers_without_a_hello_keep_no_peer_out() {
    run(async {
        let crowded = |node| {
            let mut config = tcp(node);
            config.limits.connections_max = 8;
            // Longer than the test.
            config.limits.connect_deadline = Duration::from_secs(600);
            config
        };
        let one = bind(crowded(1)).await.unwrap();
        let two = bind(crowded(2)).await.unwrap();
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpNetwork.connect(NodeId(2), two.address()).await.unwrap());
        }
        let peers = BTreeMap::from([
            (NodeId(1), one.address().to_owned()),
            (NodeId(2), two.address().to_owned()),
        ]);
        let (one, two) = (start(one, 1, &peers), start(two, 2, &peers));
        connected(&one, &two).await;
        // Those who were welcomed stay.
        for _ in 0..20 {
            silent.push(TcpNetwork.connect(NodeId(2), &two.address).await.unwrap());
        }
        let mut byte = [0];
        let ended = tokio::time::timeout(Duration::from_secs(20), silent[30].read(&mut byte));
        assert_eq!(ended.await.expect("never closed").unwrap_or(0), 0);
        let last = append(&one, &two, 7, 16);
        one.handle.send(std::slice::from_ref(&last));
        wait_until("the peers talk on", || two.inbox.has(&last)).await;
        assert_eq!((one.handle.counts().reconnects, two.handle.counts().reconnects), (0, 0));
    });
}

#[test]
fn a_long_call_before_the_hello_ends_the_connection() {
    run(async {
        let node = node_two(Duration::from_secs(600)).await;
        let mut caller = TcpNetwork.connect(node.id, &node.address).await.unwrap();
        caller.write_all(&(16_u32 << 20).to_be_bytes()).await.unwrap();
        let mut byte = [0];
        let ended = tokio::time::timeout(Duration::from_secs(20), caller.read(&mut byte));
        assert_eq!(ended.await.expect("never closed").unwrap_or(0), 0);
    });
}

#[test]
fn garbage_does_not_end_the_accept_loop() {
    run(async {
        let nodes = cluster(vec![tcp(1), tcp(2)]).await;
        let garbage: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\n\r\n",
            &[0xff; 64],
            &[0; 64],
            // A call of the right length and wrong content.
            &[0, 0, 0, 4, 9, 9, 9, 9],
        ];
        for bytes in garbage {
            let mut stream = TcpNetwork.connect(nodes[1].id, &nodes[1].address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            // Closed at once, or when the time for a hello is over: not waited for.
            drop(stream);
        }
        connected(&nodes[0], &nodes[1]).await;
        let refused = || nodes[1].handle.counts().handshakes_refused;
        wait_until("each is counted", || refused().other == garbage.len() as u64).await;
    });
}

#[test]
fn a_node_of_another_cluster_disturbs_nobody() {
    run(async {
        let mut stranger = tcp(3);
        stranger.cluster = "other".to_owned();
        let nodes = cluster(vec![tcp(1), tcp(2), stranger]).await;
        connected(&nodes[0], &nodes[1]).await;
        for number in 0..50 {
            let [one, two, three] = [&nodes[0], &nodes[1], &nodes[2]];
            three
                .handle
                .send(&[heartbeat(three, one, number), append(three, one, number, 16)]);
            one.handle
                .send(&[heartbeat(one, three, number), heartbeat(one, two, number)]);
            let arrived = heartbeat(one, two, number);
            wait_until("members talk on", || two.inbox.has(&arrived)).await;
        }
        assert_eq!(nodes[2].inbox.len(), 0);
        assert!(nodes[0].inbox.from(NodeId(3)).is_empty());
        assert_eq!(nodes[2].handle.counts().messages_sent, 0);
    });
}
