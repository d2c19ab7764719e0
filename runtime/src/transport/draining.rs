//! Whether the bytes that were handed to a connection go anywhere.

use super::network::ByteStream;
use super::outbox::Outbox;
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// When anything moved on a connection: a frame was acknowledged, or bytes were taken that had had to wait.
///
/// Of bytes that are taken at once nobody knows more than that there was room for them in this machine. But once the
/// socket is full, it takes further bytes only as the other end takes those before. So a large frame on a slow link is
/// seen to move, and one on a dead link stands still as soon as the socket is full.
#[derive(Debug)]
pub(super) struct Motion {
    last: Mutex<Instant>,
    outbox: Arc<Outbox>,
}

impl Motion {
    pub(super) fn new(outbox: Arc<Outbox>) -> Arc<Self> {
        Arc::new(Self {
            last: Mutex::new(Instant::now()),
            outbox,
        })
    }

    /// Something is on its way from now on, or arrived.
    pub(super) fn begin(&self) {
        *self.last.lock() = Instant::now();
    }

    fn drained(&self) {
        self.begin();
        self.outbox.drained();
    }

    /// Returns once nothing has moved for so long.
    pub(super) async fn stalls(&self, limit: Duration) {
        loop {
            let until = *self.last.lock() + limit;
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// A connection whose motion is watched.
pub(super) struct Draining {
    stream: Box<dyn ByteStream>,
    motion: Arc<Motion>,
    /// The last write had to wait.
    is_full: bool,
}

impl Draining {
    pub(super) fn new(stream: Box<dyn ByteStream>, motion: Arc<Motion>) -> Self {
        Self {
            stream,
            motion,
            is_full: false,
        }
    }

    fn note<T>(&mut self, taken: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &taken {
            Poll::Pending => self.is_full = true,
            Poll::Ready(Ok(_)) if self.is_full => {
                self.is_full = false;
                self.motion.drained();
            }
            Poll::Ready(_) => {}
        }
        taken
    }
}

impl AsyncRead for Draining {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Draining {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let taken = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(taken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::outbox::OutboxBounds;
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_a_full_connection_takes_is_motion_and_what_an_empty_one_takes_is_not() {
        let bounds = OutboxBounds {
            bytes_max: 1,
            batch_bytes_target: 1,
            message_bytes_max: 1,
        };
        let outbox = Arc::new(Outbox::new(bounds, Arc::default()));
        let motion = Motion::new(Arc::clone(&outbox));
        let (near, mut far) = tokio::io::duplex(1_000);
        let mut draining = Draining::new(Box::new(near), Arc::clone(&motion));
        draining.write_all(&[0; 1_000]).await.unwrap();
        assert_eq!(outbox.flow().moved, 0, "there was room");
        let begun = Instant::now();
        assert!(timeout(SECOND, draining.write_all(&[0; 500])).await.is_err());
        assert_eq!(outbox.flow().moved, 0, "nobody reads");

        far.read_exact(&mut [0; 100]).await.unwrap();
        assert!(timeout(SECOND, draining.write_all(&[0; 500])).await.is_err());
        assert_eq!(outbox.flow().moved, 1, "somebody read");
        motion.stalls(5 * SECOND).await;
        assert_eq!(begun.elapsed(), 6 * SECOND, "of which it moved after the first");
    }
}
