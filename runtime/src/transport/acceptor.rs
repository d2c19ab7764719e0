//! Takes the connections of a node's peers.

use super::codec::{self, ServerTransport};
use super::config::TransportLimits;
use super::counters::Counters;
use super::guard::Guarded;
use super::handshake::{HandshakeError, HandshakeRefusal};
use super::network::{ByteStream, Listener};
use super::service::{Peer, PeerRequest, PeerResponse};
use super::session::{Reception, Session, SessionService};
use futures::future::try_join;
use futures::{FutureExt, SinkExt, StreamExt};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;
use tarpc::server::{BaseChannel, Serve};
use tarpc::{ChannelError, Request, Response};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pause after a failed accept: the reason (no file descriptors left) rarely goes away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves every connection on a local task of its own until `stop`; then all of them are closed. No single
/// connection can end it.
pub(crate) async fn accept(
    mut listener: Box<dyn Listener>,
    reception: Reception,
    limits: TransportLimits,
    stop: CancellationToken,
) {
    let reception = Rc::new(reception);
    let mut connections = JoinSet::new();
    let mut strangers = Strangers::default();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= limits.connections_max && !strangers.end_oldest() => {
                    tracing::warn!(connections = connections.len(), "connection closed, there are too many");
                }
                Ok(connection) => {
                    let session = Rc::new(Session::new(Rc::clone(&reception), connection.node));
                    strangers.add(&session);
                    let counters = Arc::clone(&reception.counters);
                    connections.spawn_local(serve(connection.stream, session, counters, limits.clone()));
                }
                Err(error) => {
                    if let Some(HandshakeError { peer, refusal }) = HandshakeError::of(&error) {
                        reception.counters.refusals.note(peer, refusal);
                        continue;
                    }
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

/// Sessions that may have had no hello yet, the oldest first. When there is no room they make it: who connects and says
/// nothing keeps no peer out.
#[derive(Default)]
struct Strangers(VecDeque<Weak<Session>>);

impl Strangers {
    fn add(&mut self, session: &Rc<Session>) {
        while self.0.front().is_some_and(|oldest| !is_stranger(oldest)) {
            self.0.pop_front();
        }
        self.0.push_back(Rc::downgrade(session));
    }

    /// False if there is none.
    fn end_oldest(&mut self) -> bool {
        while let Some(oldest) = self.0.pop_front() {
            if let Some(session) = oldest.upgrade()
                && is_stranger(&oldest)
            {
                session.replaced.cancel();
                return true;
            }
        }
        false
    }
}

fn is_stranger(session: &Weak<Session>) -> bool {
    session.upgrade().is_some_and(|session| !session.welcomed.load(Relaxed))
}

/// Answers one connection's calls, one after the other, so that its frames keep their order. Whatever it waits for, a
/// newer session of the peer ends it, and who was not welcomed has so long and no longer.
async fn serve(stream: Box<dyn ByteStream>, session: Rc<Session>, counters: Arc<Counters>, limits: TransportLimits) {
    let stream = Guarded::new(stream, Arc::clone(&session.welcomed));
    let transport: ServerTransport = codec::server(Box::new(stream), limits.frame_bytes_max);
    let mut calls = Box::pin(BaseChannel::with_defaults(transport));
    let service = SessionService(Rc::clone(&session));
    let hello_deadline = tokio::time::sleep(limits.connect_deadline);
    tokio::pin!(hello_deadline);
    loop {
        let was_open = session.is_open();
        let answered = tokio::select! {
            biased;
            () = session.replaced.cancelled() => return,
            () = &mut hello_deadline, if !was_open => Err(Ended::NoHello),
            answered = answer_next(calls.as_mut(), &service, limits.call_deadline) => answered,
        };
        if let Err(ended) = answered {
            if !session.welcomed.load(Relaxed)
                && let Some(refusal) = ended.refusal()
            {
                counters.refusals.note("a caller without a name", &refusal);
            }
            return tracing::debug!(%ended, "connection of a peer ended");
        }
        if was_open && !session.is_open() {
            // A frame was refused: closed soon, but not before the caller could read why.
            let soon = tokio::time::Instant::now() + limits.connect_deadline;
            hello_deadline.as_mut().reset(soon);
        }
    }
}

type Calls = BaseChannel<PeerRequest, PeerResponse, ServerTransport>;

/// Why a connection is served no longer.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the caller")]
    Closed,
    #[error("{0}")]
    Failed(#[from] ChannelError<io::Error>),
    #[error("no answer was taken for {0:?}")]
    NotTaken(Duration),
    #[error("it said no hello that could be accepted")]
    NoHello,
}

impl Ended {
    /// What is wrong with a caller that was not welcomed. That a connection breaks says nothing.
    fn refusal(&self) -> Option<HandshakeRefusal> {
        match self {
            Self::Closed => None,
            Self::NotTaken(_) | Self::NoHello => Some(HandshakeRefusal::Deadline),
            Self::Failed(ChannelError::Read(error)) => {
                // tarpc wraps those of the codec.
                let read = error.get_ref()?.downcast_ref::<io::Error>()?;
                (read.kind() == io::ErrorKind::InvalidData).then(|| HandshakeRefusal::Other(read.to_string()))
            }
            Self::Failed(_) => None,
        }
    }
}

/// Waits for a call and answers it. What was answered leaves once no further call is there, or while this one waits: its
/// caller must not take for stuck what was taken. A caller that does not take it for `deadline` is not served any more: it
/// would send for ever what nobody reads.
async fn answer_next(mut calls: Pin<&mut Calls>, service: &SessionService, deadline: Duration) -> Result<(), Ended> {
    let call = match futures::poll!(calls.next()) {
        Poll::Ready(call) => call,
        Poll::Pending => {
            taken(calls.flush(), deadline).await?;
            calls.next().await
        }
    };
    let Some(call) = call else {
        // It may read on.
        taken(calls.flush(), deadline).await?;
        return Err(Ended::Closed);
    };
    let Request { context, id, message } = call?.request;
    let mut answer = pin!(service.clone().serve().serve(context, message));
    let message = match futures::poll!(answer.as_mut()) {
        Poll::Ready(message) => message,
        Poll::Pending => {
            // At once: what the call waits for may be given to it meanwhile, and others wait for it too.
            let flushed = taken(calls.flush(), deadline);
            try_join(flushed, answer.map(Ok)).await?.1
        }
    };
    let response = Response {
        request_id: id,
        message,
    };
    taken(calls.feed(response), deadline).await
}

async fn taken(
    sent: impl Future<Output = Result<(), ChannelError<io::Error>>>,
    deadline: Duration,
) -> Result<(), Ended> {
    match tokio::time::timeout(deadline, sent).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(Ended::NotTaken(deadline)),
    }
}
