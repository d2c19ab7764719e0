//! Accepts peers while others are still at their handshake.

use super::{Shared, refusal_of};
use crate::transport::handshake::{HandshakeError, HandshakeRefusal};
use crate::transport::network::tcp::prepared;
use crate::transport::network::{Connection, Listener, NetworkFuture};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Each handshake is a task of its own: none holds up the next, whatever it does. They end with the listener.
pub(super) struct TlsListener {
    tcp: TcpListener,
    shared: Arc<Shared>,
    handshakes: JoinSet<Result<Connection, HandshakeError>>,
    /// How to give each of them up, in the order in which they began.
    begun: VecDeque<(Id, CancellationToken)>,
}

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, shared: Arc<Shared>) -> Self {
        Self {
            tcp,
            shared,
            handshakes: JoinSet::new(),
            begun: VecDeque::new(),
        }
    }

    fn begin(&mut self, socket: TcpStream, from: SocketAddr) {
        while self.begun.len() >= self.shared.limits.count_max
            && let Some((_, oldest)) = self.begun.pop_front()
        {
            oldest.cancel();
        }
        let given_up = CancellationToken::new();
        let give_up = given_up.clone();
        let shared = Arc::clone(&self.shared);
        let handshake = self.handshakes.spawn(async move {
            let answering = tokio::time::timeout(shared.limits.deadline, answer(socket, &shared));
            let answered = tokio::select! {
                biased;
                () = given_up.cancelled() => Err(HandshakeRefusal::Crowded),
                answered = answering => answered.unwrap_or(Err(HandshakeRefusal::Deadline)),
            };
            let peer = from.ip().to_string();
            answered.map_err(|refusal| HandshakeError { peer, refusal })
        });
        self.begun.push_back((handshake.id(), give_up));
    }
}

impl Listener for TlsListener {
    fn accept(&mut self) -> NetworkFuture<'_, Connection> {
        Box::pin(async move {
            loop {
                tokio::select! {
                    accepted = self.tcp.accept() => {
                        let (socket, from) = accepted?;
                        self.begin(socket, from);
                    }
                    Some(ended) = self.handshakes.join_next_with_id() => {
                        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
                        self.begun.retain(|(begun, _)| *begun != id);
                        match ended {
                            Ok((_, answered)) => return answered.map_err(io::Error::from),
                            // It concerns no other connection.
                            Err(error) => tracing::error!(%error, "a handshake's task failed"),
                        }
                    }
                }
            }
        })
    }

    fn local_address(&self) -> io::Result<String> {
        Ok(self.tcp.local_addr()?.to_string())
    }
}

async fn answer(socket: TcpStream, shared: &Shared) -> Result<Connection, HandshakeRefusal> {
    let other = |error: io::Error| refusal_of(&error).unwrap_or_else(|| HandshakeRefusal::Other(error.to_string()));
    let socket = prepared(socket).map_err(other)?;
    let credentials = shared.credentials.current().await;
    let stream = credentials.acceptor.accept(socket).await.map_err(other)?;
    let node = shared.identify(stream.get_ref().1.peer_certificates())?;
    Ok(Connection {
        stream: Box::new(stream),
        node: Some(node),
    })
}
