//! Connections to nodes' client ports, for who is a client itself: a node that forwards commands, and `ctl`.

use std::io;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::access::Password;
use crate::address::HostPort;
use crate::stream::Stream;
use crate::tls::Connector;

/// What the cluster asks of its clients.
#[derive(Clone, Default)]
pub(crate) struct Dial {
    pub(crate) tls: Option<Connector>,
    pub(crate) password: Option<Password>,
    /// How many groups share the slots, for a node that forwards commands: who has another number refuses them.
    pub(crate) groups: Option<u16>,
}

impl Dial {
    /// A connection on which nothing was said yet.
    pub(crate) async fn connect(&self, address: &HostPort) -> io::Result<Stream> {
        let socket = TcpStream::connect((address.host.as_str(), address.port)).await?;
        socket.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => tls.connect(address, socket).await,
            None => Ok(Stream::Plain(socket)),
        }
    }

    /// What has to be said first, if anything; `OK` answers it.
    pub(crate) fn introduction(&self) -> Option<[Bytes; 2]> {
        let password = self.password.as_ref()?;
        Some([Bytes::from_static(b"AUTH"), password.bytes().clone()])
    }
}
