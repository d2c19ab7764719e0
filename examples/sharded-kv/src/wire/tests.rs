#![allow(clippy::unwrap_used, clippy::panic)]

use futures::FutureExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

/// Far more than the sockets' buffers take.
const LENGTH: usize = 2 * 1024 * 1024;

/// Longer than any thread is late.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection whose both ends have small buffers.
async fn pair() -> (Wire, TcpStream) {
    let small = || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(32 * 1024).unwrap();
        socket.set_send_buffer_size(32 * 1024).unwrap();
        socket
    };
    let server = small();
    server.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = server.listen(1).unwrap();
    let client = small().connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    (Wire::new(Stream::Plain(accepted.unwrap().0)), client.unwrap())
}

#[tokio::test]
async fn a_client_that_sends_before_it_reads_does_not_block() {
    let (mut wire, mut client) = pair().await;
    wire.output.resize(LENGTH, b'r');
    let talk = async {
        client.write_all(&vec![b'c'; LENGTH]).await.unwrap();
        let mut replies = vec![0; LENGTH];
        client.read_exact(&mut replies).await.unwrap();
        replies
    };
    let both = async { tokio::join!(wire.flush(), talk) };
    let (flushed, replies) = timeout(PATIENCE, both).await.unwrap();
    flushed.unwrap();
    assert!(replies.iter().all(|byte| *byte == b'r'));
    while wire.input.len() < LENGTH {
        assert!(wire.receive().await.unwrap());
    }
    assert!(wire.input.iter().all(|byte| *byte == b'c'));
}

#[tokio::test]
async fn what_was_read_ahead_is_received_next() {
    let (mut wire, mut client) = pair().await;
    wire.output.resize(LENGTH, b'r');
    let talk = async {
        client.write_all(b"PING\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        client.read_exact(&mut vec![0; LENGTH]).await.unwrap();
    };
    let (flushed, ()) = tokio::join!(wire.flush(), talk);
    flushed.unwrap();
    assert!(wire.receive().await.unwrap());
    assert_eq!(wire.input.as_ref(), b"PING\r\n");
    assert!(!wire.receive().await.unwrap());
}

#[tokio::test]
async fn a_client_that_half_closes_still_gets_its_replies() {
    let (mut wire, mut client) = pair().await;
    client.write_all(b"PING\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    assert!(wire.receive().await.unwrap());
    assert!(!wire.receive().await.unwrap());
    wire.output.extend_from_slice(b"+PONG\r\n");
    wire.close().await.unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply, b"+PONG\r\n");
}

#[tokio::test]
async fn a_client_that_still_sends_gets_the_last_reply() {
    let (mut wire, mut client) = pair().await;
    wire.linger = PATIENCE;
    wire.output.extend_from_slice(b"-ERR\r\n");
    let talk = async {
        client.write_all(&vec![b'c'; LENGTH]).await.unwrap();
        let mut reply = [0; 6];
        client.read_exact(&mut reply).await.unwrap();
        drop(client);
        reply
    };
    let (closed, reply) = tokio::join!(wire.close(), talk);
    closed.unwrap();
    assert_eq!(&reply, b"-ERR\r\n");
}

/// Without waiting at all: a node that is asked to end hands over what it leads only after its connections have ended, however
/// many of them nobody uses.
#[tokio::test]
async fn a_client_that_has_nothing_to_lose_is_not_waited_for() {
    let (wire, _silent) = pair().await;
    assert!(wire.close().now_or_never().is_some());

    let (mut wire, mut client) = pair().await;
    wire.output.extend_from_slice(b"+PONG\r\n");
    wire.flush().await.unwrap();
    client.read_exact(&mut [0; 7]).await.unwrap();
    wire.linger = Duration::ZERO;
    assert!(wire.close().now_or_never().is_some());
}

#[tokio::test]
async fn a_client_that_was_sent_something_lately_or_still_sends_is_waited_for() {
    let (mut wire, _client) = pair().await;
    // Lately, however late this thread is.
    wire.linger = PATIENCE;
    wire.output.extend_from_slice(b"+PONG\r\n");
    wire.flush().await.unwrap();
    assert!(wire.close().now_or_never().is_none());

    let (wire, mut client) = pair().await;
    client.write_all(b"PING\r\n").await.unwrap();
    let start = Instant::now();
    // It waits for nothing that would tell it of the input.
    while !wire.has_unread() {
        assert!(start.elapsed() < PATIENCE, "it never comes");
        std::thread::yield_now();
    }
    assert!(wire.close().now_or_never().is_none());
}

#[tokio::test]
async fn a_buffer_that_grew_is_given_back() {
    let (mut wire, mut client) = pair().await;
    wire.output.resize(LENGTH, b'r');
    let mut replies = vec![0; LENGTH];
    let (flushed, read) = tokio::join!(wire.flush(), client.read_exact(&mut replies));
    flushed.unwrap();
    read.unwrap();
    assert_eq!(wire.output.capacity(), 0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_left() {
    let (mut wire, mut client) = pair().await;
    wire.take_within = Duration::from_millis(20);
    wire.output.resize(LENGTH, b'r');
    // It goes on sending, which is no excuse.
    let chatter = async {
        loop {
            client.write_all(b"PING\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let flushed = tokio::select! {
        flushed = wire.flush() => flushed,
        () = chatter => unreachable!(),
    };
    assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn little_is_held_for_a_stranger() {
    let (mut wire, mut client) = pair().await;
    wire.set_strangers(true);
    wire.take_within = Duration::from_millis(200);
    wire.output.resize(LENGTH, b'r');
    let sent = vec![b'c'; LENGTH];
    let flushed = tokio::select! {
        flushed = wire.flush() => flushed,
        sent = client.write_all(&sent) => panic!("all was taken: {sent:?}"),
    };
    assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(wire.input.len() < 4 * STRANGERS_READ_AHEAD_BYTES_MAX);
}
