//! What a connection remembers between commands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::access::Access;
use crate::resp::Protocol;
use crate::transaction::{Queue, Watched};

/// The state of one client connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Counts from 1 and is never used twice by one process.
    pub(crate) id: u64,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) since: Instant,
    pub(crate) access: Arc<Access>,
    /// The client has said the password, or there is none.
    pub(crate) authenticated: bool,
    pub(crate) protocol: Protocol,
    /// `RAFTYARD DIRECT`: nothing that comes over this connection is forwarded.
    pub(crate) direct: bool,
    /// `READONLY`: this node answers reads of all its groups itself, those it does not lead too.
    pub(crate) read_only: bool,
    /// The commands since `MULTI`.
    pub(crate) queue: Option<Queue>,
    /// `WATCH`.
    pub(crate) watched: Watched,
    /// `CLIENT SETNAME`; empty if it has none.
    pub(crate) name: Bytes,
    /// `CLIENT SETINFO LIB-NAME`.
    pub(crate) library: Bytes,
    /// `CLIENT SETINFO LIB-VER`.
    pub(crate) library_version: Bytes,
}

impl Session {
    /// A connection on which nothing was said yet.
    pub(crate) fn new(id: u64, client: SocketAddr, server: SocketAddr, access: Arc<Access>) -> Self {
        Self {
            id,
            client,
            server,
            since: Instant::now(),
            authenticated: !access.has_password(),
            access,
            protocol: Protocol::default(),
            direct: false,
            read_only: false,
            queue: None,
            watched: Watched::default(),
            name: Bytes::new(),
            library: Bytes::new(),
            library_version: Bytes::new(),
        }
    }

    /// Dooms the transaction that was begun, if one was: `EXEC` will refuse it.
    pub(crate) fn abort_transaction(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.abort();
        }
    }
}
