//! A connection to another node's client port, over which commands are forwarded to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::address::HostPort;
use crate::dial::Dial;
use crate::replies::Room;
use crate::resp::{Reply, ReplyError, ReplyParser, encode_command};
use crate::stream::Stream;

/// Room made for each read, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// Commands that queued are gathered until they are so long, in bytes.
const GATHER_BYTES: usize = 64 * 1024;

/// Replies that nobody took yet, in bytes; beyond it nothing is received. One more may be larger than that.
const REPLY_BYTES_MAX: u32 = 1024 * 1024;

/// How long another node is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// To connect and to be welcomed.
    pub(crate) connect: Duration,
    /// Without a byte, while a reply is owed or a command is being sent.
    pub(crate) silence: Duration,
}

/// What became of a command that was forwarded.
#[derive(Debug)]
pub(crate) enum Forwarded {
    Answered(Reply),
    /// No byte of it was sent.
    NotSent,
    /// It was sent, in part at least, and no reply came: it may have been carried out, or may yet be.
    Lost,
    /// It was answered with something that can't be passed on.
    Unreadable(ReplyError),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum UpstreamError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Reply(#[from] ReplyError),
    #[error("no answer in time")]
    Silence,
    #[error("closed by the node")]
    Closed,
    #[error("bytes that are no reply to a command")]
    Unasked,
    #[error("not welcome: {0:?}")]
    Unwelcome(Reply),
}

/// A connection that is being opened, is open, or has ended. It ends when it is dropped.
///
/// Replies can't cross: one task sends the commands in their order and hands the n-th reply to who sent the n-th
/// command. Once a reply fails to come, the connection is given up with everything that is owed on it.
#[derive(Debug)]
pub(crate) struct Upstream {
    commands: UnboundedSender<Pending>,
    task: AbortHandle,
}

/// A command that waits to be sent.
#[derive(Debug)]
struct Pending {
    arguments: Vec<Bytes>,
    reply: ReplySender,
}

/// Who is owed a reply.
#[derive(Debug)]
struct ReplySender {
    /// Dropped without a word: the command is lost.
    outcome: oneshot::Sender<Result<Delivered, Failure>>,
    room: Room,
}

impl ReplySender {
    fn fail(self, failure: Failure) {
        // Who waited may be gone.
        drop(self.outcome.send(Err(failure)));
    }
}

#[derive(Debug)]
enum Failure {
    NotSent,
    Unreadable(ReplyError),
}

#[derive(Debug)]
struct Delivered {
    reply: Reply,
    _room: Room,
    _place: OwnedSemaphorePermit,
}

impl Upstream {
    /// Begins to connect to the node that serves clients at `address`.
    pub(crate) fn open(dial: Arc<Dial>, address: HostPort, patience: Patience) -> Self {
        let (commands, queued) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(dial, address, patience, queued));
        Self {
            commands,
            task: task.abort_handle(),
        }
    }

