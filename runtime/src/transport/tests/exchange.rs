//! What a node sends arrives, in order and in few frames.

use super::harness::{
    Node, append, cluster, config, connected, disk_of, heartbeat, numbers, quick, run, start, start_with, wait_until,
};
use crate::transport::wire::encoded_len;
use crate::transport::{
    MemoryNetwork, Network, NodeParcel, TcpNetwork, TransportActor, TransportConfig, TransportError, TransportLimits,
    bind,
};
use actix::Actor;
use raftyard_groups::{Message, NodeId, NodeIncarnation, NodeMessage};
use std::collections::BTreeMap;
use std::sync::Arc;

fn tcp(count: u64) -> Vec<TransportConfig> {
    let node = |node| config(node, Arc::new(TcpNetwork), "127.0.0.1:0");
    (1..=count).map(node).collect()
}

fn memory(count: u64) -> Vec<TransportConfig> {
    let network = MemoryNetwork::new();
    let node = |node| config(node, network.node(NodeId(node)), "node:0");
    (1..=count).map(node).collect()
}

/// Numbered messages of 48 groups on both lanes, in batches that mix peers and lanes as a worker does.
async fn all_arrive_in_order(nodes: &[Node]) {
    const COUNT: u64 = 2000;
    for batch in (0..COUNT).collect::<Vec<_>>().chunks(64) {
        for from in nodes {
            let mut messages = Vec::new();
            for number in batch {
                for to in nodes.iter().filter(|to| to.id != from.id) {
                    messages.push(heartbeat(from, to, *number));
                    messages.push(append(from, to, *number, 16));
                }
            }
            from.handle.send(&messages);
        }
    }
    let is_heartbeat = |m: &Message| crate::transport::lane::Lane::of(m) == crate::transport::lane::Lane::Heartbeat;
    for to in nodes {
        for from in nodes.iter().filter(|from| from.id != to.id) {
            wait_until("all messages arrive", || {
                numbers(&to.inbox.from(from.id)).len() as u64 >= 2 * COUNT
            })
            .await;
            let received = to.inbox.from(from.id);
            let (heartbeats, appends): (Vec<_>, Vec<_>) = received.into_iter().partition(is_heartbeat);
            assert!(numbers(&heartbeats).into_iter().eq(0..COUNT));
            assert!(numbers(&appends).into_iter().eq(0..COUNT));
            let expected = append(from, to, COUNT - 1, 16);
            assert_eq!(appends.last(), Some(&expected), "unchanged");
        }
    }
    for node in nodes {
        let counts = node.handle.counts();
        let frames = counts.frames_received;
        let messages = counts.messages_received;
        assert!(frames * 8 < messages, "{frames} frames for {messages} messages");
        assert!(counts.bytes_sent > COUNT * 16);
        assert_eq!(counts.reconnects, 0);
        node.stop().await;
    }
}

#[test]
fn over_tcp() {
    run(async {
        let nodes = cluster(tcp(2)).await;
        connected(&nodes[0], &nodes[1]).await;
        all_arrive_in_order(&nodes).await;
    });
}

#[test]
fn over_memory_between_three() {
    run(async {
        let nodes = cluster(memory(3)).await;
        connected(&nodes[0], &nodes[1]).await;
        connected(&nodes[1], &nodes[2]).await;
        connected(&nodes[2], &nodes[0]).await;
        all_arrive_in_order(&nodes).await;
    });
}

/// As a node runs it: bound and started on an arbiter of its own, from whatever thread.
#[test]
fn on_an_arbiter_of_its_own() {
    run(async {
        let arbiter = actix_rt::Arbiter::new();
        let (bound_tx, bound_rx) = tokio::sync::oneshot::channel();
        let config = tcp(1).remove(0);
        arbiter.spawn(async move {
            let _ = bound_tx.send(bind(config).await);
        });
        let bound = bound_rx.await.unwrap().unwrap();
        let other = bind(tcp(2).remove(1)).await.unwrap();
        let peers = BTreeMap::from([
            (NodeId(1), bound.address().to_owned()),
            (NodeId(2), other.address().to_owned()),
        ]);
        let far = start_with(bound, 1, disk_of(1), &peers, |actor| {
            TransportActor::start_in_arbiter(&arbiter.handle(), |_| actor)
        });
        let near = start(other, 2, &peers);
        connected(&far, &near).await;
        far.stop().await;
        arbiter.stop();
        arbiter.join().unwrap();
    });
}

/// Workers share an outbox: what each of them sends keeps its order.
#[test]
fn from_several_threads() {
    const THREADS: u64 = 4;
    const COUNT: u64 = 2000;
    run(async {
        let nodes = cluster(tcp(2)).await;
        let (a, b) = (&nodes[0], &nodes[1]);
        connected(a, b).await;
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let handle = a.handle.clone();
                let messages: Vec<_> = (0..COUNT)
                    .map(|number| append(a, b, number * THREADS + thread, 16))
                    .collect();
                std::thread::spawn(move || {
                    for batch in messages.chunks(7) {
                        handle.send(batch);
                    }
                })
            })
            .collect();
        let received = || numbers(&b.inbox.from(a.id));
        wait_until("all messages arrive", || received().len() as u64 >= THREADS * COUNT).await;
        for worker in workers {
            worker.join().unwrap();
        }
        for thread in 0..THREADS {
            let of_thread = received().into_iter().filter(|n| n % THREADS == thread);
            assert!(of_thread.eq((0..COUNT).map(|number| number * THREADS + thread)));
        }
    });
}

