//! What `MULTI` and `WATCH` need to know of the groups.

use std::io;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::Connection;
use crate::proxy::{self, Retries};
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

    /// Watches keys. Nothing is in flight meanwhile: what follows may be `EXEC`. Where no leader is known it waits for one, as
    /// other commands do.
    pub(super) async fn watch(&mut self, slot: u16, keys: Vec<Bytes>) -> io::Result<Reply> {
        // This may take long: what is ready does not wait for it.
        self.wire.flush().await?;
        let by = self.leaders_by();
        let mut retries = Retries::from_now();
        loop {
            let refusal = match self.node.versions(slot, keys.clone(), self.is_proxy()).await {
                Ok(versions) => {
                    self.session.watched.add(slot, &keys, &versions);
                    return Ok(Reply::OK);
                }
                Err(refusal) => refusal,
            };
            if !self.is_proxy() {
                return Ok(self.node.redirected(slot, refusal, by).await);
            }
            match retries.next_pause().filter(|_| proxy::is_refusal(&refusal)) {
                Some(pause) if Instant::now() < by => sleep(pause).await,
                _ => return Ok(proxy::final_refusal(refusal)),
            }
        }
    }
}
