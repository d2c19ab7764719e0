//! How calls and answers become bytes: length-delimited postcard.
//!
//! A call is written in a form of its own rather than in tarpc's, without trace ids and time limit. The ids
//! are random, so they would differ from run to run of one seed. The limit would let a caller choose any
//! duration, which tarpc adds to the current instant: one that overflows panics. The calling end keeps its
//! own deadlines, and the answering end answers at once.

use super::guard::Guarded;
use super::network::ByteStream;
use super::service::{PeerRequest, PeerResponse};
use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tarpc::context::{self, Context};
use tarpc::serde_transport::{self, Transport};
use tarpc::{ClientMessage, Request, Response, trace};
use tokio_serde::{Deserializer, Serializer};
use tokio_util::codec::LengthDelimitedCodec;

/// The calling end of a connection.
pub(crate) type ClientTransport =
    Transport<Box<dyn ByteStream>, Response<PeerResponse>, ClientMessage<PeerRequest>, PostcardCodec>;

/// The answering end of a connection.
pub(crate) type ServerTransport =
    Transport<Box<dyn ByteStream>, ClientMessage<PeerRequest>, Response<PeerResponse>, PostcardCodec>;

/// tarpc wants a time limit for each call, beyond which it forgets the call. Ours are kept by `link`, on
/// tokio's clock, which a simulation controls; this one is never reached.
const NO_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The context of a call, at either end.
pub(crate) fn context() -> Context {
    let mut context = context::current();
    context.deadline = Instant::now() + NO_LIMIT;
    context
}

/// Bytes that a frame's call needs beside the payload, at most.
pub(crate) const CALL_OVERHEAD_BYTES: usize = 64;

/// Wraps the calling end of `stream`; no call may have more than `frame_bytes_max` bytes, and answers are short.
pub(crate) fn client(stream: Box<dyn ByteStream>, frame_bytes_max: usize) -> ClientTransport {
    let guarded: Box<dyn ByteStream> = Box::new(Guarded::new(stream, Arc::default()));
    let framed = delimited(frame_bytes_max).new_framed(guarded);
    serde_transport::new(framed, PostcardCodec)
}

/// Wraps the answering end of `stream`; no call or answer may have more than `frame_bytes_max` bytes.
pub(crate) fn server(stream: Box<dyn ByteStream>, frame_bytes_max: usize) -> ServerTransport {
    let framed = delimited(frame_bytes_max).new_framed(stream);
    serde_transport::new(framed, PostcardCodec)
}

fn delimited(frame_bytes_max: usize) -> tokio_util::codec::length_delimited::Builder {
    let mut builder = LengthDelimitedCodec::builder();
    builder.max_frame_length(frame_bytes_max);
    builder
}

/// A call as it is written.
#[derive(Serialize)]
enum CallRef<'a> {
    Request { id: u64, request: &'a PeerRequest },
    Cancel { id: u64 },
}

/// A call as it is read: the same shape.
#[derive(Deserialize)]
enum Call {
    Request { id: u64, request: PeerRequest },
    Cancel { id: u64 },
}

/// Stateless, one per end.
pub(crate) struct PostcardCodec;

impl Serializer<ClientMessage<PeerRequest>> for PostcardCodec {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, item: &ClientMessage<PeerRequest>) -> io::Result<Bytes> {
        match item {
            ClientMessage::Request(call) => {
                let size = match &call.message {
                    PeerRequest::Deliver { frame } => frame.payload_len(),
                    PeerRequest::SnapshotChunk { chunk } => chunk.bytes.len(),
                    PeerRequest::Hello { .. } | PeerRequest::SnapshotOffer { .. } => 0,
                };
                write(
                    &CallRef::Request {
                        id: call.id,
                        request: &call.message,
                    },
                    size,
                )
            }
            ClientMessage::Cancel { request_id, .. } => write(&CallRef::Cancel { id: *request_id }, 0),
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a kind of call that this protocol does not have",
            )),
        }
    }
}

impl Deserializer<ClientMessage<PeerRequest>> for PostcardCodec {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, src: &BytesMut) -> io::Result<ClientMessage<PeerRequest>> {
        Ok(match read(src)? {
            Call::Request { id, request } => ClientMessage::Request(Request {
                context: context(),
                id,
                message: request,
            }),
            Call::Cancel { id } => ClientMessage::Cancel {
                trace_context: trace::Context::default(),
                request_id: id,
            },
        })
    }
}

impl Serializer<Response<PeerResponse>> for PostcardCodec {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, item: &Response<PeerResponse>) -> io::Result<Bytes> {
        write(item, 0)
    }
}

impl Deserializer<Response<PeerResponse>> for PostcardCodec {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, src: &BytesMut) -> io::Result<Response<PeerResponse>> {
        read(src)
    }
}

/// `value` in a buffer that is large enough from the start if its bulk has `size` bytes.
fn write<T: Serialize>(value: &T, size: usize) -> io::Result<Bytes> {
    let buffer = Buffer(Vec::with_capacity(size + CALL_OVERHEAD_BYTES));
    postcard::serialize_with_flavor(value, buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(invalid("bytes after the end of a call".to_owned())),
        Err(error) => Err(invalid(error.to_string())),
    }
}

/// Where postcard writes. Its own flavors for growing buffers go byte by byte.
struct Buffer(Vec<u8>);

impl postcard::ser_flavors::Flavor for Buffer {
    type Output = Bytes;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Bytes> {
        Ok(self.0.into())
    }
}
