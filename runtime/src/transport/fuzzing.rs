//! What peers send, for fuzzers.

use super::codec::{self, PostcardCodec};
use super::frame::Frame;
use super::guard::Guarded;
use super::lane::Lane;
use super::service::{
    Hello, PROTOCOL, PeerRequest, PeerResponse, Receipt, Refusal, SnapshotAnswer, SnapshotChunk, SnapshotOffer,
    Welcome, chunk_crc,
};
use super::wire::{Decoded, NodeParcel, decode, encode, encode_node, encoded_len};
use crate::fuzzing::{Target, cuts};
use crate::store::DiskId;
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt};
use raftyard_groups::{
    Body, Entry, Grant, GroupId, Incarnation, LogId, LogIndex, Membership, Message, NodeId, NodeIncarnation,
    NodeMessage, Payload, Promise, Prompt, ReadRequest, ReadRound, ReplyId, SessionId, Term,
};
use std::io::{self, Cursor};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tarpc::{ClientMessage, Request, Response};
use tokio::io::AsyncReadExt;
use tokio_serde::{Deserializer, Serializer};

/// A connection's first bytes: what a caller says before it was welcomed.
pub(crate) const STREAM: Target = Target {
    name: "peer_stream",
    read: |data| read_stream(data, &[]).1,
    check: check_stream,
    samples: || {
        let calls = call_samples();
        let framed = |call: &[u8]| [&u32::try_from(call.len()).unwrap_or_default().to_be_bytes(), call].concat();
        vec![calls.iter().flat_map(|call| framed(call)).collect()]
    },
};

/// One call: hello, frame, offer and chunk of a snapshot.
pub(crate) const CALL: Target = Target {
    name: "peer_call",
    read: |data| call(data).is_ok(),
    check: |data| check_packed(data, call, write_call),
    samples: call_samples,
};

/// One answer to a call.
pub(crate) const ANSWER: Target = Target {
    name: "peer_answer",
    read: |data| answer(data).is_ok(),
    // What tarpc itself answers, it does not read as it wrote it; nobody looks at that but for people.
    check: |data| match answer(data) {
        Ok(Response { message: Err(_), .. }) => {}
        _ => check_packed(data, answer, write_answer),
    },
    samples: answer_samples,
};

/// What a frame carries: messages between groups and between nodes.
pub(crate) const PAYLOAD: Target = Target {
    name: "peer_payload",
    read: |data| decode(&Bytes::copy_from_slice(data)).is_ok(),
    check: check_payload,
    samples: || [messages(), node_messages()].concat(),
};

fn call(data: &[u8]) -> io::Result<ClientMessage<PeerRequest>> {
    Pin::new(&mut PostcardCodec).deserialize(&BytesMut::from(data))
}

fn write_call(call: &ClientMessage<PeerRequest>) -> io::Result<Bytes> {
    Pin::new(&mut PostcardCodec).serialize(call)
}

fn answer(data: &[u8]) -> io::Result<Response<PeerResponse>> {
    Pin::new(&mut PostcardCodec).deserialize(&BytesMut::from(data))
}

fn write_answer(answer: &Response<PeerResponse>) -> io::Result<Bytes> {
    Pin::new(&mut PostcardCodec).serialize(answer)
}

/// What was read is written and read again as the same, and no part of it is anything.
fn check_packed<T>(data: &[u8], read: fn(&[u8]) -> io::Result<T>, write: fn(&T) -> io::Result<Bytes>) {
    let Ok(value) = read(data) else { return };
    let written = write(&value);
    assert!(written.is_ok(), "what was read can't be written");
    let written = written.unwrap_or_default();
    assert!(written.len() <= data.len(), "written it is longer than it was");
    let again = read(&written).ok().and_then(|again| write(&again).ok());
    assert_eq!(again, Some(written), "it is not read as it was written");
    for cut in cuts(data.len()) {
        assert!(read(data.split_at(cut).0).is_err(), "a part of it was taken for a call");
    }
}

