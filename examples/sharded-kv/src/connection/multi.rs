//! What `MULTI` and `WATCH` need to know of the groups.

use std::io;

use bytes::Bytes;

use super::Connection;
use crate::proxy;
use crate::resp::Reply;

impl Connection<'_> {
    /// Answers a command that was queued. One that this node would not carry out dooms the transaction.
    pub(super) fn queued(&mut self, slot: Option<u16>) -> Reply {
        match slot
            .filter(|_| !self.is_proxy())
            .and_then(|slot| self.node.redirection(slot))
        {
            Some(redirection) => {
                self.session.abort_transaction();
                redirection
            }
            None => Reply::status("QUEUED"),
        }
    }

    /// Watches keys. Nothing is in flight meanwhile: what follows may be `EXEC`.
    pub(super) async fn watch(&mut self, slot: u16, keys: Vec<Bytes>) -> io::Result<Reply> {
        // This may take long: what is ready does not wait for it.
        self.wire.flush().await?;
        Ok(match self.node.versions(slot, keys.clone(), self.is_proxy()).await {
            Ok(versions) => {
                self.session.watched.add(slot, &keys, &versions);
                Reply::OK
            }
            Err(reply) if self.is_proxy() => proxy::final_refusal(reply),
            Err(reply) => reply,
        })
    }
}
