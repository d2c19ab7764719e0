//! TCP.

use super::{ByteStream, Connection, Listener, Network, NetworkFuture};
use raftyard_groups::NodeId;
use std::io;
use tokio::net::{TcpListener, TcpStream};

/// TCP without delay (`TCP_NODELAY`). Addresses are `host:port`; names are resolved at each connect.
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
            let stream = without_delay(TcpStream::connect(address).await?)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

struct Tcp(TcpListener);

impl Listener for Tcp {
    fn accept(&mut self) -> NetworkFuture<'_, Connection> {
        Box::pin(async move {
            loop {
                match without_delay(self.0.accept().await?.0) {
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

fn without_delay(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}
