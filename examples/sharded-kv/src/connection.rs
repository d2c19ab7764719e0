//! One client connection: receive, carry out everything that was received, answer in one go.

use std::io;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::command::{self, Action};
use crate::node::{Node, Started};
use crate::pipeline::{Pipeline, Touch};
use crate::resp::{Parser, Reply};
use crate::server::stopped;
use crate::session::Session;
use crate::wire::Wire;

/// Replies are sent at the latest once they are so long, in bytes.
const FLUSH_BYTES: usize = 64 * 1024;

/// What follows on a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Receive,
    Close,
}

/// Serves `socket` until the client is gone, asks to be, or breaks the protocol, or `stop` becomes true; what was
/// received whole by then is answered first.
///
/// # Errors
///
/// The socket's. A write that was begun goes on without its client.
pub(crate) async fn serve(socket: TcpStream, node: &Node, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let session = Session::new(node.count_connection(), socket.peer_addr()?, socket.local_addr()?);
    let mut connection = Connection {
        node,
        session,
        wire: Wire::new(socket),
        pipeline: Pipeline::default(),
    };
    let (mut parser, mut arguments) = (Parser::default(), Vec::new());
    loop {
        if connection.round(&mut parser, &mut arguments).await? == Next::Close {
            return connection.wire.close_early().await;
        }
        let more = tokio::select! {
            more = connection.wire.receive() => more?,
            () = stopped(&mut stop) => false,
        };
        if !more {
            return connection.wire.close().await;
        }
    }
}

struct Connection<'a> {
    node: &'a Node,
    session: Session,
    wire: Wire,
    pipeline: Pipeline<'a>,
}

impl Connection<'_> {
    /// Carries out every complete command that was received and sends the replies.
    async fn round(&mut self, parser: &mut Parser, arguments: &mut Vec<Bytes>) -> io::Result<Next> {
        let mut next = Next::Receive;
        let mut count = 0;
        while next == Next::Receive {
            match parser.next(&mut self.wire.input, arguments) {
                Ok(false) => break,
                Ok(true) => {
                    count += 1;
                    next = self.begin(arguments).await?;
                }
                Err(error) => {
                    let reply = Reply::Error(format!("ERR Protocol error: {error}"));
                    self.push_reply(reply);
                    next = Next::Close;
                }
            }
        }
        self.node.count_commands(count);
        while !self.pipeline.is_empty() {
            self.finish_one().await?;
        }
        self.wire.flush().await?;
        Ok(next)
    }

    /// Begins one command, after those that it has to wait for.
    async fn begin(&mut self, arguments: &[Bytes]) -> io::Result<Next> {
        let bytes = arguments.iter().map(Bytes::len).sum();
        let action = command::parse(&mut self.session, arguments);
        let touch = self.touch(&action);
        while self.pipeline.must_wait(touch) || self.pipeline.is_full(bytes) {
            self.finish_one().await?;
        }
        let node = self.node;
        let started = match action {
            Action::Reply(reply) => Started::Ready(reply),
            Action::Write { slot, command } => node.write(slot, command),
            Action::Read { slot, query } => node.read(slot, query),
            Action::Describe(describe) => Started::Ready(describe(&node.status())),
            Action::Count(describe) => Started::Later(Box::pin(async move {
                let count = node.count_keys().await;
                describe(&node.status(), count)
            })),
            Action::Close(reply) => {
                self.push_reply(reply);
                return Ok(Next::Close);
            }
            Action::Hang => return Ok(Next::Close),
        };
        self.pipeline.push(started, touch, self.session.protocol, bytes);
        Ok(Next::Receive)
    }

    fn touch(&self, action: &Action) -> Touch {
        let group_of = |slot| self.node.shard_map().group_of(slot);
        match action {
            Action::Write { slot, .. } => Touch::Writes(group_of(*slot)),
            Action::Read { slot, .. } => Touch::Reads(group_of(*slot)),
            Action::Count(_) => Touch::ReadsAll,
            Action::Reply(_) | Action::Close(_) | Action::Hang | Action::Describe(_) => Touch::Nothing,
        }
    }

    fn push_reply(&mut self, reply: Reply) {
        let started = Started::Ready(reply);
        self.pipeline.push(started, Touch::Nothing, self.session.protocol, 0);
    }

    /// Waits for the first reply that is owed and writes it. An array leaves in pieces, so that one that names a
    /// large value many times is never held as a whole.
    async fn finish_one(&mut self) -> io::Result<()> {
        match self.pipeline.finish_one().await {
            None => {}
            Some((Reply::Array(items), protocol)) => {
                Reply::encode_array_header(items.len(), &mut self.wire.output);
                for item in items {
                    item.encode(protocol, &mut self.wire.output);
                    self.flush_if_long().await?;
                }
            }
            Some((reply, protocol)) => reply.encode(protocol, &mut self.wire.output),
        }
        self.flush_if_long().await
    }

    async fn flush_if_long(&mut self) -> io::Result<()> {
        if self.wire.output.len() >= FLUSH_BYTES {
            self.wire.flush().await?;
        }
        Ok(())
    }
}
