//! Partitions, breaking and clogged connections, absent peers.

use super::harness::{
    Random, append, cluster, config, connected, heartbeat, numbers, quick, run, seed, start, wait_until,
};
use crate::transport::lane::Lane;
use crate::transport::{ByteStream, Listener, MemoryNetwork, Network, NetworkFuture, TransportLimits, bind};
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What becomes of a connection, for the end that connects, after so many written bytes; or how long they take.
#[derive(Clone, Copy)]
enum Fate {
    Clogs { after: usize },
    Breaks { after: usize },
    Crawls { bytes_per_second: usize },
}

/// Bytes that a connection which crawls takes at a time.
const STEP_BYTES: usize = 16 << 10;

/// A memory network on which connections meet a fate.
struct FatefulNetwork<F> {
    inner: Arc<dyn Network>,
    fate: F,
}

impl<F: Fn() -> Fate + Send + Sync + 'static> Network for FatefulNetwork<F> {
    fn bind<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, Box<dyn Listener>> {
        self.inner.bind(address)
    }

    fn connect<'a>(&'a self, peer: NodeId, address: &'a str) -> NetworkFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            let inner = self.inner.connect(peer, address).await?;
            let fate = (self.fate)();
            let stream = FatefulStream {
                inner,
                fate,
                written: 0,
                pause: None,
            };
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

