//! Calls survive the way to bytes and back; bytes that are no call are refused, never a panic.

use super::harness::{Random, seed};
use crate::store::DiskId;
use crate::transport::codec::{PostcardCodec, client, context};
use crate::transport::frame::Frame;
use crate::transport::lane::Lane;
use crate::transport::service::{Hello, PROTOCOL, PeerRequest, PeerResponse, Receipt, Refusal};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use std::io;
use std::pin::Pin;
use tarpc::{ClientMessage, Request, Response, trace};
use tokio::io::AsyncWriteExt;
use tokio_serde::{Deserializer, Serializer};

fn write<T>(item: &T) -> BytesMut
where
    PostcardCodec: Serializer<T, Error = io::Error>,
{
    let bytes = Pin::new(&mut PostcardCodec).serialize(item).unwrap();
    BytesMut::from(bytes.as_ref())
}

fn read<T>(bytes: &BytesMut) -> io::Result<T>
where
    PostcardCodec: Deserializer<T, Error = io::Error>,
{
    Pin::new(&mut PostcardCodec).deserialize(bytes)
}

fn calls() -> Vec<ClientMessage<PeerRequest>> {
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: "test".to_owned(),
        from: 1,
        to: 2,
        lane: Lane::Data,
        disk: DiskId(u128::MAX),
    };
    let frame = Frame::seal(7, Bytes::from(vec![0xa5; 1000]));
    let request = |id, message| {
        ClientMessage::Request(Request {
            context: context(),
            id,
            message,
        })
    };
    vec![
        request(0, PeerRequest::Hello { hello }),
        request(u64::MAX, PeerRequest::Deliver { frame }),
        ClientMessage::Cancel {
            trace_context: trace::Context::default(),
            request_id: 3,
        },
    ]
}

#[test]
fn calls_and_answers_survive() {
    for call in calls() {
        let again = read(&write(&call)).unwrap();
        match (call, again) {
            (ClientMessage::Request(call), ClientMessage::Request(again)) => {
                assert_eq!(call.id, again.id);
                assert_eq!(format!("{:?}", call.message), format!("{:?}", again.message));
            }
            (ClientMessage::Cancel { request_id, .. }, ClientMessage::Cancel { request_id: again, .. }) => {
                assert_eq!(request_id, again);
            }
            (call, again) => panic!("{call:?} became {again:?}"),
        }
    }
    for answer in [Ok(Receipt), Err(Refusal::Sequence(4))] {
        let answer = Response {
            request_id: 9,
            message: Ok(PeerResponse::Deliver(answer)),
        };
        let again: Response<PeerResponse> = read(&write(&answer)).unwrap();
        assert_eq!(format!("{answer:?}"), format!("{again:?}"));
    }
}

#[test]
fn what_is_cut_short_or_too_long_is_refused() {
    for call in calls() {
        let whole = write(&call);
        for len in 0..whole.len() {
            let cut = BytesMut::from(&whole[..len]);
            assert!(read::<ClientMessage<PeerRequest>>(&cut).is_err());
        }
        let mut longer = whole.clone();
        longer.extend_from_slice(&[0]);
        assert!(read::<ClientMessage<PeerRequest>>(&longer).is_err());
    }
}

/// What one connects to by mistake makes this node set aside no memory.
#[tokio::test]
async fn a_long_answer_is_refused_by_its_length() {
    let (near, mut far) = tokio::io::duplex(64);
    let mut answers = client(Box::new(near), 32 << 20);
    far.write_all(&(4_097_u32).to_be_bytes()).await.unwrap();
    let refused = answers.next().await.unwrap();
    assert!(refused.unwrap_err().to_string().contains("4097 bytes"));
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::new(seed());
    for _ in 0..20_000 {
        let len = random.below(40);
        let mut noise: BytesMut = (0..len).map(|_| random.next().to_le_bytes()[0]).collect();
        let _ = read::<ClientMessage<PeerRequest>>(&noise);
        let _ = read::<Response<PeerResponse>>(&noise);
        // Past the first tag more of the reading is reached.
        if let Some(first) = noise.first_mut() {
            *first %= 2;
        }
        let _ = read::<ClientMessage<PeerRequest>>(&noise);
    }
}
