//! One client connection: receive, carry out everything that was received, answer in one go.

mod all_keys;
mod answer;
mod multi;
mod put;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use raftyard::Consistency;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::command::{self, Action};
use crate::node::Node;
use crate::node::put::Started;
use crate::pipeline::{Begun, Pipeline, Touch};
use crate::proxy::{Proxy, Route, Work};
use crate::replies::Replies;
use crate::resp::{Parser, Reply};
use crate::server::{Stranger, stopped};
use crate::session::Session;
use crate::stream::Stream;
use crate::transaction;
use crate::wire::Wire;
use crate::writes::Writes;

/// What follows on a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Receive,
    /// The client was a stranger until now. What it may have sent since is another round.
    Admitted,
    Close,
}

/// Serves a client until it is gone, asks to be, or breaks the protocol, or `stop` becomes true; what was
/// received whole by then is answered first.
///
/// # Errors
///
/// The socket's. A write that was begun here goes on without its client; one that was forwarded does once it was sent.
pub(crate) async fn serve(
    stream: Stream,
    [client, server]: [SocketAddr; 2],
    mut stranger: Option<Stranger>,
    node: &Node,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let session = Session::new(
        node.clients().count_connection(),
        client,
        server,
        Arc::clone(node.clients().access()),
    );
    let mut connection = Connection {
        node,
        session,
        wire: Wire::new(stream),
        pipeline: Pipeline::default(),
        writes: Writes::default(),
        replies: Arc::new(Replies::new(Arc::clone(node.clients().replies()))),
        proxy: Proxy::new(Arc::clone(node.dial())),
        leaders_by: None,
    };
    let (mut parser, mut arguments) = (Parser::default(), Vec::new());
    let mut stopped = pin!(stopped(&mut stop));
    loop {
        if connection.session.authenticated {
            stranger = None;
        }
        let round = connection.round(&mut parser, &mut arguments);
        let next = match &stranger {
            None => round.await?,
            // One who sends without end, or takes no replies, has no more time than one who says nothing.
            Some(stranger) => timeout_at(stranger.until, round).await.unwrap_or_else(|_| {
                node.clients().access().count_refusal();
                Err(io::ErrorKind::TimedOut.into())
            })?,
        };
        match next {
            Next::Receive => {}
            Next::Admitted => continue,
            Next::Close => return connection.wire.close().await,
        }
        // What came while replies were sent was received.
        let has_more = connection.wire.has_read_ahead();
        let more = tokio::select! {
            biased;
            () = &mut stopped, if !has_more => false,
            () = strangers_end(stranger.as_ref()) => {
                node.clients().access().count_refusal();
                false
            }
            more = connection.wire.receive() => more?,
        };
        if !more {
            return connection.wire.close().await;
        }
    }
}

/// When the time is over in which a client has to say the password; never if it has.
async fn strangers_end(stranger: Option<&Stranger>) {
    match stranger {
        Some(stranger) => tokio::time::sleep_until(stranger.until).await,
        None => std::future::pending().await,
    }
}

struct Connection<'a> {
    node: &'a Node,
    session: Session,
    wire: Wire,
    pipeline: Pipeline<'a>,
    writes: Writes,
    replies: Arc<Replies>,
    proxy: Proxy,
    /// Until when groups without a leader are waited for: the same for all commands of a round, which would otherwise
    /// wait one after the other.
    leaders_by: Option<Instant>,
}

impl<'a> Connection<'a> {
    /// Carries out every complete command that was received and sends the replies.
    async fn round(&mut self, parser: &mut Parser, arguments: &mut Vec<Bytes>) -> io::Result<Next> {
        let mut next = Next::Receive;
        let mut count = 0;
        self.leaders_by = None;
        while next == Next::Receive {
            let is_strangers = !self.session.authenticated;
            parser.set_strangers(is_strangers);
            self.wire.set_strangers(is_strangers);
            match parser.next(&mut self.wire.input, arguments) {
                Ok(false) => break,
                Ok(true) => {
                    count += 1;
                    next = self.begin(arguments).await?;
                    if next == Next::Receive && is_strangers && self.session.authenticated {
                        next = Next::Admitted;
                    }
                }
                Err(error) => {
                    let reply = Reply::Error(format!("ERR Protocol error: {error}"));
                    self.push_reply(reply);
                    next = Next::Close;
                }
            }
        }
        self.node.clients().count_commands(count);
        while !self.pipeline.is_empty() {
            self.finish_one().await?;
        }
        self.wire.flush().await?;
        Ok(next)
    }

