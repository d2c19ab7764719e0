//! Keeps one connection to one peer, for one lane, and sends on it what queues in its outbox.

use super::backoff::Backoff;
use super::codec;
use super::config::TransportLimits;
use super::counters::Counters;
use super::draining::{Draining, Motion};
use super::frame::Frame;
use super::handshake::{HandshakeError, HandshakeRefusal};
use super::lane::Lane;
use super::network::Network;
use super::outbox::Outbox;
use super::peer_disks::{MeetError, PeerDisks};
use super::service::{Hello, PROTOCOL, PeerClient, Receipt, Refusal, Welcome};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use raftyard_groups::NodeId;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tarpc::client::{self, RpcError};
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio_util::sync::CancellationToken;

/// One peer, one lane.
pub(crate) struct Link {
    pub(crate) cluster: String,
    pub(crate) node: NodeId,
    pub(crate) peer: NodeId,
    pub(crate) address: watch::Receiver<String>,
    pub(crate) lane: Lane,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) disks: Arc<dyn PeerDisks>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limits: TransportLimits,
    pub(crate) seed: u64,
}

/// Why a connection ended, or never was.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("can't connect: {0}")]
    Connect(io::Error),
    #[error("not who was meant: {0}")]
    Handshake(HandshakeError),
    #[error("no answer within {0:?}")]
    ConnectDeadline(Duration),
    #[error("nothing moved for {0:?}")]
    Stalled(Duration),
    #[error("refused: {0}")]
    Refused(Refusal),
    #[error("{0}")]
    Meet(MeetError),
    #[error("call failed: {}", with_sources(.0))]
    Call(#[from] RpcError),
    #[error("connection ended: {0}")]
    Ended(String),
    #[error("the peer moved to {0}")]
    Moved(String),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match HandshakeError::of(&error) {
            Some(refused) => Self::Handshake(refused.clone()),
            None => Self::Connect(error),
        }
    }
}

/// How far attempts got.
#[derive(Default)]
struct Progress {
    /// Whether any connection was welcomed so far.
    was_welcomed: bool,
    /// Whether the current one was.
    is_welcomed: bool,
}

