//! The bytes of a connection, one direction each.

use super::Fabric;
use crate::sim::vital::Vital;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that are on their way before their writer waits.
const PIPE_BYTES: usize = 256 << 10;

/// One direction of a connection.
pub(super) struct Pipe {
    from: NodeId,
    to: NodeId,
    /// What is on its way, and when it arrives: in order, as it was sent.
    queue: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// The writer closed it: after what is on its way nothing comes.
    is_ended: bool,
    /// Nobody reads any more.
    is_unread: bool,
    is_reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    pub(super) fn new(from: NodeId, to: NodeId) -> Self {
        Self {
            from,
            to,
            queue: VecDeque::new(),
            bytes: 0,
            is_ended: false,
            is_unread: false,
            is_reset: false,
            reader: None,
            writer: None,
        }
    }

    /// Whether its writer closed it.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Breaks it: what is on its way is lost, and both ends are told.
    pub(super) fn reset(&mut self) {
        self.is_reset = true;
        self.queue.clear();
        self.wake();
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// One end of a connection.
pub(super) struct End {
    vital: Vital,
    inward: Arc<Mutex<Pipe>>,
    outward: Arc<Mutex<Pipe>>,
    fabric: Arc<Fabric>,
    /// Until what comes next arrives.
    arrival: Option<Pin<Box<Sleep>>>,
}

impl End {
    pub(super) fn new(vital: Vital, inward: Arc<Mutex<Pipe>>, outward: Arc<Mutex<Pipe>>, fabric: Arc<Fabric>) -> Self {
        Self {
            vital,
            inward,
            outward,
            fabric,
            arrival: None,
        }
    }
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.vital.is_dead() {
            return Poll::Pending;
        }
        loop {
            let (from, to, arrives) = {
                let mut pipe = this.inward.lock();
                if pipe.is_reset {
                    return Poll::Ready(Err(broken()));
                }
                pipe.reader = Some(cx.waker().clone());
                let arrives = pipe.queue.front().map(|(arrives, _)| *arrives);
                if arrives.is_none() && !pipe.is_ended {
                    return Poll::Pending;
                }
                (pipe.from, pipe.to, arrives)
            };
            ready!(this.fabric.poll_mended(from, to, cx));
            if let Some(arrives) = arrives.filter(|arrives| *arrives > Instant::now()) {
                let sleep = this
                    .arrival
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(arrives)));
                if sleep.deadline() != arrives {
                    sleep.as_mut().reset(arrives);
                }
                ready!(sleep.as_mut().poll(cx));
                continue;
            }
            let mut pipe = this.inward.lock();
            if let Some((_, bytes)) = pipe.queue.front_mut() {
                let len = bytes.len().min(buf.remaining());
                buf.put_slice(bytes.get(..len).unwrap_or_default());
                bytes.advance(len);
                if bytes.is_empty() {
                    pipe.queue.pop_front();
                }
                pipe.bytes = pipe.bytes.saturating_sub(len);
                if let Some(writer) = pipe.writer.take() {
                    writer.wake();
                }
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let (from, to, is_unread) = {
            let mut pipe = self.outward.lock();
            if pipe.is_reset {
                return Poll::Ready(Err(broken()));
            }
            if !pipe.is_unread && pipe.bytes >= PIPE_BYTES {
                pipe.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            (pipe.from, pipe.to, pipe.is_unread)
        };
        if self.vital.is_dead() || self.vital.burns_down("a send") {
            // Nobody is there to be told.
            return Poll::Ready(Ok(buf.len()));
        }
        // The news has to come here first.
        if is_unread && !self.fabric.is_cut(to, from) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let latency = self.fabric.latency(from, to);
        let crc = u64::from(crc32fast::hash(buf));
        self.fabric.trace.event(&[2, from.0, to.0, buf.len() as u64, crc]);
        let mut pipe = self.outward.lock();
        let last = pipe.queue.back().map(|(arrives, _)| *arrives);
        let arrives = last.max(Some(Instant::now() + latency)).unwrap_or_else(Instant::now);
        pipe.bytes += buf.len();
        pipe.queue.push_back((arrives, Bytes::copy_from_slice(buf)));
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.outward.lock();
        pipe.is_ended = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.vital.is_silent() {
            return;
        }
        let mut outward = self.outward.lock();
        outward.is_ended = true;
        outward.wake();
        drop(outward);
        let mut inward = self.inward.lock();
        inward.is_unread = true;
        inward.wake();
    }
}
