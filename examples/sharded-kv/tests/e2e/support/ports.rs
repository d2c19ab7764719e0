//! Ports for servers that a test starts.

use std::net::{TcpListener, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where servers listen: below the ports that the system gives to connections, one of which could otherwise hold a
/// server's port in the moment that it starts.
const FIRST: u16 = 10_000;
const END: u16 = 31_000;

/// Sockets that hold the ports that were given out, for as long as this process lives: on UDP, where they are in no
/// server's way but in that of the tests of another process.
static TAKEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Ports that no other test gets and nobody listens on.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_dev_port(1)).collect()
}

/// A `--port` for `dev` with `nodes` nodes: no other test gets any of the ports that follow from it.
pub(crate) fn free_dev_port(nodes: u16) -> u16 {
    for _ in FIRST..END {
        // Tests of another process most likely begin elsewhere.
        let start = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(NEXT.fetch_add(nodes.into(), Ordering::Relaxed));
        let port = FIRST + u16::try_from(start % u32::from(END - FIRST)).unwrap();
        let wanted = (0..nodes).flat_map(|node| [port + node, port + 1000 + node]);
        if let Some(sockets) = wanted.map(take).collect::<Option<Vec<_>>>() {
            TAKEN.lock().unwrap().extend(sockets);
            return port;
        }
    }
    panic!("no ports are free");
}

fn take(port: u16) -> Option<UdpSocket> {
    let taken = UdpSocket::bind(("127.0.0.1", port)).ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok()?;
    Some(taken)
}
