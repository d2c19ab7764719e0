//! Snapshot files, and pieces of them, for fuzzers.

mod pieces;

pub(crate) use pieces::CHUNKS;

use super::SnapshotError;
use super::format::{Reader, Stamp, Writer};
use super::name::SnapshotId;
use crate::fuzzing::{Target, cuts};
use crate::store::{MemorySnapshotStore, SnapshotStore};
use raftyard_groups::{GroupId, Incarnation, LogId, Membership, NodeId};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// A file, but for its checksum, which is put behind it here: what a faulty program would write.
pub(crate) const FILE: Target = Target {
    name: "snapshot_file",
    read: |data| read(data).is_ok(),
    check,
    samples: || {
        let unsealed = |file: Vec<u8>| file.split_at(file.len().saturating_sub(4)).0.to_vec();
        vec![unsealed(file(b"the state")), unsealed(file(b""))]
    },
};

const NAME: &str = "file";

fn id() -> SnapshotId {
    SnapshotId {
        group: GroupId(7),
        incarnation: Incarnation(1),
        last: LogId::new(3, 300),
    }
}

fn membership() -> Arc<Membership> {
    Arc::new(Membership::of_voters([1, 2, 3].map(NodeId)).unwrap_or_default())
}

/// What a file says of the membership, and the state in it.
fn read(data: &[u8]) -> Result<(Arc<Membership>, Vec<u8>), SnapshotError> {
    let checksum = crc32fast::hash(data).to_le_bytes();
    let mut store = MemorySnapshotStore::default();
    let written = store.write(NAME, 0, &[data, &checksum].concat());
    assert!(written.is_ok(), "memory takes all");
    read_from(&store)
}

fn read_from(store: &MemorySnapshotStore) -> Result<(Arc<Membership>, Vec<u8>), SnapshotError> {
    let mut reader = Reader::open_any(store, NAME)?;
    let mut state = Vec::new();
    let taken = reader.read_to_end(&mut state);
    let seal = reader.finish()?;
    assert!(taken.is_ok(), "an intact file can't be read: {taken:?}");
    Ok((seal.membership, state))
}

/// A store with one snapshot.
fn write(membership: Arc<Membership>, state: &[u8]) -> io::Result<MemorySnapshotStore> {
    let mut store = MemorySnapshotStore::default();
    let stamp = Stamp {
        membership,
        is_witness: false,
    };
    let mut writer = Writer::start(&mut store, NAME, id(), &stamp)?;
    writer.write_all(state)?;
    writer.finish()?;
    Ok(store)
}

/// With its checksum.
fn file(state: &[u8]) -> Vec<u8> {
    let written = write(membership(), state).and_then(|store| store.read(NAME, 0, usize::MAX));
    written.map(Vec::from).unwrap_or_default()
}

fn check(data: &[u8]) {
    let Ok((membership, state)) = read(data) else { return };
    let again = write(membership.clone(), &state).map(|store| read_from(&store));
    let is_same = matches!(&again, Ok(Ok((of, was))) if (of, was) == (&membership, &state));
    assert!(is_same, "it is not read as it was written: {again:?}");
    for cut in cuts(data.len()) {
        let Ok((of, part)) = read(data.split_at(cut).0) else {
            continue;
        };
        // What is cut after its header is the file of a shorter state, with the checksum that it gets here.
        assert!(
            of == membership && state.starts_with(&part) && part.len() < state.len(),
            "cut at {cut}"
        );
    }
}
