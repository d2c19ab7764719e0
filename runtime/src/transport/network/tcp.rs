//! TCP.

use super::{ByteStream, Connection, Listener, Network, NetworkFuture};
use raftyard_groups::NodeId;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// After so long without traffic a connection is asked whether its other end is there. The data lane has none while nobody
/// writes, and what lies between forgets connections that say nothing for a few minutes, often without telling either end:
/// the writes that come next would then wait until the call's deadline.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// TCP without delay (`TCP_NODELAY`), and with keepalive. Addresses are `host:port`; names are resolved at each connect.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

impl Network for TcpNetwork {
    fn bind<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(Tcp(listener)) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, _: NodeId, address: &'a str) -> NetworkFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            let stream = prepared(TcpStream::connect(address).await?)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

struct Tcp(TcpListener);

impl Listener for Tcp {
    fn accept(&mut self) -> NetworkFuture<'_, Connection> {
        Box::pin(async move {
            loop {
                match prepared(self.0.accept().await?.0) {
                    Ok(stream) => return Ok(Connection::unproved(stream)),
                    // Its other end is gone already, which concerns no other connection.
                    Err(error) => tracing::debug!(%error, "a connection ended before it was accepted"),
                }
            }
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.0.local_addr()?.to_string())
    }
}

/// A connection to a peer, at either end.
pub(super) fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    Ok(stream)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_idle_connection_is_not_forgotten_on_the_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = prepared(peer).unwrap();
        let set = SockRef::from(&socket);
        assert!(set.keepalive().unwrap() && socket.nodelay().unwrap());
        assert_eq!(set.tcp_keepalive_time().unwrap(), KEEPALIVE);
    }
}
