//! What a caller may send before it is welcomed, and who is called at any time.

use super::network::ByteStream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a call until then, and of an answer: a hello has the name of a cluster and little else. Who unframes calls
/// makes room for as many bytes as a call says that it has.
const CALL_BYTES_MAX: u32 = 4 << 10;

/// A connection that ends with an error when its other end declares a long call before it is welcomed. One that this node
/// made never welcomes: all that comes on it is answers.
pub(super) struct Guarded {
    stream: Box<dyn ByteStream>,
    welcomed: Arc<AtomicBool>,
    /// The length of the next call, as far as it was read.
    head: Vec<u8>,
    /// Bytes of this call that were not read yet.
    left: usize,
}

impl Guarded {
    /// Until `welcomed` is true.
    pub(super) fn new(stream: Box<dyn ByteStream>, welcomed: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            welcomed,
            head: Vec::new(),
            left: 0,
        }
    }

    fn check(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            if let Ok(head) = <[u8; 4]>::try_from(self.head.as_slice()) {
                let length = u32::from_be_bytes(head);
                if length > CALL_BYTES_MAX {
                    let text = format!("{length} bytes where few were due");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                self.left = usize::try_from(length).unwrap_or(usize::MAX);
                self.head.clear();
            }
        }
        Ok(())
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if !self.welcomed.load(Relaxed)
            && let Err(error) = self.check(buf.filled().get(before..).unwrap_or_default())
        {
            // A read that fails has read nothing.
            buf.set_filled(before);
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What of `bytes`, sent in pieces of `step`, gets through.
    async fn read(bytes: &[u8], step: usize, is_welcomed: bool) -> io::Result<Vec<u8>> {
        let (mut far, near) = tokio::io::duplex(step);
        let welcomed = Arc::new(AtomicBool::new(is_welcomed));
        let mut guarded = Guarded::new(Box::new(near), welcomed);
        let mut read = Vec::new();
        let sending = async {
            // The other end may break off.
            let _ = far.write_all(bytes).await;
            drop(far);
        };
        let receiving = async {
            let outcome = guarded.read_to_end(&mut read).await;
            drop(guarded);
            outcome
        };
        let ((), outcome) = tokio::join!(sending, receiving);
        outcome.map(|_| read)
    }

    #[tokio::test]
    async fn a_long_call_is_refused_by_its_length_until_the_welcome() {
        let call = |length: u32, bytes: usize| [&length.to_be_bytes()[..], &vec![7; bytes]].concat();
        let short = [call(5, 5), call(0, 0), call(CALL_BYTES_MAX, 4096)].concat();
        let long = [short.clone(), call(CALL_BYTES_MAX + 1, 0)].concat();
        for step in [1, 3, 64, 1 << 20] {
            assert_eq!(read(&short, step, false).await.unwrap(), short);
            let error = read(&long, step, false).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert_eq!(read(&long, step, true).await.unwrap(), long);
        }
    }
}
