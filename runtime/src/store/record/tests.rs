#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const OWNER: Owner = Owner {
    group: GroupId(300),
    incarnation: Incarnation(2),
};

const BACK: Back = Back {
    checksum: 0xfedc_ba98,
    segment: 500,
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

fn sample_state(vote: Option<NodeId>) -> State {
    State {
        owner: OWNER,
        membership: Arc::new(sample_membership()),
        is_witness: true,
        is_lost: vote.is_some(),
        is_in_doubt: vote == Some(NodeId(0)),
        hard_state: HardState {
            term: Term(u64::MAX),
            vote,
        },
        forgotten: LogId::new(7, 700),
        base: LogId::new(3, 199),
        base_membership: vote.map(|_| Arc::default()),
    }
}

fn sample_tombstone() -> Tombstone {
    Tombstone {
        group: OWNER.group,
        incarnation: OWNER.incarnation,
        hard_state: HardState {
            term: Term(9),
            vote: Some(NodeId(3)),
        },
        last: LogId::new(8, 300),
        is_uncertain: true,
    }
}

fn decode_entries(owner: Owner, record: &[u8]) -> Result<Vec<Entry>, RecordError> {
    let record = Bytes::copy_from_slice(record);
    let mut reader = EntriesReader::open_of(owner, record)?;
    let mut entries = Vec::new();
    while let Some(span) = reader.advance()? {
        entries.push(reader.entry(span));
    }
    Ok(entries)
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    // They are appended.
    let mut out = b"before".to_vec();
    encode(&mut out);
    out.split_off(6)
}

/// A record of kind entries with this body, but for the term before the first, and a checksum that holds.
fn forged(body: &[u64], rest: &[u8]) -> Vec<u8> {
    encoded(|out| {
        let start = begin(out, Kind::Entries, OWNER, BACK);
        for (at, number) in body.iter().enumerate() {
            put(out, *number);
            if at == 0 {
                put(out, 4);
            }
        }
        out.extend_from_slice(rest);
        seal(out, start);
    })
}

#[test]
fn records_come_back_as_they_were() {
    for vote in [None, Some(NodeId(0)), Some(NodeId(u64::MAX))] {
        for begins_anew in [false, true] {
            let state = sample_state(vote);
            let record = encoded(|out| encode_state(out, BACK, &state, begins_anew));
            assert_eq!(peek(&record), Ok((Kind::State, OWNER)));
            assert_eq!(decode_state(&record), Ok((state, begins_anew)));
        }
    }
    for kind in [Kind::Entries, Kind::Moved] {
        let record = encoded(|out| encode_entries(out, BACK, kind, OWNER, Term(2), &sample_entries()));
        assert_eq!(peek(&record), Ok((kind, OWNER)));
        assert_eq!((peek_back(&record), group_of(&record)), (Ok(BACK), Ok(OWNER.group)));
        assert_eq!(decode_entries(OWNER, &record), Ok(sample_entries()));
        let reader = EntriesReader::open(record.into()).unwrap();
        assert_eq!((reader.kind(), reader.owner(), reader.prev()), (kind, OWNER, Term(2)));
        let runs: Vec<_> = reader.runs().collect();
        assert_eq!(
            (reader.first(), runs),
            (LogIndex(200), vec![(Term(3), 2), (Term(5), 1), (Term(700), 2)])
        );
    }
    let record = encoded(|out| encode_tombstone(out, BACK, &sample_tombstone()));
    assert_eq!(peek(&record), Ok((Kind::Tombstone, OWNER)));
    assert_eq!(decode_tombstone(&record), Ok(sample_tombstone()));
    assert_eq!(decode_state(&record), Err(RecordError::Kind(2)));
}

#[test]
fn a_state_with_doubts_that_are_not_known_is_refused() {
    let state = sample_state(None);
    let record = encoded(|out| encode_state(out, BACK, &state, true));
    let of_both = State {
        is_lost: true,
        is_in_doubt: true,
        ..state
    };
    let both = encoded(|out| encode_state(out, BACK, &of_both, true));
    assert_eq!(decode_state(&both), Ok((of_both, true)));
    let differs = |at: &usize| record[*at] != both[*at];
    let at = (CHECKSUM_LEN..record.len()).find(differs).unwrap();
    for doubts in 4..=u8::MAX {
        let mut forged = record.clone();
        forged[at] = doubts;
        seal(&mut forged, 0);
        assert_eq!(decode_state(&forged), Err(RecordError::Bad("doubts")));
    }
}

#[test]
fn commands_share_the_memory_of_their_record() {
    let entries = [command(1, 1, b"shared")];
    let record = Bytes::from(encoded(|out| {
        encode_entries(out, BACK, Kind::Entries, OWNER, Term(1), &entries);
    }));
    let within = record.as_ptr_range();
    let mut reader = EntriesReader::open(record).unwrap();
    let span = reader.advance().unwrap().unwrap();
    let Payload::Command(bytes) = reader.entry(span).payload else {
        panic!("not a command");
    };
    assert!(within.contains(&bytes.as_ptr()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let state = encoded(|out| encode_state(out, BACK, &sample_state(None), true));
    let tombstone = encoded(|out| encode_tombstone(out, BACK, &sample_tombstone()));
    let entries = encoded(|out| encode_entries(out, BACK, Kind::Entries, OWNER, Term(2), &sample_entries()));
    refuses_every_flip(&state, |r| decode_state(r).is_err());
    refuses_every_flip(&tombstone, |r| decode_tombstone(r).is_err());
    refuses_every_flip(&entries, |r| decode_entries(OWNER, r).is_err());
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
    let record = encoded(|out| encode_entries(out, BACK, Kind::Entries, OWNER, Term(2), &sample_entries()));
    for len in 0..record.len() {
        assert!(decode_entries(OWNER, &record[..len]).is_err(), "{len} bytes");
    }
    let mut grown = record;
    grown.push(0);
    assert!(decode_entries(OWNER, &grown).is_err());
}

#[test]
fn a_record_of_another_owner_is_refused() {
    let entries = encoded(|out| encode_entries(out, BACK, Kind::Entries, OWNER, Term(2), &sample_entries()));
    let other_group = Owner {
        group: GroupId(7),
        ..OWNER
    };
    let other_life = Owner {
        incarnation: Incarnation(3),
        ..OWNER
    };
    for other in [other_group, other_life] {
        assert_eq!(
            decode_entries(other, &entries),
            Err(RecordError::Owner { found: OWNER })
        );
    }
    assert_eq!(decode_tombstone(&entries), Err(RecordError::Kind(3)));
}

#[test]
fn another_version_is_refused_by_name() {
    let record = encoded(|out| {
        let start = out.len();
        encode_state(out, BACK, &sample_state(None), false);
        out[start + CHECKSUM_LEN] = 1;
        seal(out, start);
    });
    assert_eq!(decode_state(&record), Err(RecordError::Version(1)));
}

#[test]
fn content_that_makes_no_sense_is_refused_although_its_checksum_holds() {
    let noops: &[u8] = &[NOOP; 4];
    assert!(decode_entries(OWNER, &forged(&[1, 2, 5, 2, 6, 2], noops)).is_ok());
    for (why, record) in [
        ("terms fall", forged(&[1, 2, 6, 2, 5, 2], noops)),
        ("they fall from the one before", forged(&[1, 1, 3, 4], noops)),
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
        assert!(decode_entries(OWNER, &record).is_err(), "{why}");
    }
    assert!(decode_entries(OWNER, &forged(&[0, 1, 5, 4], noops)).is_err());
}