impl Link {
    /// Connects, sends, and connects again whenever that fails, until `stop`.
    ///
    /// What was handed to a connection that breaks, and what then waits, is dropped: Raft sends again what
    /// still matters. Until the next connection the heartbeat lane takes nothing, since an old heartbeat is
    /// worth nothing; the data lane keeps what came since the last failed attempt.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(self.limits.backoff_min, self.limits.backoff_max, self.seed);
        let mut progress = Progress::default();
        let mut reported = String::new();
        let mut address = self.address.clone();
        loop {
            address.mark_unchanged();
            let error = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = address.changed() => LinkError::Moved(address.borrow().clone()),
                error = self.connection(&mut backoff, &mut progress) => error,
            };
            // A peer that is not up yet, or just restarts, is no news.
            let was_connected = std::mem::take(&mut progress.is_welcomed);
            if was_connected {
                reported.clear();
            }
            let is_news = was_connected || backoff.is_at_max();
            match self.lane {
                Lane::Heartbeat => self.outbox.close(),
                Lane::Data | Lane::Snapshot => self.outbox.clear(),
            }
            match error {
                LinkError::Refused(_) | LinkError::Handshake(_) => backoff.jump_to_max(),
                LinkError::Moved(_) => backoff.reset(),
                _ => {}
            }
            self.report(&error, is_news, &mut reported);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = address.changed() => backoff.reset(),
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        }
        self.outbox.close();
    }

    /// Logs each new reason once, not at every attempt.
    fn report(&self, error: &LinkError, is_news: bool, reported: &mut String) {
        if let LinkError::Handshake(HandshakeError { peer, refusal }) = error {
            return self.counters.refusals.note(peer, refusal);
        }
        let text = error.to_string();
        let Self { peer, lane, .. } = self;
        let address = self.address();
        let is_refusal = matches!(error, LinkError::Refused(_));
        if text == *reported || !(is_news || is_refusal) {
            return tracing::debug!(%peer, ?lane, address, error = text, "still not connected");
        }
        if is_refusal {
            tracing::error!(%peer, ?lane, address, error = text, "peer refuses this node");
        } else {
            tracing::warn!(%peer, ?lane, address, error = text, "not connected");
        }
        *reported = text;
    }

    fn address(&self) -> String {
        self.address.borrow().clone()
    }

    /// One connection, from the attempt to its end.
    async fn connection(&self, backoff: &mut Backoff, progress: &mut Progress) -> LinkError {
        let connect_by = tokio::time::Instant::now() + self.limits.connect_deadline;
        let too_late = || LinkError::ConnectDeadline(self.limits.connect_deadline);
        let address = self.address();
        let connecting = self.network.connect(self.peer, &address);
        let stream = match tokio::time::timeout_at(connect_by, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return error.into(),
            Err(_) => return too_late(),
        };
        let mut config = client::Config::default();
        config.pending_request_buffer = self.limits.window_calls;
        let motion = Motion::new(Arc::clone(&self.outbox));
        let stream = Box::new(Draining::new(stream, Arc::clone(&motion)));
        let transport = codec::client(stream, self.limits.frame_bytes_max);
        let client::NewClient { client, dispatch } = PeerClient::new(config, transport);
        let mut dispatch = pin!(dispatch);

        let welcome = tokio::select! {
            biased;
            ended = &mut dispatch => return ended_by(ended),
            welcome = client.hello(codec::context(), self.hello()) => welcome,
            () = tokio::time::sleep_until(connect_by) => return too_late(),
        };
        let disk = match welcome {
            Ok(Ok(Welcome { disk })) => disk,
            Ok(Err(refusal)) => return self.refused(refusal),
            Err(error) => return error.into(),
        };
        if let Err(error) = self.disks.meet(self.peer, disk).await {
            return self.not_met(error);
        }
        if progress.was_welcomed {
            self.counters.add_reconnect();
            tracing::info!(peer = %self.peer, lane = ?self.lane, address, "connected again");
        } else {
            tracing::debug!(peer = %self.peer, lane = ?self.lane, address, "connected");
        }
        progress.was_welcomed = true;
        progress.is_welcomed = true;
        self.outbox.open();
        self.outbox.acknowledge(0);
        match self.send(&client, dispatch, &motion, backoff).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    /// Sends what queues until something fails.
    async fn send<E: Error>(
        &self,
        client: &PeerClient,
        mut dispatch: std::pin::Pin<&mut impl Future<Output = Result<(), E>>>,
        motion: &Motion,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, LinkError> {
        let mut next_seq = 0;
        let mut bytes_in_flight = 0;
        let mut calls = FuturesUnordered::new();
        loop {
            let has_room =
                |calls: usize, bytes: usize| calls < self.limits.window_calls && bytes < self.limits.window_bytes;
            while has_room(calls.len(), bytes_in_flight)
                && let Some(batch) = self.outbox.take()
            {
                let bytes = batch.payload.len();
                self.counters.add_sent(batch.messages, batch.node_messages, bytes);
                let frame = Frame::seal(next_seq, batch.payload);
                next_seq += 1;
                bytes_in_flight += bytes;
                if calls.is_empty() {
                    motion.begin();
                }
                // The order of the calls is the order in which they are first polled. Unconstrained: there is always
                // room for one, and a task that has used up its turn must not be told otherwise.
                let mut call = Box::pin(self.deliver(client, frame, bytes));
                match futures::poll!(unconstrained(call.as_mut())) {
                    Poll::Ready(received) => {
                        bytes_in_flight -= received?;
                        self.outbox.acknowledge(calls.len());
                    }
                    Poll::Pending => calls.push(call),
                }
            }
            tokio::select! {
                biased;
                ended = &mut dispatch => return Err(ended_by(ended)),
                Some(received) = calls.next(), if !calls.is_empty() => {
                    bytes_in_flight -= received?;
                    motion.begin();
                    self.outbox.acknowledge(calls.len());
                    backoff.reset();
                }
                () = motion.stalls(self.limits.call_deadline), if !calls.is_empty() => {
                    return Err(LinkError::Stalled(self.limits.call_deadline));
                }
                () = self.outbox.filled(), if has_room(calls.len(), bytes_in_flight) => {}
            }
        }
    }

    /// One call. Returns `bytes`, once they are acknowledged.
    async fn deliver(&self, client: &PeerClient, frame: Frame, bytes: usize) -> Result<usize, LinkError> {
        let received = client.deliver(codec::context(), frame).await?;
        let Receipt = received.map_err(|refusal| self.refused(refusal))?;
        Ok(bytes)
    }

    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            cluster: self.cluster.clone(),
            from: self.node.0,
            to: self.peer.0,
            lane: self.lane,
            disk: self.disks.own(),
        }
    }

    /// The peer refuses this node.
    fn refused(&self, refusal: Refusal) -> LinkError {
        match refusal {
            Refusal::OtherDisk => self.handshake(HandshakeRefusal::OwnDisk),
            refusal => LinkError::Refused(refusal),
        }
    }

    /// This node refuses the peer.
    fn not_met(&self, error: MeetError) -> LinkError {
        match error {
            MeetError::OtherDisk => self.handshake(HandshakeRefusal::OtherDisk),
            error => LinkError::Meet(error),
        }
    }

    fn handshake(&self, refusal: HandshakeRefusal) -> LinkError {
        LinkError::Handshake(HandshakeError {
            peer: format!("node {} at {}", self.peer, self.address()),
            refusal,
        })
    }
}

fn ended_by<E: Error>(ended: Result<(), E>) -> LinkError {
    LinkError::Ended(match ended {
        Ok(()) => "closed by the peer".to_owned(),
        Err(error) => with_sources(&error),
    })
}

/// tarpc's errors say what failed, and only their sources why.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
