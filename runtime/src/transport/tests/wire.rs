//! Messages survive the way to bytes and back; bytes that are no message are refused, never a panic.

use super::harness::{Random, decode, seed};
use crate::membership::BadMembership;
use crate::transport::wire::{
    self, NodeParcel, PREFIX_BYTES, WireError, encode, encode_node, encoded_len, encoded_node_len,
};
use bytes::{Bytes, BytesMut};
use raftyard_groups::{
    Body, Entry, Grant, GroupId, Incarnation, LogId, LogIndex, Membership, Message, NodeId, NodeIncarnation,
    NodeMessage, Payload, Promise, Prompt, ReadRequest, ReadRound, ReplyId, SessionId, Term,
};
use std::sync::Arc;

fn message(body: Body) -> Message {
    Message {
        group: GroupId(7),
        incarnation: Incarnation(2),
        from: NodeId(1),
        to: NodeId(u64::MAX),
        term: Term(5),
        body,
    }
}

fn append(prev: LogId, payloads: Vec<Payload>) -> Message {
    let entry = |(offset, payload)| Entry {
        index: prev.index.plus(offset + 1),
        term: Term(4),
        payload,
    };
    message(Body::Prompt(Prompt::Append {
        prev,
        entries: payloads.into_iter().enumerate().map(entry).collect(),
        commit: LogIndex(40),
    }))
}

fn membership() -> Payload {
    let nodes = [1, 2, 3].map(NodeId);
    Payload::Membership(Arc::new(Membership::new(nodes, [NodeId(4)], [NodeId(5)]).unwrap()))
}

/// At least one of each variant.
fn each_variant() -> Vec<Message> {
    let last = LogId::new(4, 41);
    let session = SessionId {
        granter: NodeIncarnation {
            boot: 3,
            random: u64::MAX,
        },
        counter: 7,
    };
    let command = |bytes: &'static [u8]| Payload::Command(Bytes::from_static(bytes));
    let prompts = [
        Prompt::PreVote { last },
        Prompt::PreVoteReply { granted: true },
        Prompt::PreVoteReply { granted: false },
        Prompt::VoteRefused,
        Prompt::AppendRejected {
            refused: LogIndex(41),
            hint: last,
        },
        Prompt::Heartbeat {
            commit: LogIndex(40),
            round: ReadRound(9),
        },
        Prompt::HeartbeatReply {
            round: ReadRound(9),
            priority: 3,
            commit: LogIndex(40),
            session: Some(session),
        },
        Prompt::HeartbeatReply {
            round: ReadRound(9),
            priority: 3,
            commit: LogIndex::ZERO,
            session: None,
        },
        Prompt::Sleep {
            last,
            commit: LogIndex(41),
            session,
        },
        Prompt::Resigned,
        Prompt::ResignedAck,
        Prompt::TimeoutNow,
        Prompt::ReadIndex {
            request: ReadRequest(7),
        },
        Prompt::ReadIndexIs {
            request: ReadRequest(7),
            index: LogIndex(40),
        },
    ];
    let promises = [
        Promise::Vote { last, transfer: false },
        Promise::Vote { last, transfer: true },
        Promise::VoteGranted,
        Promise::AppendAccepted {
            matched: LogIndex(41),
            session: None,
        },
        Promise::AppendAccepted {
            matched: LogIndex(41),
            session: Some(session),
        },
    ];
    let mut messages = vec![
        append(last, vec![]),
        append(last, vec![Payload::Noop, command(b""), command(b"set x")]),
        append(LogId::ZERO, vec![command(&[0xff; 1000]), Payload::Noop]),
        append(last, vec![membership(), command(b"set x"), membership()]),
    ];
    messages.extend(prompts.map(|prompt| message(Body::Prompt(prompt))));
    messages.extend(promises.map(|promise| message(Body::Promise(promise))));
    messages
}

fn packed(messages: &[Message]) -> Bytes {
    let mut buf = BytesMut::new();
    for message in messages {
        let before = buf.len();
        let len = encoded_len(message);
        encode(message, len, usize::MAX, &mut buf).unwrap();
        assert_eq!(buf.len() - before, len);
    }
    buf.freeze()
}

/// `message` without its length prefix, put back behind a prefix that is true of what is left.
fn prefixed(body: &[u8]) -> Bytes {
    let len = u32::try_from(body.len()).unwrap();
    [len.to_le_bytes().as_slice(), body].concat().into()
}