    /// Begins one command, after those that it has to wait for.
    async fn begin(&mut self, arguments: &[Bytes]) -> io::Result<Next> {
        // However short an argument is, to hold it costs a handle.
        let bytes = arguments
            .iter()
            .map(|argument| argument.len() + size_of::<Bytes>())
            .sum();
        let action = command::parse(&mut self.session, arguments);
        // While one is finished, a group may change its leader.
        let returned = action.returned_bytes_max();
        let (touch, room) = loop {
            let (touch, is_next) = (self.touch(&action), self.pipeline.is_empty());
            if is_next {
                self.replies.begin_anew();
            }
            let may_begin = !self.pipeline.must_wait(touch) && !self.pipeline.is_full(bytes) && !self.replies.is_full();
            match self.replies.room(returned, is_next).filter(|_| may_begin) {
                Some(room) => break (touch, room),
                None => self.finish_one().await?,
            }
        };
        let begun = match action {
            Action::Reply(reply) => Begun::new(Started::Ready(reply), touch),
            Action::Write { slot, command } => self.put(slot, Work::Write(command), touch, arguments, room),
            Action::Read { slot, query } => {
                let consistency = if self.session.read_only {
                    self.node.replica_reads()
                } else {
                    Consistency::Linearizable
                };
                self.put(slot, Work::Read(query, consistency), touch, arguments, room)
            }
            Action::Transaction { slot, transaction } => {
                let work = Work::Write(transaction.command);
                let begun = self.put(slot, work, touch, &transaction.forwarded, room);
                let template = transaction::template(transaction.replies, || self.node.status());
                Begun {
                    template: Some(template),
                    ..begun
                }
            }
            Action::Queued { slot } => Begun::new(Started::Ready(self.queued(slot)), touch),
            Action::Watch { slot, keys } => {
                let reply = self.watch(slot, keys).await?;
                Begun::new(Started::Ready(reply), touch)
            }
            Action::Describe(describe) => Begun::new(Started::Ready(describe(&self.node.status())), touch),
            Action::Count(describe) => {
                let by = self.leaders_by();
                Begun::new(self.count(describe, by), touch)
            }
            Action::Gather(gather) => {
                let (node, scope, by) = (self.node, self.scope(), self.leaders_by());
                Begun::new(Started::Later(node.gather(gather, scope, by).boxed()), touch)
            }
            Action::Admin(admin) => Begun::new(Started::Later(self.node.administer(admin).boxed()), touch),
            Action::Flush => Begun::new(Started::Ready(self.flush().await?), touch),
            Action::Close(reply) => {
                self.push_reply(reply);
                return Ok(Next::Close);
            }
            Action::Hang => return Ok(Next::Close),
        };
        let bytes = bytes + begun.weight();
        self.pipeline.push(begun, self.session.protocol, bytes);
        Ok(Next::Receive)
    }

    fn touch(&self, action: &Action) -> Touch {
        let group_of = |slot| self.node.shard_map().group_of(slot);
        match action {
            Action::Write { slot, .. } | Action::Transaction { slot, .. } => {
                Touch::Writes(group_of(*slot), self.route(*slot))
            }
            Action::Read { slot, .. } if self.session.read_only => Touch::Reads(group_of(*slot), Route::Here),
            Action::Read { slot, .. } => Touch::Reads(group_of(*slot), self.route(*slot)),
            Action::Count(_) | Action::Gather(_) | Action::Flush | Action::Watch { .. } => Touch::All,
            Action::Admin(_)
            | Action::Reply(_)
            | Action::Close(_)
            | Action::Hang
            | Action::Describe(_)
            | Action::Queued { .. } => Touch::Nothing,
        }
    }
}
