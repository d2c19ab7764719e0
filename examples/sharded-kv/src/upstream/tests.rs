#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::replies::{NodeReplies, Replies};

const PATIENT: Patience = Patience {
    connect: Duration::from_secs(20),
    silence: Duration::from_secs(20),
};

fn words(line: &str) -> Vec<Bytes> {
    line.split(' ')
        .map(|word| Bytes::copy_from_slice(word.as_bytes()))
        .collect()
}

impl Upstream {
    /// Asks as one who is told next.
    fn ask(&self, arguments: Vec<Bytes>) -> impl Future<Output = Forwarded> + Send + use<> {
        self.send(arguments, Arc::new(Replies::new(Arc::default())).next_room())
    }
}

/// Another node, played by the test.
struct Peer {
    socket: BufReader<TcpStream>,
}

impl Peer {
    /// Listens, lets `patience` run a connection to it, and answers its introduction with `welcome`.
    async fn open(patience: Patience, welcome: &str) -> (Upstream, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let upstream = Upstream::open(Arc::default(), address, patience);
        let socket = BufReader::new(listener.accept().await.unwrap().0);
        let mut peer = Self { socket };
        assert_eq!(peer.line().await, "HELLO 3");
        assert_eq!(peer.line().await, "RAFTYARD DIRECT");
        peer.say(welcome).await;
        (upstream, peer)
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.socket.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// The next command of `count` words, which are short.
    async fn command(&mut self, count: usize) -> String {
        assert_eq!(self.line().await, format!("*{count}"));
        let mut words = Vec::new();
        for _ in 0..count {
            self.line().await;
            words.push(self.line().await);
        }
        words.join(" ")
    }

    async fn say(&mut self, text: &str) {
        self.socket.get_mut().write_all(text.as_bytes()).await.unwrap();
    }
}

const WELCOME: &str = "%1\r\n+proto\r\n:3\r\n+OK\r\n";

fn bulk(outcome: Forwarded) -> String {
    match outcome {
        Forwarded::Answered(Reply::Bulk(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_command_gets_its_own_reply() {
    let (upstream, mut peer) = Peer::open(PATIENT, WELCOME).await;
    let mut outcomes: Vec<_> = (0..100).map(|n| upstream.ask(words(&format!("GET {n}")))).collect();
    // Nobody waits for these any more: their replies must not reach anybody else.
    drop(outcomes.drain(10..20));
    for number in 0..100 {
        assert_eq!(peer.command(2).await, format!("GET {number}"));
        peer.say(&format!("${}\r\n{number}\r\n", number.to_string().len()))
            .await;
    }
    let found: Vec<String> = join_all(outcomes).await.into_iter().map(bulk).collect();
    let expected: Vec<String> = (0..10).chain(20..100).map(|n| n.to_string()).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_was_sent_when_the_connection_broke_is_lost() {
    let (upstream, mut peer) = Peer::open(PATIENT, WELCOME).await;
    let outcomes: Vec<_> = (0..3).map(|n| upstream.ask(words(&format!("INCR {n}")))).collect();
    for number in 0..3 {
        assert_eq!(peer.command(2).await, format!("INCR {number}"));
    }
    peer.say(":1\r\n:").await;
    drop(peer);
    let outcomes = join_all(outcomes).await;
    assert!(
        matches!(
            &outcomes[..],
            [Forwarded::Answered(Reply::Integer(1)), Forwarded::Lost, Forwarded::Lost]
        ),
        "{outcomes:?}"
    );
    let later = upstream.ask(words("GET k")).await;
    assert!(matches!(later, Forwarded::NotSent), "{later:?}");
    assert!(upstream.has_ended());
}

#[tokio::test]
async fn a_silent_node_is_given_up() {
    let patience = Patience {
        silence: Duration::from_millis(50),
        ..PATIENT
    };
    let (upstream, mut peer) = Peer::open(patience, WELCOME).await;
    let (first, second) = (upstream.ask(words("INCR a")), upstream.ask(words("INCR b")));
    peer.command(2).await;
    assert!(matches!(first.await, Forwarded::Lost));
    assert!(matches!(second.await, Forwarded::Lost));
}

#[tokio::test]
async fn nothing_is_sent_without_a_welcome() {
    // Nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: HostPort = listener.local_addr().unwrap().to_string().parse().unwrap();
    drop(listener);
    let outcome = Upstream::open(Arc::default(), address, PATIENT)
        .ask(words("INCR k"))
        .await;
    assert!(matches!(outcome, Forwarded::NotSent), "{outcome:?}");

    for welcome in [
        "-ERR max number of clients reached\r\n",
        "%0\r\n-ERR unknown command 'RAFTYARD'\r\n",
        "HTTP/1.1 400 Bad Request\r\n",
    ] {
        let (upstream, mut peer) = Peer::open(PATIENT, welcome).await;
        let outcome = upstream.ask(words("INCR k")).await;
        assert!(matches!(outcome, Forwarded::NotSent), "{welcome}: {outcome:?}");
        assert_eq!(peer.line().await, "");
    }

    // One that accepts and says nothing.
    let patience = Patience {
        connect: Duration::from_millis(50),
        ..PATIENT
    };
    let (upstream, _peer) = Peer::open(patience, "").await;
    let outcome = upstream.ask(words("INCR k")).await;
    assert!(matches!(outcome, Forwarded::NotSent), "{outcome:?}");
}

#[tokio::test]
async fn what_is_no_reply_ends_the_connection() {
    let (upstream, mut peer) = Peer::open(PATIENT, WELCOME).await;
    let (first, second) = (upstream.ask(words("GET a")), upstream.ask(words("GET b")));
    peer.command(2).await;
    peer.command(2).await;
    peer.say("?\r\n").await;
    let first = first.await;
    assert!(
        matches!(first, Forwarded::Unreadable(ReplyError::Kind(b'?'))),
        "{first:?}"
    );
    assert!(matches!(second.await, Forwarded::Lost));

    // A reply that nobody asked for can't become the reply to the next command.
    let (upstream, mut peer) = Peer::open(PATIENT, WELCOME).await;
    peer.say("+OK\r\n").await;
    assert_eq!(peer.line().await, "", "it is closed");
    assert!(matches!(upstream.ask(words("GET a")).await, Forwarded::NotSent));
}

#[tokio::test]
async fn replies_that_nobody_takes_are_not_received_without_end() {
    let (upstream, mut peer) = Peer::open(PATIENT, WELCOME).await;
    let count = 64;
    let outcomes: Vec<_> = (0..count).map(|_| upstream.ask(words("GET k"))).collect();
    for _ in 0..count {
        peer.command(2).await;
    }
    // 64 MiB of them: far more than the buffers of both sides hold.
    let length = 1024 * 1024;
    let reply = format!("${length}\r\n{}\r\n", "v".repeat(length));
    let all = async {
        for _ in 0..count {
            peer.say(&reply).await;
        }
    };
    let mut all = std::pin::pin!(all);
    assert!(timeout(Duration::from_millis(500), &mut all).await.is_err());
    let take = async {
        for outcome in outcomes {
            assert_eq!(bulk(outcome.await).len(), length);
        }
    };
    tokio::join!(all, take);
}

#[tokio::test]
async fn replies_of_another_node_are_counted_until_they_are_taken() {
    let (upstream, mut peer) = Peer::open(PATIENT, WELCOME).await;
    let node = Arc::new(NodeReplies::default());
    let replies = Arc::new(Replies::new(Arc::clone(&node)));
    let ask = || upstream.send(words("MGET k"), replies.room(0, false).unwrap());
    let outcomes = [ask(), ask()];
    let value = format!("${0}\r\n{1}\r\n", 4 << 20, "v".repeat(4 << 20));
    let reply = format!("*5\r\n{}", value.repeat(5));
    for _ in &outcomes {
        peer.command(2).await;
        peer.say(&reply).await;
    }
    // One was delivered, the other one waits for its place.
    let counted = async {
        while node.bytes() < 40 << 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), counted).await.unwrap();
    assert!(replies.is_full(), "nothing more is begun");
    for outcome in outcomes {
        assert!(matches!(outcome.await, Forwarded::Answered(Reply::Array(_))));
    }
    assert_eq!(node.bytes(), 0);
}

/// Otherwise clients would take the descriptors that the log needs.
#[tokio::test]
async fn one_connection_too_many_is_not_made() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: HostPort = listener.local_addr().unwrap().to_string().parse().unwrap();
    let dial = Arc::new(Dial {
        connections_left: Some(Arc::new(Semaphore::new(1))),
        ..Dial::default()
    });
    let open = || Upstream::open(Arc::clone(&dial), address.clone(), PATIENT);
    let first = open();
    let _taken = listener.accept().await.unwrap();
    let second = open();
    tokio::select! {
        _ = listener.accept() => panic!("it was made"),
        outcome = second.ask(words("GET k")) => assert!(matches!(outcome, Forwarded::NotSent), "{outcome:?}"),
    }
    drop(first);
    let connected = async {
        loop {
            let upstream = open();
            tokio::select! {
                _ = listener.accept() => return,
                _ = upstream.ask(words("GET k")) => {}
            }
        }
    };
    timeout(Duration::from_secs(20), connected).await.unwrap();
}
