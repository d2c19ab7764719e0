//! Pieces of a snapshot in any order, any of them damaged, repeated or missing, from more than one peer.

use super::super::actor::{SnapshotActor, SnapshotWork};
use super::{file, id, membership};
use crate::clock::MonotonicClock;
use crate::fuzzing::{Script, Target};
use crate::inbox::Inbox;
use crate::metrics::Counters;
use crate::router::Router;
use crate::store::{GroupRecord, MemorySnapshotStore, SnapshotStore};
use crate::transport::{
    SnapshotAnswer, SnapshotChunk, SnapshotOffer, SnapshotPart, TransportHandle, chunk_crc, nowhere,
};
use bytes::Bytes;
use raftyard_groups::{NodeId, Recovered};
use std::io;
use std::sync::{Arc, LazyLock};
use tokio::sync::oneshot;

/// A transfer. The bytes are a script: offers and pieces, right and wrong ones.
pub(crate) const CHUNKS: Target = Target {
    name: "snapshot_chunks",
    read: |data| {
        let mut desk = Desk::new();
        play(&mut desk, data);
        true
    },
    check,
    samples: || {
        let offered = [0, 0];
        let pieces = |len: u8| (0..=FILE.len() / usize::from(len)).flat_map(move |_| [2, 0, len]);
        vec![
            offered.into_iter().chain(pieces(10)).collect(),
            offered
                .into_iter()
                .chain(pieces(3))
                .chain([0, 0, 0, 1])
                .chain(pieces(200))
                .collect(),
            vec![0, 0, 2, 0, 10, 3, 0, 5, 1, 4, 0, 1, 1, 2, 0, 20],
        ]
    },
};

static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| file(b"the state of a group, a few bytes of it"));

/// Reaches nobody; there is one for all, because it takes long to make.
static NOWHERE: LazyLock<TransportHandle> = LazyLock::new(|| {
    let inbox = || Arc::new(Inbox::new());
    let router = Router::new(vec![Arc::new(Inbox::new())], inbox(), Arc::new(Inbox::new()));
    futures::FutureExt::now_or_never(nowhere(router)).unwrap_or_else(|| unreachable!("memory does not wait"))
});

/// A node's actor and its store.
struct Desk {
    actor: SnapshotActor,
    store: MemorySnapshotStore,
    /// Bytes that the script made.
    said: usize,
}

impl Desk {
    fn new() -> Self {
        let store = MemorySnapshotStore::default();
        let actor = SnapshotActor::new(
            Box::new(store.clone()),
            &[],
            Arc::new(Inbox::new()),
            vec![Arc::new(Inbox::new())],
            NOWHERE.clone(),
            Arc::new(MonotonicClock::default()),
            Arc::new(Counters::default()),
        );
        let mut desk = Self { actor, store, said: 0 };
        let (reply, _opened) = oneshot::channel();
        desk.actor.carry_out(SnapshotWork::Open {
            record: GroupRecord {
                group: id().group,
                incarnation: id().incarnation,
                membership: (*membership()).clone(),
                is_witness: false,
            },
            recovered: Recovered::default(),
            applied: None,
            decode: Box::new(|_| Err(io::ErrorKind::Unsupported.into())),
            reply,
        });
        desk
    }

    fn say(&mut self, from: u64, part: SnapshotPart) -> SnapshotAnswer {
        if let SnapshotPart::Chunk(chunk) = &part {
            self.said += chunk.bytes.len();
        }
        let (reply, mut answer) = oneshot::channel();
        let from = NodeId(from);
        self.actor.carry_out(SnapshotWork::Receive { from, part, reply });
        answer.try_recv().unwrap_or(SnapshotAnswer::Refused)
    }

    /// Nothing but the file that was offered is ever complete, and what is incomplete is no more than was said.
    fn check(&self) {
        for name in self.store.list().unwrap_or_default() {
            let there = self.store.read(&name, 0, usize::MAX).unwrap_or_default();
            assert!(there.len() <= self.said, "{name} has {} bytes", there.len());
            if name.ends_with(".snapshot") {
                assert_eq!(there, *FILE, "{name} is not what was offered");
            }
        }
    }
}

fn offer(size: u64) -> SnapshotPart {
    let checksum = FILE.split_last_chunk().map(|(_, crc)| u32::from_le_bytes(*crc));
    SnapshotPart::Offer(SnapshotOffer {
        group: id().group.0,
        incarnation: id().incarnation.0,
        term: 3,
        last_term: id().last.term.0,
        last_index: id().last.index.0,
        size,
        crc: checksum.unwrap_or_default(),
    })
}

fn piece(offset: usize, bytes: &[u8]) -> SnapshotPart {
    let (group, offset) = (id().group.0, offset as u64);
    SnapshotPart::Chunk(SnapshotChunk {
        group,
        offset,
        crc: chunk_crc(group, offset, bytes),
        bytes: Bytes::copy_from_slice(bytes),
    })
}

/// Steps, each with the peer it comes from: 0, the offer; 1, one of another size; 2, the next piece; 3, one from
/// elsewhere; 4, bytes of its own at the next place; 5, one that was damaged on its way.
fn play(desk: &mut Desk, data: &[u8]) {
    let mut script = Script(data);
    let mut at = 0;
    while let Some(step) = script.byte() {
        let from = 1 + u64::from(script.byte().unwrap_or_default() % 2);
        let part = match step % 6 {
            0 => offer(FILE.len() as u64),
            1 => offer(script.short() as u64),
            kind => {
                let len = usize::from(script.byte().unwrap_or_default());
                let start = if kind == 3 { script.short() % FILE.len() } else { at };
                let rest = FILE.get(start..).unwrap_or_default();
                let right = rest.get(..len).unwrap_or(rest);
                match (kind, piece(start, right)) {
                    (4, _) => piece(at, script.bytes(len)),
                    (5, SnapshotPart::Chunk(chunk)) => SnapshotPart::Chunk(SnapshotChunk {
                        crc: !chunk.crc,
                        ..chunk
                    }),
                    (_, right) => right,
                }
            }
        };
        if let SnapshotAnswer::Wanted { offset } = desk.say(from, part) {
            at = usize::try_from(offset).unwrap_or_default();
        }
    }
}

fn check(data: &[u8]) {
    let mut desk = Desk::new();
    play(&mut desk, data);
    desk.check();
    // Whatever was said before, who offers and sends the right bytes gets through: at the second attempt if bytes that
    // are not of this file are among those that are here already.
    let mut answer = SnapshotAnswer::Refused;
    for _ in 0..2 {
        answer = desk.say(1, offer(FILE.len() as u64));
        if let SnapshotAnswer::Wanted { offset } = answer {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            answer = desk.say(1, piece(at, FILE.get(at..).unwrap_or_default()));
        }
        desk.check();
        if answer == SnapshotAnswer::Complete {
            break;
        }
    }
    assert_eq!(
        answer,
        SnapshotAnswer::Complete,
        "a right transfer does not get through"
    );
}
