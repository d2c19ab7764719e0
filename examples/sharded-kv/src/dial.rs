//! Connections to nodes' client ports, for who is a client itself: a node that forwards commands, and `ctl`.

use std::io;
use std::sync::{Arc, Once};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    /// One permit per connection that may still be opened, if they are limited.
    pub(crate) connections_left: Option<Arc<Semaphore>>,
}

/// What a connection takes.
pub(crate) type Place = Option<OwnedSemaphorePermit>;

impl Dial {
    /// A place for a connection, until it is dropped; an error if there are too many.
    pub(crate) fn place(&self) -> io::Result<Place> {
        let place = self
            .connections_left
            .as_ref()
            .map(|left| Arc::clone(left).try_acquire_owned());
        place.transpose().map_err(|error| {
            static WARNING: Once = Once::new();
            WARNING.call_once(|| {
                tracing::warn!("the limit of open files (RLIMIT_NOFILE) allows for no more connections to other nodes");
            });
            io::Error::other(error)
        })
    }

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
