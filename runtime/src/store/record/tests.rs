#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const OWNER: Owner = Owner {
    group: GroupId(300),
    incarnation: Incarnation(2),
};

fn command(index: u64, term: u64, bytes: &'static [u8]) -> Entry {
    Entry {
        index: LogIndex(index),
        term: Term(term),
        payload: Payload::Command(Bytes::from_static(bytes)),
    }
}

fn noop(index: u64, term: u64) -> Entry {
    Entry {
        index: LogIndex(index),
        term: Term(term),
        payload: Payload::Noop,
    }
}

fn sample_entries() -> Vec<Entry> {
    vec![
        noop(200, 3),
        command(201, 3, b"set a"),
        command(202, 5, b""),
        command(203, 700, &[7; 150]),
        Entry {
            index: LogIndex(204),
            term: Term(700),
            payload: Payload::Membership(Arc::new(sample_membership())),
        },
    ]
}

fn sample_membership() -> Membership {
    Membership::new([NodeId(1), NodeId(2), NodeId(u64::MAX)], [NodeId(4)], [NodeId(200)]).unwrap()
}

fn sample_group() -> GroupRecord {
    GroupRecord {
        group: OWNER.group,
        incarnation: OWNER.incarnation,
        membership: sample_membership(),
        is_witness: true,
    }
}

fn decode_entries(owner: Owner, first: u64, record: &[u8]) -> Result<Vec<Entry>, RecordError> {
    let record = Bytes::copy_from_slice(record);
    let mut reader = EntriesReader::open(owner, LogIndex(first), record)?;
    let mut entries = Vec::new();
    while let Some(span) = reader.advance()? {
        entries.push(reader.entry(span));
    }
    Ok(entries)
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"left over".to_vec();
    encode(&mut out);
    out
}

/// A record of kind entries with this body and a checksum that holds.
fn forged(body: &[u64], rest: &[u8]) -> Vec<u8> {
    encoded(|out| {
        begin(out, Kind::Entries, OWNER);
        for number in body {
            put(out, *number);
        }
        out.extend_from_slice(rest);
        seal(out);
    })
}

#[test]
fn records_come_back_as_they_were() {
    let record = encoded(|out| encode_group(out, &sample_group()));
    assert_eq!(decode_group(OWNER.group, &record), Ok(sample_group()));

    for vote in [None, Some(NodeId(0)), Some(NodeId(u64::MAX))] {
        let state = HardState {
            term: Term(u64::MAX),
            vote,
        };
        let record = encoded(|out| encode_hard_state(out, OWNER, &state));
        assert_eq!(decode_hard_state(OWNER, &record), Ok(state));
    }

    let base = LogId::new(3, 199);
    let record = encoded(|out| encode_base(out, OWNER, base, &sample_membership()));
    assert_eq!(decode_base(OWNER, &record), Ok((base, Arc::new(sample_membership()))));

    let record = encoded(|out| encode_entries(out, OWNER, &sample_entries()));
    assert_eq!(decode_entries(OWNER, 200, &record), Ok(sample_entries()));

    let last = LogId::new(u64::MAX, 7);
    let record = encoded(|out| encode_forgotten(out, OWNER, last));
    assert_eq!(decode_forgotten(OWNER, &record), Ok(last));
    assert!(decode_base(OWNER, &record).is_err(), "of another kind");
}

