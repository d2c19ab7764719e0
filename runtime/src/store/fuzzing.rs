//! What lies in logs, for fuzzers.

pub(crate) use super::segments::LOG;

use super::Tombstone;
use super::record::{
    Back, EntriesReader, Kind, Owner, RecordError, State, decode_state, decode_tombstone, encode_entries, encode_state,
    encode_tombstone, peek,
};
use crate::fuzzing::{Target, cuts};
use bytes::Bytes;
use raftyard_groups::{Entry, GroupId, HardState, Incarnation, LogId, LogIndex, Membership, NodeId, Payload, Term};
use std::sync::Arc;

/// One record, but for its checksum, which is put in front of it here: what a faulty program would write.
pub(crate) const RECORD: Target = Target {
    name: "log_record",
    read: |data| read(sealed(data)).is_ok(),
    check,
    samples: || {
        let unsealed = |record: Vec<u8>| record.split_at(4.min(record.len())).1.to_vec();
        records().into_iter().map(unsealed).collect()
    },
};

#[derive(Debug, PartialEq)]
enum Content {
    State(State, bool),
    Tombstone(Tombstone),
    Entries(Kind, Owner, Term, Vec<Entry>),
}

fn sealed(data: &[u8]) -> Bytes {
    let checksum = crc32fast::hash(data).to_le_bytes();
    [&checksum, data].concat().into()
}

fn read(record: Bytes) -> Result<Content, RecordError> {
    match peek(&record)?.0 {
        Kind::State => decode_state(&record).map(|(state, begins_anew)| Content::State(state, begins_anew)),
        Kind::Tombstone => decode_tombstone(&record).map(Content::Tombstone),
        Kind::Entries | Kind::Moved => {
            let mut reader = EntriesReader::open(record)?;
            let (kind, owner, prev) = (reader.kind(), reader.owner(), reader.prev());
            let mut entries = Vec::new();
            while let Some(span) = reader.advance()? {
                entries.push(reader.entry(span));
            }
            Ok(Content::Entries(kind, owner, prev, entries))
        }
    }
}

fn write(content: &Content) -> Bytes {
    let mut out = Vec::new();
    match content {
        Content::State(state, begins_anew) => encode_state(&mut out, Back::NONE, state, *begins_anew),
        Content::Tombstone(tombstone) => encode_tombstone(&mut out, Back::NONE, tombstone),
        Content::Entries(kind, owner, prev, entries) => {
            encode_entries(&mut out, Back::NONE, *kind, *owner, *prev, entries);
        }
    }
    out.into()
}

fn check(data: &[u8]) {
    let Ok(content) = read(sealed(data)) else { return };
    assert_eq!(read(write(&content)).as_ref(), Ok(&content), "not as it was written");
    for cut in cuts(data.len()) {
        assert!(
            read(sealed(data.split_at(cut).0)).is_err(),
            "a part of it was taken for a record"
        );
    }
}

/// One of each kind.
fn records() -> Vec<Vec<u8>> {
    let owner = Owner {
        group: GroupId(7),
        incarnation: Incarnation(1),
    };
    let membership = Arc::new(Membership::of_voters([1, 2, 3].map(NodeId)).unwrap_or_default());
    let hard_state = HardState {
        term: Term(300),
        vote: Some(NodeId(2)),
    };
    let state = State {
        owner,
        membership: membership.clone(),
        is_witness: false,
        is_lost: false,
        is_in_doubt: false,
        hard_state,
        forgotten: LogId::ZERO,
        base: LogId::ZERO,
        base_membership: Some(membership.clone()),
    };
    let tombstone = Tombstone {
        group: GroupId(8),
        incarnation: owner.incarnation,
        hard_state,
        last: LogId::new(300, 4),
        is_uncertain: false,
    };
    let payloads = [
        (2, Payload::Noop),
        (2, Payload::Command(Bytes::from_static(b"set x 1"))),
        (300, Payload::Command(Bytes::new())),
        (300, Payload::Membership(membership)),
    ];
    let entries: Vec<Entry> = (1..)
        .zip(payloads)
        .map(|(index, (term, payload))| Entry {
            index: LogIndex(index),
            term: Term(term),
            payload,
        })
        .collect();
    let contents = [
        Content::State(state, true),
        Content::Entries(Kind::Entries, owner, Term(0), entries.clone()),
        Content::Entries(Kind::Moved, owner, Term(1), entries),
        Content::Tombstone(tombstone),
    ];
    contents.iter().map(|content| write(content).to_vec()).collect()
}