#[test]
fn each_variant_survives_alone_and_among_others() {
    let messages = each_variant();
    for alone in messages.chunks(1) {
        assert_eq!(decode(&packed(alone)).unwrap(), alone);
    }
    assert_eq!(decode(&packed(&messages)).unwrap(), messages);
    assert_eq!(decode(&Bytes::new()).unwrap(), []);
}

/// The form of version 3, byte for byte: nodes of one protocol version must agree on it.
#[test]
fn the_form_is_pinned() {
    let message = append(LogId::new(4, 41), vec![Payload::Command("ab".into()), Payload::Noop]);
    let id = |n: u64| n.to_le_bytes().to_vec();
    let expected = [
        vec![96, 0, 0, 0, 3, 4],
        [7, 2, 1, u64::MAX, 5].map(id).concat(),
        [4, 41, 40].map(id).concat(),
        vec![2, 0, 0, 0],
        id(4),
        vec![2, 0, 0, 0, b'a', b'b'],
        id(4),
        vec![0xff; 4],
    ];
    assert_eq!(packed(&[message]), expected.concat());
}

fn is_truncated(error: &WireError) -> bool {
    match error {
        WireError::Truncated { .. } => true,
        WireError::Membership { reason, .. } => *reason == BadMembership::Unreadable,
        _ => false,
    }
}

#[test]
fn every_truncation_is_refused() {
    for message in each_variant() {
        let whole = packed(&[message]);
        let body = &whole[PREFIX_BYTES..];
        for len in 1..whole.len() {
            assert!(decode(&whole.slice(..len)).is_err_and(|error| is_truncated(&error)));
        }
        for len in 0..body.len() {
            let refused = decode(&prefixed(&body[..len])).unwrap_err();
            assert!(is_truncated(&refused), "{refused}");
        }
        let longer = prefixed(&[body, &[0]].concat());
        assert_eq!(decode(&longer).unwrap_err(), WireError::Trailing(1));
    }
}

#[test]
fn what_means_nothing_is_refused() {
    let vote_refused = packed(&[message(Body::Prompt(Prompt::VoteRefused))]);
    let with = |at: usize, byte: u8| {
        let mut bytes = vote_refused.to_vec();
        bytes[at] = byte;
        decode(&bytes.into()).unwrap_err()
    };
    assert_eq!(with(PREFIX_BYTES, 1), WireError::Version(1));
    assert_eq!(with(PREFIX_BYTES + 1, 0), WireError::Tag(0));
    assert_eq!(with(PREFIX_BYTES + 1, 17), WireError::Tag(17));

    let granted = message(Body::Prompt(Prompt::PreVoteReply { granted: true }));
    let mut bytes = packed(&[granted]).to_vec();
    *bytes.last_mut().unwrap() = 2;
    assert_eq!(decode(&bytes.into()).unwrap_err(), WireError::Bool(2));

    let beyond = append(LogId::new(4, u64::MAX - 1), vec![Payload::Noop]);
    let mut bytes = packed(&[beyond]).to_vec();
    let prev_index = PREFIX_BYTES + 2 + 5 * 8 + 8;
    bytes[prev_index] = 0xff;
    let refused = decode(&bytes.into()).unwrap_err();
    assert_eq!(refused, WireError::Index(LogIndex(u64::MAX)));
}

/// Would abort for want of memory if counts and lengths were believed.
#[test]
fn declared_counts_and_lengths_allocate_nothing() {
    let empty = packed(&[append(LogId::ZERO, vec![])]);
    let mut bytes = empty.to_vec();
    let count = bytes.len() - 4;
    bytes[count..].fill(0xff);
    assert!(matches!(decode(&bytes.into()), Err(WireError::Truncated { .. })));

    let one = packed(&[append(LogId::ZERO, vec![Payload::Command(Bytes::new())])]);
    let mut bytes = one.to_vec();
    let len = bytes.len() - 4;
    bytes[len..].copy_from_slice(&(u32::MAX - 2).to_le_bytes());
    assert!(matches!(decode(&bytes.into()), Err(WireError::Truncated { .. })));
    assert!(decode(&Bytes::from_static(&[0xff; 4])).is_err());
}

#[test]
fn random_and_damaged_bytes_never_panic() {
    let mut random = Random::new(seed());
    let whole = packed(&each_variant());
    for _ in 0..20_000 {
        let len = random.below(200);
        let noise: Vec<u8> = (0..len).map(|_| random.next().to_le_bytes()[0]).collect();
        let _ = decode(&prefixed(&noise));
        let _ = decode(&noise.into());

        let mut damaged = whole.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(damaged.len());
            damaged[at] = random.next().to_le_bytes()[0];
        }
        // What can still be read must be sayable: it reads the same again.
        if let Ok(messages) = decode(&damaged.into()) {
            assert_eq!(decode(&packed(&messages)).unwrap(), messages);
        }
    }
}