/// Calls on a connection without a welcome, and whether it ended well. The bytes come in two parts.
fn read_stream(first: &[u8], second: &[u8]) -> (usize, bool) {
    let bytes = AsyncReadExt::chain(Cursor::new(first.to_vec()), Cursor::new(second.to_vec()));
    let stream = tokio::io::join(bytes, tokio::io::sink());
    let guarded = Guarded::new(Box::new(stream), Arc::new(AtomicBool::new(false)));
    let mut calls = codec::server(Box::new(guarded), 32 << 20);
    let mut count = 0;
    // Nothing of it ever waits.
    while let Some(Some(call)) = calls.next().now_or_never() {
        if call.is_err() {
            return (count, false);
        }
        count += 1;
    }
    (count, true)
}

/// Wherever they are parted, the calls are the same. Of a connection that fails, how many came before that does not
/// matter.
fn check_stream(data: &[u8]) {
    let (count, is_right) = read_stream(data, &[]);
    for cut in cuts(data.len()).step_by(7) {
        let (first, second) = data.split_at(cut);
        let (some, ends_well) = read_stream(first, second);
        assert_eq!(ends_well, is_right, "cut at {cut}");
        assert!(!is_right || some == count, "{some} calls of {count}, cut at {cut}");
    }
}

fn check_payload(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    let Ok(decoded) = decode(&payload) else { return };
    assert_eq!(
        decode(&written(&decoded)).as_ref(),
        Ok(&decoded),
        "not as it was written"
    );
    for cut in cuts(data.len()) {
        let Ok(part) = decode(&payload.slice(..cut)) else {
            continue;
        };
        assert!(
            decoded.messages.starts_with(&part.messages) && decoded.between_nodes.starts_with(&part.between_nodes),
            "a part holds what the whole does not"
        );
        assert_ne!(part, decoded, "a part was taken for all");
    }
}

fn written(decoded: &Decoded) -> Bytes {
    let mut out = BytesMut::new();
    for message in &decoded.messages {
        let written = encode(message, encoded_len(message), usize::MAX >> 32, &mut out);
        assert!(written.is_ok(), "what was read can't be written: {written:?}");
    }
    for parcel in &decoded.between_nodes {
        assert!(encode_node(parcel, &mut out).is_ok(), "what was read can't be written");
    }
    out.freeze()
}

fn call_samples() -> Vec<Vec<u8>> {
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: "raftyard".to_owned(),
        from: 1,
        to: 2,
        lane: Lane::Data,
        disk: DiskId(300),
    };
    let offer = SnapshotOffer {
        group: 7,
        incarnation: 1,
        term: 3,
        last_term: 2,
        last_index: 300,
        size: 1 << 20,
        crc: 0x1234_5678,
    };
    let bytes = Bytes::from_static(b"a piece of a snapshot");
    let chunk = SnapshotChunk {
        group: 7,
        offset: 300,
        crc: chunk_crc(7, 300, &bytes),
        bytes,
    };
    let payload = Bytes::from(messages().concat());
    let requests = [
        PeerRequest::Hello { hello },
        PeerRequest::Deliver {
            frame: Frame::seal(0, payload),
        },
        PeerRequest::SnapshotOffer { offer },
        PeerRequest::SnapshotChunk { chunk },
    ];
    let calls = (1..).zip(requests).map(|(id, message)| {
        ClientMessage::Request(Request {
            context: codec::context(),
            id,
            message,
        })
    });
    let cancel = ClientMessage::Cancel {
        trace_context: tarpc::trace::Context::default(),
        request_id: 300,
    };
    let written = calls.chain([cancel]).map(|call| write_call(&call));
    written.filter_map(|call| call.ok().map(Vec::from)).collect()
}

