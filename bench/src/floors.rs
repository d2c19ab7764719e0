//! What a write can't do without, each measured alone, one after the other on one thing: an fsync, a call to another
//! node, and the way from the caller's thread to another one and back.

use crate::Failure;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tarpc::server::{BaseChannel, Channel};
use tarpc::{client, context, serde_transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_util::codec::LengthDelimitedCodec;

/// Bytes that are written, or sent: about what a small write comes to.
const BYTES: usize = 128;

/// Longest time that is told apart.
const NANOS_MAX: u64 = 60_000_000_000;

/// How long each took, in nanoseconds.
pub(crate) struct Floors {
    fsync: Histogram<u64>,
    call: Histogram<u64>,
    hops: Histogram<u64>,
}

impl Floors {
    /// # Errors
    ///
    /// If there can be no such histogram, which does not happen.
    pub(crate) fn new() -> Result<Self, Failure> {
        let empty = || Histogram::new_with_max(NANOS_MAX, 3);
        Ok(Self {
            fsync: empty()?,
            call: empty()?,
            hops: empty()?,
        })
    }

    /// Measures each for `time`; the fsync of a file in `data`. Blocks.
    ///
    /// # Errors
    ///
    /// What kept one from being measured.
    pub(crate) fn measure(&mut self, data: &Path, time: Duration) -> Result<(), Failure> {
        let mut file = File::create(data.join("floor"))?;
        repeat(&mut self.fsync, time, || {
            file.write_all(&[0; BYTES])?;
            file.sync_data()
        })?;
        let mut called = Called::start()?;
        repeat(&mut self.call, time, || called.call())?;
        let mut other = Other::start();
        Ok(repeat(&mut self.hops, time, || other.hop())?)
    }

    /// Their medians in microseconds, by name.
    pub(crate) fn medians(&self) -> [(&'static str, f64); 3] {
        [
            ("floor_fsync_p50_us", &self.fsync),
            ("floor_call_p50_us", &self.call),
            ("floor_hops_p50_us", &self.hops),
        ]
        .map(|(name, nanos)| (name, crate::measure::count(nanos.value_at_quantile(0.5)) / 1e3))
    }
}

fn repeat(nanos: &mut Histogram<u64>, time: Duration, mut once: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let start = Instant::now();
        once()?;
        let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(NANOS_MAX);
        // In range, so that it is recorded.
        nanos.record(took.min(NANOS_MAX)).ok();
    }
    Ok(())
}

/// Another thread, which answers.
struct Other {
    questions: mpsc::Sender<()>,
    answers: mpsc::Receiver<()>,
}

impl Other {
    fn start() -> Self {
        let ((questions, asked), (answer, answers)) = (mpsc::channel(), mpsc::channel());
        // Ends when the questions do.
        thread::spawn(move || asked.into_iter().try_for_each(|()| answer.send(())));
        Self { questions, answers }
    }

    fn hop(&mut self) -> io::Result<()> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.questions.send(()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.answers.recv().map_err(gone)
    }
}

/// One that gives back what it is given.
#[tarpc::service]
trait Echo {
    async fn echo(bytes: Bytes) -> Bytes;
}

#[derive(Clone)]
struct EchoServer;

impl Echo for EchoServer {
    async fn echo(self, _: context::Context, bytes: Bytes) -> Bytes {
        bytes
    }
}

/// A tarpc service on another thread, over loopback.
struct Called {
    client: EchoClient,
    runtime: Runtime,
    bytes: Bytes,
}

impl Called {
    fn start() -> io::Result<Self> {
        let runtime = current_thread()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?.into_std()?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            current_thread()?.block_on(async {
                let (stream, _) = TcpListener::from_std(listener)?.accept().await?;
                let channel = BaseChannel::with_defaults(serde_transport::new(framed(stream)?, Codec));
                channel.execute(EchoServer.serve()).for_each(|answered| answered).await;
                io::Result::Ok(())
            })
        });
        let client = runtime.block_on(async {
            let stream = TcpStream::connect(address).await?;
            let transport = serde_transport::new(framed(stream)?, Codec);
            io::Result::Ok(EchoClient::new(client::Config::default(), transport).spawn())
        })?;
        Ok(Self {
            client,
            runtime,
            bytes: Bytes::from_static(&[0; BYTES]),
        })
    }

    fn call(&mut self) -> io::Result<()> {
        let answer = self.client.echo(context::current(), self.bytes.clone());
        self.runtime.block_on(answer).map(drop).map_err(io::Error::other)
    }
}

fn current_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn framed(stream: TcpStream) -> io::Result<tokio_util::codec::Framed<TcpStream, LengthDelimitedCodec>> {
    stream.set_nodelay(true)?;
    Ok(LengthDelimitedCodec::builder().new_framed(stream))
}

/// Postcard, as between nodes.
struct Codec;

impl<T: Serialize> tokio_serde::Serializer<T> for Codec {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, item: &T) -> io::Result<Bytes> {
        postcard::to_stdvec(item).map(Bytes::from).map_err(io::Error::other)
    }
}

impl<T: DeserializeOwned> tokio_serde::Deserializer<T> for Codec {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, bytes: &BytesMut) -> io::Result<T> {
        postcard::from_bytes(bytes).map_err(io::Error::other)
    }
}