#[test]
fn a_message_beyond_the_bound_is_refused_and_leaves_no_trace() {
    let message = append(LogId::ZERO, vec![Payload::Command(Bytes::from_static(b"12345"))]);
    let len = encoded_len(&message);
    let mut buf = BytesMut::new();
    let refused = encode(&message, len, len - 1, &mut buf).unwrap_err();
    assert_eq!(
        refused,
        WireError::TooLarge {
            bytes: len,
            bytes_max: len - 1
        }
    );
    assert!(buf.is_empty());
    encode(&message, len, len, &mut buf).unwrap();
}

/// An entry that stays in a cache must not keep other messages' bytes in memory.
#[test]
fn commands_share_the_payload_only_if_they_are_most_of_it() {
    let command = |len| Payload::Command(Bytes::from(vec![1; len]));
    let large = append(LogId::ZERO, vec![command(4096)]);
    let small = append(LogId::ZERO, vec![command(100), command(100)]);
    let payload = packed(&[large, small]);
    let within = |command: &Bytes| payload.as_ptr_range().contains(&command.as_ptr());
    let shares: Vec<bool> = decode(&payload)
        .unwrap()
        .into_iter()
        .flat_map(|message| match message.body {
            Body::Prompt(Prompt::Append { entries, .. }) => entries,
            _ => vec![],
        })
        .map(|entry| match entry.payload {
            Payload::Command(command) => within(&command),
            Payload::Noop | Payload::Membership(_) => panic!("no such entry was sent"),
        })
        .collect();
    assert_eq!(shares, [true, false, false]);
}

/// One of each shape.
fn between_nodes() -> Vec<NodeParcel> {
    let life = |boot| NodeIncarnation { boot, random: !boot };
    let reply = ReplyId {
        incarnation: life(3),
        number: 9,
    };
    let session = SessionId {
        granter: life(4),
        counter: u64::MAX,
    };
    let heartbeat = |newest_reply| NodeMessage::Heartbeat {
        incarnation: life(1),
        seq: 2,
        newest_reply,
    };
    let answer = |granted| NodeMessage::Reply {
        to: life(u64::MAX),
        seq: 5,
        id: reply,
        granted,
    };
    let grant = Grant {
        session,
        promise_ms: 600,
    };
    [
        heartbeat(None),
        heartbeat(Some(reply)),
        answer(None),
        answer(Some(grant)),
    ]
    .map(|message| NodeParcel {
        from: NodeId(1),
        to: NodeId(u64::MAX),
        message,
    })
    .to_vec()
}

fn packed_parcel(parcel: &NodeParcel) -> Vec<u8> {
    let mut buf = BytesMut::new();
    encode_node(parcel, &mut buf).unwrap();
    assert_eq!(buf.len(), encoded_node_len(&parcel.message));
    buf.to_vec()
}

#[test]
fn messages_between_nodes_travel_among_those_of_groups() {
    let messages = vec![message(Body::Prompt(Prompt::TimeoutNow)); 2];
    let parcels = between_nodes();
    let mut payload = packed(&messages[..1]).to_vec();
    parcels.iter().for_each(|parcel| payload.extend(packed_parcel(parcel)));
    payload.extend(packed(&messages[1..]));
    let decoded = wire::decode(&payload.into()).unwrap();
    assert_eq!((decoded.messages, decoded.between_nodes), (messages, parcels));
}

#[test]
fn a_message_between_nodes_that_is_cut_or_too_long_is_refused() {
    for parcel in between_nodes() {
        let whole = packed_parcel(&parcel);
        let body = &whole[PREFIX_BYTES..];
        for len in 2..body.len() {
            let refused = wire::decode(&prefixed(&body[..len])).unwrap_err();
            assert!(is_truncated(&refused), "{len}: {refused}");
        }
        let longer = [body, &[0]].concat();
        assert_eq!(wire::decode(&prefixed(&longer)).unwrap_err(), WireError::Trailing(1));
    }
}

#[test]
fn damage_to_a_message_between_nodes_is_refused_or_means_something_else() {
    for parcel in between_nodes() {
        let whole = packed_parcel(&parcel);
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = wire::decode(&damaged.into()) {
                assert_ne!(decoded.between_nodes, [parcel], "bit {bit} went unnoticed");
            }
        }
    }
}