fn answer_samples() -> Vec<Vec<u8>> {
    let refusals = [
        Refusal::Protocol(3),
        Refusal::Cluster("other".to_owned()),
        Refusal::Target(300),
        Refusal::Sequence(7),
        Refusal::Payload,
    ];
    let refused = refusals.map(|refusal| PeerResponse::Deliver(Err(refusal)));
    let taken = [
        PeerResponse::Hello(Ok(Welcome { disk: DiskId(300) })),
        PeerResponse::Deliver(Ok(Receipt)),
        PeerResponse::SnapshotOffer(Ok(SnapshotAnswer::Wanted { offset: 300 })),
        PeerResponse::SnapshotChunk(Ok(SnapshotAnswer::Complete)),
    ];
    let answers = (1..).zip(taken.into_iter().chain(refused));
    let written = answers.map(|(request_id, response)| {
        write_answer(&Response {
            request_id,
            message: Ok(response),
        })
    });
    written.filter_map(|answer| answer.ok().map(Vec::from)).collect()
}

/// One of each kind.
fn messages() -> Vec<Vec<u8>> {
    let last = LogId::new(3, 300);
    let session = SessionId {
        granter: NodeIncarnation { boot: 4, random: 5 },
        counter: 6,
    };
    let (commit, round) = (LogIndex(299), ReadRound(9));
    let membership = Membership::of_voters([1, 2, 3].map(NodeId)).unwrap_or_default();
    let payloads = [
        Payload::Noop,
        Payload::Command(Bytes::from_static(b"set x 1")),
        Payload::Command(Bytes::new()),
        Payload::Membership(Arc::new(membership)),
    ];
    let entries = (301..).zip(payloads).map(|(index, payload)| Entry {
        index: LogIndex(index),
        term: Term(3),
        payload,
    });
    let bodies = [
        Body::Prompt(Prompt::PreVote { last }),
        Body::Prompt(Prompt::PreVoteReply { granted: true }),
        Body::Prompt(Prompt::VoteRefused),
        Body::Prompt(Prompt::Append {
            prev: last,
            entries: entries.collect(),
            commit,
        }),
        Body::Prompt(Prompt::AppendRejected {
            refused: LogIndex(300),
            hint: last,
        }),
        Body::Prompt(Prompt::Heartbeat { commit, round }),
        Body::Prompt(Prompt::HeartbeatReply {
            round,
            priority: 1,
            commit,
            session: Some(session),
        }),
        Body::Prompt(Prompt::TimeoutNow),
        Body::Prompt(Prompt::ReadIndex {
            request: ReadRequest(8),
        }),
        Body::Prompt(Prompt::ReadIndexIs {
            request: ReadRequest(8),
            index: LogIndex(300),
        }),
        Body::Prompt(Prompt::Sleep { last, commit, session }),
        Body::Prompt(Prompt::Resigned),
        Body::Prompt(Prompt::ResignedAck),
        Body::Promise(Promise::Vote { last, transfer: false }),
        Body::Promise(Promise::VoteGranted),
        Body::Promise(Promise::AppendAccepted {
            matched: LogIndex(304),
            session: None,
        }),
    ];
    let messages = bodies.map(|body| Message {
        group: GroupId(7),
        incarnation: Incarnation(1),
        from: NodeId(1),
        to: NodeId(2),
        term: Term(3),
        body,
    });
    let one = |message: &Message| {
        let decoded = Decoded {
            messages: vec![message.clone()],
            ..Decoded::default()
        };
        written(&decoded).to_vec()
    };
    messages.iter().map(one).collect()
}

fn node_messages() -> Vec<Vec<u8>> {
    let life = NodeIncarnation { boot: 4, random: 5 };
    let id = ReplyId {
        incarnation: life,
        number: 12,
    };
    let session = SessionId {
        granter: life,
        counter: 6,
    };
    let messages = [
        NodeMessage::Heartbeat {
            incarnation: life,
            seq: 10,
            newest_reply: Some(id),
        },
        NodeMessage::Reply {
            to: life,
            seq: 10,
            id,
            granted: Some(Grant {
                session,
                promise_ms: 1_000,
            }),
        },
    ];
    let one = |message| {
        let parcel = NodeParcel {
            from: NodeId(1),
            to: NodeId(2),
            message,
        };
        let decoded = Decoded {
            between_nodes: vec![parcel],
            ..Decoded::default()
        };
        written(&decoded).to_vec()
    };
    messages.map(one).to_vec()
}
