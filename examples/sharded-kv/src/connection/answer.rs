//! What clients are told, in the order of their commands.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::timeout;

use super::Connection;
use crate::node::put::Started;
use crate::pipeline::{Begun, Next, Source, Touch};
use crate::proxy;
use crate::resp::Reply;
use crate::transaction;
use crate::wire::Wire;

/// Replies are sent at the latest once they are so long, in bytes.
const FLUSH_BYTES: usize = 64 * 1024;

/// Replies that are ready wait so long for the next: most come together, and then they are sent together.
const FLUSH_WITHIN: Duration = Duration::from_millis(2);

impl<'a> Connection<'a> {
    pub(super) fn push_reply(&mut self, reply: Reply) {
        let started = Started::Ready(reply);
        let begun = Begun::new(started, Touch::Nothing);
        self.pipeline.push(begun, self.session.protocol, 0);
    }

    /// Waits for the first reply that is owed and writes it. An array leaves in pieces, so that one that names a
    /// large value many times is never held as a whole.
    pub(super) async fn finish_one(&mut self) -> io::Result<()> {
        let Some(next) = self.pipeline.pop() else {
            return Ok(());
        };
        let protocol = next.protocol;
        match self.reply(next).await? {
            Reply::Array(items) => {
                Reply::encode_array_header(items.len(), &mut self.wire.output);
                for item in items {
                    item.encode(protocol, &mut self.wire.output);
                    self.flush_if_long().await?;
                }
            }
            reply => reply.encode(protocol, &mut self.wire.output),
        }
        self.flush_if_long().await
    }

    /// What the client is told in the end. A command that was refused is tried again only if no other on its group was
    /// begun since: that one would be overtaken.
    async fn reply(&mut self, next: Next<'a>) -> io::Result<Reply> {
        let Begun {
            source,
            request,
            template,
            ..
        } = next.begun;
        let reply = match source {
            Source::Alone(Started::Ready(reply)) => reply,
            Source::Alone(started) => {
                self.writes.hand_over();
                unhurried(&mut self.wire, started.reply()).await?
            }
            Source::Together { slot, ticket, by } => {
                let (node, outcome) = (self.node, self.writes.outcome(ticket));
                let reply = async { node.written(slot, outcome.await, by).await };
                unhurried(&mut self.wire, reply).await?
            }
        };
        let reply = match request {
            Some(request) if proxy::is_refusal(&reply) => {
                if next.is_followed {
                    proxy::final_refusal(reply)
                } else {
                    self.retry(*request, reply).await?
                }
            }
            _ => reply,
        };
        Ok(match template {
            Some(template) => transaction::fill(template, reply),
            None => reply,
        })
    }

    async fn flush_if_long(&mut self) -> io::Result<()> {
        if self.wire.output.len() >= FLUSH_BYTES {
            self.wire.flush().await?;
        }
        Ok(())
    }
}

/// Waits for a reply. Those before it, which are ready, leave if that takes longer.
async fn unhurried(wire: &mut Wire, reply: impl Future<Output = Reply>) -> io::Result<Reply> {
    let mut reply = pin!(reply);
    if !wire.output.is_empty() {
        if let Some(reply) = reply.as_mut().now_or_never() {
            return Ok(reply);
        }
        if let Ok(reply) = timeout(FLUSH_WITHIN, reply.as_mut()).await {
            return Ok(reply);
        }
        wire.flush().await?;
    }
    Ok(reply.await)
}