/// They stand under one key, and are told apart by what is in them.
#[test]
fn a_group_and_its_tombstone_are_told_apart() {
    let group = encoded(|out| encode_group(out, &sample_group()));
    assert_eq!(decode_own(OWNER.group, &group), Ok(Own::Group(sample_group())));
    for vote in [None, Some(NodeId(3))] {
        let tombstone = Tombstone {
            group: OWNER.group,
            incarnation: OWNER.incarnation,
            hard_state: HardState { term: Term(9), vote },
            last: LogId::new(8, 300),
        };
        let record = encoded(|out| encode_tombstone(out, &tombstone));
        assert_eq!(decode_own(OWNER.group, &record), Ok(Own::Tombstone(tombstone)));
        assert_eq!(decode_own(GroupId(4), &record), Err(RecordError::Group(OWNER.group)));
        for at in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(decode_own(OWNER.group, &flipped).is_err(), "bit {at}");
        }
        for len in 0..record.len() {
            assert!(decode_own(OWNER.group, &record[..len]).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn commands_share_the_memory_of_their_record() {
    let entries = [command(1, 1, b"shared")];
    let record = Bytes::from(encoded(|out| encode_entries(out, OWNER, &entries)));
    let within = record.as_ptr_range();
    let mut reader = EntriesReader::open(OWNER, LogIndex(1), record).unwrap();
    let span = reader.advance().unwrap().unwrap();
    let Payload::Command(bytes) = reader.entry(span).payload else {
        panic!("not a command");
    };
    assert!(within.contains(&bytes.as_ptr()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let state = HardState {
        term: Term(9),
        vote: Some(NodeId(3)),
    };
    let group = encoded(|out| encode_group(out, &sample_group()));
    let hard_state = encoded(|out| encode_hard_state(out, OWNER, &state));
    let entries = encoded(|out| encode_entries(out, OWNER, &sample_entries()));
    refuses_every_flip(&group, |r| decode_group(OWNER.group, r).is_err());
    refuses_every_flip(&hard_state, |r| decode_hard_state(OWNER, r).is_err());
    refuses_every_flip(&entries, |r| decode_entries(OWNER, 200, r).is_err());
}

fn refuses_every_flip(record: &[u8], is_refused: impl Fn(&[u8]) -> bool) {
    assert!(!is_refused(record));
    for bit in 0..record.len() * 8 {
        let mut flipped = record.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(is_refused(&flipped), "bit {bit} of {record:?}");
    }
}

#[test]
fn a_record_cut_short_or_grown_is_refused() {
    let record = encoded(|out| encode_entries(out, OWNER, &sample_entries()));
    for len in 0..record.len() {
        assert!(decode_entries(OWNER, 200, &record[..len]).is_err(), "{len} bytes");
    }
    let mut grown = record;
    grown.push(0);
    assert!(decode_entries(OWNER, 200, &grown).is_err());
}

#[test]
fn a_record_of_another_place_is_refused() {
    let entries = encoded(|out| encode_entries(out, OWNER, &sample_entries()));
    let other_group = Owner {
        group: GroupId(7),
        ..OWNER
    };
    let other_life = Owner {
        incarnation: Incarnation(3),
        ..OWNER
    };
    assert_eq!(
        decode_entries(other_group, 200, &entries),
        Err(RecordError::Group(OWNER.group))
    );
    assert_eq!(
        decode_entries(other_life, 200, &entries),
        Err(RecordError::Incarnation {
            found: OWNER.incarnation,
            wanted: Incarnation(3),
        })
    );
    assert_eq!(
        decode_entries(OWNER, 201, &entries),
        Err(RecordError::FirstIndex {
            found: LogIndex(200),
            wanted: LogIndex(201),
        })
    );
    assert_eq!(
        decode_hard_state(OWNER, &entries),
        Err(RecordError::Kind {
            found: 3,
            wanted: Kind::HardState,
        })
    );
    let group = encoded(|out| encode_group(out, &sample_group()));
    assert_eq!(decode_group(GroupId(7), &group), Err(RecordError::Group(OWNER.group)));
}

#[test]
fn another_version_is_refused_by_name() {
    let record = encoded(|out| {
        encode_hard_state(out, OWNER, &HardState::default());
        out[CHECKSUM_LEN] = 1;
        seal(out);
    });
    assert_eq!(decode_hard_state(OWNER, &record), Err(RecordError::Version(1)));
}

#[test]
fn content_that_makes_no_sense_is_refused_although_its_checksum_holds() {
    let noops: &[u8] = &[NOOP; 4];
    assert!(decode_entries(OWNER, 1, &forged(&[1, 2, 5, 2, 6, 2], noops)).is_ok());
    for (why, record) in [
        ("terms fall", forged(&[1, 2, 6, 2, 5, 2], noops)),
        ("no runs", forged(&[1, 0], &[])),
        ("an empty run", forged(&[1, 2, 5, 4, 6, 0], noops)),
        ("more than there is", forged(&[1, 1, 5, u64::MAX - 1], noops)),
        ("the index wraps", forged(&[1, 1, 5, u64::MAX], noops)),
        ("less than there is", forged(&[1, 1, 5, 3], noops)),
        ("an unknown payload", forged(&[1, 1, 5, 1], &[9])),
        (
            "a membership of nobody that learns",
            forged(&[1, 1, 5, 1], &[MEMBERSHIP, 0, 0, 1, 4, 0, 0]),
        ),
        ("a membership cut short", forged(&[1, 1, 5, 1], &[MEMBERSHIP, 1, 4])),
        ("a command too long", forged(&[1, 1, 5, 1], &[COMMAND, 200])),
        ("a number too long", forged(&[1, 1], &[0xff; 11])),
    ] {
        assert!(decode_entries(OWNER, 1, &record).is_err(), "{why}");
    }
    assert!(decode_entries(OWNER, 0, &forged(&[0, 1, 5, 4], noops)).is_err());
}