struct FatefulStream {
    inner: Box<dyn ByteStream>,
    fate: Fate,
    written: usize,
    /// Until the next bytes are taken.
    pause: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for FatefulStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for FatefulStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let left = match self.fate {
            Fate::Clogs { after } | Fate::Breaks { after } => after.saturating_sub(self.written),
            Fate::Crawls { .. } => STEP_BYTES,
        };
        if left == 0 {
            return match self.fate {
                Fate::Breaks { .. } => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                _ => Poll::Pending,
            };
        }
        let part = &buf[..left.min(buf.len())];
        let written = Pin::new(&mut self.inner).poll_write(cx, part);
        if let Poll::Ready(Ok(count)) = &written {
            self.written += count;
            if let Fate::Crawls { bytes_per_second } = self.fate {
                let seconds = *count as f64 / bytes_per_second as f64;
                self.pause = Some(Box::pin(sleep(Duration::from_secs_f64(seconds))));
            }
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[test]
fn heartbeats_pass_a_clogged_data_lane() {
    run(async {
        let network = MemoryNetwork::new();
        let clogged = FatefulNetwork {
            inner: network.node(NodeId(1)),
            fate: || Fate::Clogs { after: 64 << 10 },
        };
        let nodes = cluster(vec![
            config(1, Arc::new(clogged), "node:0"),
            config(2, network.node(NodeId(2)), "node:0"),
        ])
        .await;
        let (a, b) = (&nodes[0], &nodes[1]);
        connected(a, b).await;
        let bulk: Vec<_> = (0..64).map(|n| append(a, b, n, 16 << 10)).collect();
        a.handle.send(&bulk);
        // Far fewer bytes than would clog their own connection.
        for number in 100..200 {
            let sign = heartbeat(a, b, number);
            a.handle.send(std::slice::from_ref(&sign));
            wait_until("a heartbeat arrives", || b.inbox.has(&sign)).await;
        }
        let (data, _): (Vec<_>, Vec<_>) = b
            .inbox
            .from(a.id)
            .into_iter()
            .partition(|message| Lane::of(message) == Lane::Data);
        assert!(numbers(&data).len() < bulk.len(), "the data lane was not clogged");
    });
}

/// It takes longer than the deadline, and than any promise holds. All the while it is seen to move.
#[test]
fn a_large_message_arrives_over_a_slow_link() {
    run(async {
        tokio::time::pause();
        let network = MemoryNetwork::new();
        let slow = FatefulNetwork {
            inner: network.node(NodeId(1)),
            fate: || Fate::Crawls {
                bytes_per_second: 1 << 20,
            },
        };
        let mut configs = vec![
            config(1, Arc::new(slow), "node:0"),
            config(2, network.node(NodeId(2)), "node:0"),
        ];
        for config in &mut configs {
            config.limits.call_deadline = Duration::from_secs(5);
        }
        let nodes = cluster(configs).await;
        let (a, b) = (&nodes[0], &nodes[1]);
        connected(a, b).await;
        let large = append(a, b, 1, 8 << 20);
        a.handle.send(std::slice::from_ref(&large));
        let (mut moved, mut still_ms, mut ticks) = (0, 0, 0);
        while !b.inbox.has(&large) {
            a.handle.send(&[heartbeat(a, b, ticks)]);
            sleep(Duration::from_millis(100)).await;
            let flow = a.handle.data_flows()[&b.id];
            still_ms = if flow.owes && flow.moved == moved {
                still_ms + 100
            } else {
                0
            };
            moved = flow.moved;
            assert!(still_ms < 300, "it seems to stand still");
            ticks += 1;
            assert!(ticks < 200, "it does not arrive");
        }
        assert!(ticks >= 70, "the link was not slow");
        let received = b.inbox.from(a.id);
        let heartbeats = received.iter().filter(|m| Lane::of(m) == Lane::Heartbeat).count();
        assert!(heartbeats as u64 >= ticks, "{heartbeats} of {ticks} heartbeats");
        assert_eq!((a.handle.counts().reconnects, b.handle.counts().reconnects), (0, 0));
    });
}

/// At most once, in order, whatever breaks: a frame that was cut short is not delivered in part, and none
/// comes twice.
#[test]
fn breaking_connections_lose_messages_but_keep_their_order() {
    let random = Mutex::new(Random::new(seed()));
    run(async {
        let network = MemoryNetwork::new();
        let breaking = FatefulNetwork {
            inner: network.node(NodeId(1)),
            fate: move || Fate::Breaks {
                after: 200 + random.lock().below(40_000),
            },
        };
        let nodes = cluster(vec![
            config(1, Arc::new(breaking), "node:0"),
            config(2, network.node(NodeId(2)), "node:0"),
        ])
        .await;
        let (a, b) = (&nodes[0], &nodes[1]);
        let sent = AtomicUsize::new(0);
        wait_until("connections broke often and messages came through after", || {
            for _ in 0..20 {
                let number = sent.fetch_add(1, Relaxed) as u64;
                a.handle.send(&[append(a, b, number, 100)]);
            }
            a.handle.counts().reconnects >= 10 && b.inbox.len() >= 1000
        })
        .await;
        let received = numbers(&b.inbox.from(a.id));
        assert!(received.is_sorted_by(|a, b| a < b));
    });
}

#[test]
fn a_cut_link_is_noticed_by_the_deadline_and_heals() {
    for one_way in [false, true] {
        run(async {
            let network = MemoryNetwork::new();
            let nodes = cluster(
                (1..=3)
                    .map(|node| {
                        let mut config = config(node, network.node(NodeId(node)), "node:0");
                        config.limits.call_deadline = Duration::from_millis(50);
                        config.limits.connect_deadline = Duration::from_millis(50);
                        config
                    })
                    .collect(),
            )
            .await;
            let (a, b, c) = (&nodes[0], &nodes[1], &nodes[2]);
            connected(a, b).await;
            connected(a, c).await;
            if one_way {
                network.cut_one_way(a.id, b.id);
            } else {
                network.cut(a.id, b.id);
            }
            let cut_off = heartbeat(a, b, 1);
            a.handle.send(std::slice::from_ref(&cut_off));
            let dropped = a.handle.counts().messages_dropped;
            wait_until("a notices: heartbeats are dropped", || {
                a.handle.send(&[heartbeat(a, b, 2)]);
                a.handle.counts().messages_dropped > dropped
            })
            .await;
            assert!(!b.inbox.has(&cut_off));
            let other = heartbeat(a, c, 3);
            wait_until("another peer is not affected", || {
                a.handle.send(std::slice::from_ref(&other));
                c.inbox.has(&other)
            })
            .await;

            network.heal(a.id, b.id);
            let healed = heartbeat(a, b, 4);
            wait_until("messages pass again", || {
                a.handle.send(std::slice::from_ref(&healed));
                b.inbox.has(&healed)
            })
            .await;
        });
    }
}

#[test]
fn what_waits_for_an_absent_peer_is_bounded_and_what_is_dropped_counted() {
    run(async {
        let network = MemoryNetwork::new();
        let mut config = config(1, network.node(NodeId(1)), "node:0");
        config.limits = TransportLimits {
            outbox_bytes_max: 64 << 10,
            // The first failed attempt is the only one.
            backoff_min: Duration::from_secs(600),
            backoff_max: Duration::from_secs(600),
            ..quick()
        };
        let absent = NodeId(2);
        let peers = [(absent, "nobody".to_owned())].into();
        let a = start(bind(config).await.unwrap(), 1, &peers);
        let b = a.stand_in(absent);
        let waiting = || a.handle.outbox(absent, Lane::Data).bytes();
        for number in 0..1000 {
            a.handle
                .send(&[append(&a, &b, number, 1000), heartbeat(&a, &b, number)]);
            assert!(waiting() <= 64 << 10);
            if number == 10 {
                // Lets the attempt fail, at which what waits is dropped.
                wait_until("the attempt fails", || waiting() == 0).await;
            }
        }
        assert!(waiting() > 32 << 10);
        let kept = waiting() / 1000;
        let dropped = a.handle.counts().messages_dropped;
        assert!(dropped >= 2000 - kept as u64, "{dropped} dropped, {kept} kept");
        assert_eq!(a.handle.counts().messages_sent, 0);
        a.stop().await;
        assert_eq!(waiting(), 0);
    });
}