    /// Whether the connection has ended: nothing can be sent over it any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Sends a command, after those that were sent before. The place is taken by the call. Who calls bounds what is in
    /// flight. `room` is for the reply.
    pub(crate) fn send(&self, arguments: Vec<Bytes>, room: Room) -> impl Future<Output = Forwarded> + Send + use<> {
        let (sender, outcome) = oneshot::channel();
        let reply = ReplySender { outcome: sender, room };
        let queued = self.commands.send(Pending { arguments, reply });
        async move {
            if queued.is_err() {
                return Forwarded::NotSent;
            }
            match outcome.await {
                Ok(Ok(delivered)) => Forwarded::Answered(delivered.reply),
                Ok(Err(Failure::NotSent)) => Forwarded::NotSent,
                Ok(Err(Failure::Unreadable(error))) => Forwarded::Unreadable(error),
                Err(_) => Forwarded::Lost,
            }
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(dial: Arc<Dial>, address: HostPort, patience: Patience, mut commands: UnboundedReceiver<Pending>) {
    if let Err(error) = serve(&dial, &address, patience, &mut commands).await {
        tracing::debug!(%address, %error, "connection to another node lost");
    }
    commands.close();
    while let Some(pending) = commands.recv().await {
        pending.reply.fail(Failure::NotSent);
    }
}

async fn serve(
    dial: &Dial,
    address: &HostPort,
    patience: Patience,
    commands: &mut UnboundedReceiver<Pending>,
) -> Result<(), UpstreamError> {
    let _place = dial.place()?;
    let connected = timeout(patience.connect, connect(dial, address)).await;
    match connected.map_err(|_| UpstreamError::Silence)?? {
        Stream::Plain(mut socket) => forward(socket.split(), patience, commands).await,
        Stream::Tls(stream) => forward(tokio::io::split(stream), patience, commands).await,
    }
}

/// Connects and introduces itself: replies in version 3 of the protocol, which tells all types apart, and no command
/// forwarded once more.
async fn connect(dial: &Dial, address: &HostPort) -> Result<Stream, UpstreamError> {
    let mut socket = dial.connect(address).await?;
    let mut output = BytesMut::new();
    let mut welcomes = Vec::new();
    if let Some(introduction) = dial.introduction() {
        encode_command(&introduction, &mut output);
        welcomes.push(is_ok as fn(&Reply) -> bool);
    }
    output.extend_from_slice(b"HELLO 3\r\nRAFTYARD DIRECT");
    if let Some(groups) = dial.groups {
        output.extend_from_slice(format!(" {groups}").as_bytes());
    }
    output.extend_from_slice(b"\r\n");
    welcomes.extend([(|reply| matches!(reply, Reply::Map(_))) as fn(&Reply) -> bool, is_ok]);
    socket.write_all(&output).await?;
    socket.flush().await?;
    let (mut parser, mut input) = (ReplyParser::default(), BytesMut::new());
    for welcome in welcomes {
        let reply = loop {
            if let Some((reply, _)) = parser.next(&mut input)? {
                break reply;
            }
            if socket.read_buf(&mut input).await? == 0 {
                return Err(UpstreamError::Closed);
            }
        };
        if !welcome(&reply) {
            return Err(UpstreamError::Unwelcome(reply));
        }
    }
    if input.is_empty() {
        Ok(socket)
    } else {
        Err(UpstreamError::Unasked)
    }
}

fn is_ok(reply: &Reply) -> bool {
    *reply == Reply::OK
}

/// Forwards commands until the connection breaks or nobody can send any more.
async fn forward(
    (reader, writer): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    patience: Patience,
    commands: &mut UnboundedReceiver<Pending>,
) -> Result<(), UpstreamError> {
    let (owed, awaited) = mpsc::unbounded_channel();
    tokio::select! {
        result = receive(reader, patience.silence, awaited) => result,
        result = send(writer, patience.silence, commands, owed) => result,
    }
}

/// Sends what queues, and passes on who is owed a reply: before the first byte leaves, so that a command counts as sent
/// from then on.
async fn send(
    mut socket: impl AsyncWrite + Unpin,
    silence: Duration,
    commands: &mut UnboundedReceiver<Pending>,
    owed: UnboundedSender<ReplySender>,
) -> Result<(), UpstreamError> {
    let mut output = BytesMut::new();
    while let Some(first) = commands.recv().await {
        let mut next = Some(first);
        while let Some(pending) = next {
            encode_command(&pending.arguments, &mut output);
            // The other end is dropped with this future only.
            drop(owed.send(pending.reply));
            next = if output.len() < GATHER_BYTES {
                commands.try_recv().ok()
            } else {
                None
            };
        }
        while !output.is_empty() {
            let sent = timeout(silence, socket.write_buf(&mut output)).await;
            if sent.map_err(|_| UpstreamError::Silence)?? == 0 {
                return Err(UpstreamError::Closed);
            }
        }
        let flushed = timeout(silence, socket.flush()).await;
        flushed.map_err(|_| UpstreamError::Silence)??;
        // A large command's room is given back.
        output = BytesMut::new();
    }
    Ok(())
}

/// Receives replies and hands each to the next who is owed one.
async fn receive(
    mut socket: impl AsyncRead + Unpin,
    silence: Duration,
    mut awaited: UnboundedReceiver<ReplySender>,
) -> Result<(), UpstreamError> {
    let places = Arc::new(Semaphore::new(usize::try_from(REPLY_BYTES_MAX).unwrap_or(usize::MAX)));
    let (mut parser, mut input) = (ReplyParser::default(), BytesMut::new());
    loop {
        let waiting = tokio::select! {
            biased;
            waiting = awaited.recv() => waiting,
            // Nothing is owed: all that can come is the end.
            received = socket.read_buf(&mut input) => {
                return Err(if received? == 0 { UpstreamError::Closed } else { UpstreamError::Unasked });
            }
        };
        let Some(waiting) = waiting else {
            return Ok(());
        };
        let (reply, bytes) = loop {
            match parser.next(&mut input) {
                Ok(Some(found)) => break found,
                Ok(None) => {}
                Err(error) => {
                    waiting.fail(Failure::Unreadable(error));
                    return Err(error.into());
                }
            }
            input.reserve(READ_BYTES);
            let received = timeout(silence, socket.read_buf(&mut input)).await;
            if received.map_err(|_| UpstreamError::Silence)?? == 0 {
                return Err(UpstreamError::Closed);
            }
        };
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(REPLY_BYTES_MAX);
        let ReplySender { outcome, room } = waiting;
        // It is there, however long it waits for its place.
        room.hold(bytes);
        let Ok(place) = Arc::clone(&places).acquire_many_owned(wanted).await else {
            return Ok(());
        };
        // Who waited may be gone.
        drop(outcome.send(Ok(Delivered {
            reply,
            _room: room,
            _place: place,
        })));
    }
}

#[cfg(test)]
mod tests;
