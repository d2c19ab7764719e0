//! What clients see of a node that is asked to end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::{ServerCluster, encode};

/// Bytes of a request, and of its reply.
const LENGTH: usize = 100_000;

const REQUESTS: usize = 300;

/// A client that takes its replies slowly.
fn slow(address: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    let address: std::net::SocketAddr = address.parse().unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// More requests than the node has received are on their way: unread they must not reset the connection, which would take
/// replies with it.
#[test]
fn what_was_received_is_answered_to_the_last_byte() {
    let mut cluster = ServerCluster::new(1, 1);
    cluster.start_all();
    let mut client = slow(&cluster.resp(1));
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut sender = client.try_clone().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let sends = {
        let is_over = is_over.clone();
        move || !is_over.load(Relaxed)
    };
    let sending = thread::spawn(move || {
        let request = encode(&["ECHO", &"x".repeat(LENGTH)]);
        // The node closes the connection at some time, and takes what still comes for a while.
        let mut requests = (0..REQUESTS).take_while(|_| sends());
        let sent = requests.try_for_each(|_| sender.write_all(&request));
        let _ = sent.and_then(|()| sender.shutdown(Shutdown::Write));
    });
    let reply = format!("${LENGTH}\r\n{}\r\n", "x".repeat(LENGTH)).into_bytes();
    let mut first = vec![0; reply.len()];
    client.read_exact(&mut first).unwrap();
    assert!(first == reply);
    let receiving = thread::spawn(move || {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).map(|_| rest)
    });
    is_over.store(true, Relaxed);
    assert_eq!(cluster.terminate(1).code(), Some(0));
    let rest = receiving.join().unwrap().expect("an end, not a reset");
    assert_eq!(rest.len() % reply.len(), 0, "the last reply is not whole");
    assert!(rest.chunks(reply.len()).all(|found| found == reply));
    sending.join().unwrap();
}