#[test]
fn the_largest_message_arrives_though_larger_than_the_outbox() {
    run(async {
        let limits = TransportLimits {
            outbox_bytes_max: 1 << 20,
            // Beyond the 8 MiB that length-delimited frames have by default.
            frame_bytes_max: 12 << 20,
            ..quick()
        };
        let mut configs = tcp(2);
        for config in &mut configs {
            config.limits = limits.clone();
        }
        let nodes = cluster(configs).await;
        connected(&nodes[0], &nodes[1]).await;
        // Others keep it full.
        let flood: Vec<_> = (0..2_000)
            .map(|number| append(&nodes[0], &nodes[1], number, 1_000))
            .collect();
        nodes[0].handle.send(&flood);
        let dropped = nodes[0].handle.counts().messages_dropped;
        assert!(dropped > 0);
        let of_size = |size| append(&nodes[0], &nodes[1], 1, size);
        let room = limits.message_bytes_max() - encoded_len(&of_size(0));
        let [largest, too_large] = [of_size(room), of_size(room + 1)];
        nodes[0].handle.send(&[too_large, largest.clone()]);
        wait_until("the large message arrives", || nodes[1].inbox.has(&largest)).await;
        assert_eq!(nodes[0].handle.counts().messages_dropped, dropped + 1);
    });
}

#[test]
fn a_restarted_peer_is_found_again() {
    run(async {
        let configs = tcp(2);
        let mut again = configs[1].clone();
        let nodes = cluster(configs).await;
        connected(&nodes[0], &nodes[1]).await;
        nodes[1].stop().await;
        // Noticed or not, what is sent meanwhile harms nothing.
        nodes[0].handle.send(&[append(&nodes[0], &nodes[1], 1, 16)]);

        again.listen = nodes[1].address.clone();
        let peers = nodes.iter().map(|n| (n.id, n.address.clone())).collect();
        let restarted = start(bind(again).await.unwrap(), 2, &peers);
        connected(&nodes[0], &restarted).await;
        assert_eq!(nodes[0].handle.counts().reconnects, 2, "one per lane");
    });
}

#[test]
fn a_stopped_transport_has_closed_its_port() {
    run(async {
        let nodes = cluster(tcp(2)).await;
        connected(&nodes[0], &nodes[1]).await;
        let address = nodes[0].address.clone();
        nodes[0].stop().await;
        assert!(TcpNetwork.connect(NodeId(1), &address).await.is_err());
        assert!(nodes[0].actor.send(crate::transport::Stop).await.is_err());
    });
}

#[test]
fn an_address_in_use_is_named() {
    run(async {
        let taken = TcpNetwork.bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_address().unwrap();
        for (network, listen) in [
            (Arc::new(TcpNetwork) as Arc<dyn Network>, address.as_str()),
            (Arc::new(TcpNetwork), "nowhere.invalid:7000"),
        ] {
            let Err(error) = bind(config(1, network, listen)).await else {
                panic!("bound to {listen}");
            };
            assert!(error.to_string().contains(listen), "{error}");
        }
        let memory = MemoryNetwork::new();
        let (one, two) = (memory.node(NodeId(1)), memory.node(NodeId(2)));
        let bound = one.bind("here").await.unwrap();
        assert!(two.bind("here").await.is_err());
        drop(bound);
        assert!(two.bind("here").await.is_ok());
    });
}

#[test]
fn limits_that_can_not_be_are_named() {
    run(async {
        let mut config = config(1, Arc::new(TcpNetwork), "127.0.0.1:0");
        config.limits.window_calls = 0;
        let Err(TransportError::Limit { field, .. }) = bind(config).await else {
            panic!("bound without a window");
        };
        assert_eq!(field, "window_calls");
    });
}

#[test]
fn messages_to_nobody_are_counted() {
    run(async {
        let network = MemoryNetwork::new();
        let config = config(1, network.node(NodeId(1)), "node:0");
        let me = start(bind(config).await.unwrap(), 1, &BTreeMap::new());
        me.handle.send(&[heartbeat(&me, &me, 1), append(&me, &me, 2, 1)]);
        assert_eq!(me.handle.counts().messages_dropped, 2);
    });
}

#[test]
fn what_nodes_say_to_each_other_arrives_in_order_and_under_the_name_of_who_said_it() {
    run(async {
        let nodes = cluster(memory(2)).await;
        let [one, two] = &nodes[..] else { panic!("two nodes") };
        connected(one, two).await;
        let says = |seq| NodeMessage::Heartbeat {
            incarnation: NodeIncarnation::default(),
            seq,
            newest_reply: None,
        };
        let send = |from: &Node, message| {
            let (from, to) = (from.id, two.id);
            one.handle.send_node(&NodeParcel { from, to, message });
        };
        (0..3).for_each(|seq| send(one, says(seq)));
        send(two, says(3));
        send(one, says(4));
        wait_until("all arrive", || two.inbox.between_nodes.lock().len() == 4).await;
        let received = two.inbox.between_nodes.lock().clone();
        assert_eq!(received, [0, 1, 2, 4].map(|seq| (one.id, says(seq))));
        let (sent, counts) = (one.handle.counts(), two.handle.counts());
        assert_eq!((sent.node_messages_sent, counts.messages_misaddressed), (5, 1));
        for node in &nodes {
            node.stop().await;
        }
    });
}
