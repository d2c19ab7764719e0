//! Commands on all keys: which groups they concern, and what is done group by group.

use std::io;

use bytes::Bytes;
use futures::FutureExt;
use tokio::time::Instant;

use super::Connection;
use crate::command::CountDescription;
use crate::gather::Scope;
use crate::machine::Command;
use crate::node::put::Started;
use crate::proxy::{self, Request, Work};
use crate::resp::Reply;

impl<'a> Connection<'a> {
    pub(super) fn count(&self, describe: CountDescription, by: Instant) -> Started<'a> {
        let node = self.node;
        let reply = async move {
            let count = node.count_keys(Scope::Led, by).await;
            describe(&node.status(), count)
        };
        Started::Later(reply.boxed())
    }

    /// Which groups a command on all keys concerns.
    pub(super) fn scope(&self) -> Scope {
        if self.is_proxy() { Scope::All } else { Scope::Led }
    }

    /// Deletes all keys that this node may. Nothing is in flight meanwhile.
    pub(super) async fn flush(&mut self) -> io::Result<Reply> {
        // This may take long: what is ready does not wait for it.
        self.wire.flush().await?;
        if !self.is_proxy() {
            return Ok(self.node.flush().await);
        }
        let map = self.node.shard_map();
        let flushes: Vec<_> = (0..map.groups())
            .map(|place| {
                let slot = *map.slots_of(place).start();
                let words = ["RAFTYARD".to_owned(), "FLUSH".to_owned(), slot.to_string()];
                let request = Request::new(slot, Work::Write(Command::Flush), words.map(Bytes::from).into());
                let room = self.replies.next_room();
                (self.attempt(&request, self.node.route(slot), room), request)
            })
            .collect();
        let mut outcome = Reply::OK;
        for (started, request) in flushes {
            let mut reply = started.reply().await;
            if proxy::is_refusal(&reply) {
                reply = self.retry(request, reply).await?;
            }
            if reply != Reply::OK {
                outcome = reply;
            }
        }
        Ok(outcome)
    }
}
