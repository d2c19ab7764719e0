//! Accepts client connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::connection;
use crate::node::Node;
use crate::stream::Stream;
use crate::tls::Acceptor;

/// How long to wait after an accept that failed for a reason that may last, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// As long as accepts fail, that is said once in such a time.
const ACCEPT_WARNING: Duration = Duration::from_secs(60);

/// How long connections have at the end to answer what they received.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long a client has to come to speak TLS and to say the password.
const STRANGER_FOR: Duration = Duration::from_secs(10);

/// A client of which nothing was heard for so long is asked whether it is there (as in Redis). Otherwise one that vanished
/// would take the room of another for ever.
const KEEPALIVE: Duration = Duration::from_secs(300);

/// A client that has still to prove who it is, until this is dropped.
pub(crate) struct Stranger {
    /// When that ends.
    pub(crate) until: Instant,
    _room: OwnedSemaphorePermit,
}

/// Serves clients on `listener`, over TLS if there is `tls`, until `stop` becomes true, then lets the connections finish what
/// they received.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Option<Acceptor>,
    node: Arc<Node>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let for_connections = stop.clone();
    let mut warned: Option<Instant> = None;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    // At once, not in a task of its own: however many come at a time, those that find no room hold no descriptors.
                    match admit(tls.is_some(), &node) {
                        Some(admitted) => {
                            let served = serve(socket, tls.clone(), admitted, Arc::clone(&node), for_connections.clone());
                            connections.spawn(served);
                        }
                        None => reject(&socket, tls.is_some(), &node),
                    }
                }
                Err(error) => {
                    if warned.is_none_or(|warned| warned.elapsed() >= ACCEPT_WARNING) {
                        warned = Some(Instant::now());
                        tracing::warn!(%error, "could not accept a client");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a client connection panicked");
                }
            }
            () = stopped(&mut stop) => break,
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, finish).await.is_err() {
        tracing::warn!(
            count = connections.len(),
            "closing clients that do not take their replies"
        );
        connections.shutdown().await;
    }
}

/// Returns once `stop` is true, or nobody is left to make it so.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // What it returns borrows the channel: it must not live on.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The room that a client takes, until this is dropped.
struct Admitted {
    _room: OwnedSemaphorePermit,
    stranger: Option<Stranger>,
}

/// Room for one more client, if there is any.
fn admit(is_tls: bool, node: &Node) -> Option<Admitted> {
    let room = node.clients().room()?;
    let stranger = if is_tls || node.clients().access().has_password() {
        Some(Stranger {
            until: Instant::now() + STRANGER_FOR,
            _room: node.clients().strangers_room()?,
        })
    } else {
        None
    };
    Some(Admitted { _room: room, stranger })
}

async fn serve(
    socket: TcpStream,
    tls: Option<Acceptor>,
    Admitted { _room, stranger }: Admitted,
    node: Arc<Node>,
    mut stop: watch::Receiver<bool>,
) {
    let served = async {
        let (client, server) = (socket.peer_addr()?, socket.local_addr()?);
        prepare(&socket)?;
        let stream = match (&tls, &stranger) {
            (Some(tls), Some(stranger)) => {
                let accepted = tokio::select! {
                    accepted = timeout_at(stranger.until, tls.accept(socket)) => accepted,
                    () = stopped(&mut stop) => return Ok(()),
                };
                accepted
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                    .inspect_err(|_| node.clients().count_tls_failure())?
            }
            _ => Stream::Plain(socket),
        };
        connection::serve(stream, [client, server], stranger, &node, stop).await
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "client connection lost");
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

fn reject(socket: &TcpStream, is_tls: bool, node: &Node) {
    node.clients().count_rejected();
    if !is_tls {
        // Nothing was sent before, so there is room for it; the client may be gone already.
        let _ = SockRef::from(socket).send(b"-ERR max number of clients reached\r\n");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_client_that_vanishes_is_missed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        prepare(&socket).unwrap();
        let set = SockRef::from(&socket);
        assert!(set.keepalive().unwrap() && socket.nodelay().unwrap());
        assert_eq!(set.tcp_keepalive_time().unwrap(), KEEPALIVE);
    }
}
