//! The machine in memory as what simulated clusters replicate, and what clients ask of it there.
//!
//! Whether what clients were told is right says the machine itself, part by part, at other times than those that the
//! commands were stamped with. So they ask what has the same answer then: not of all keys of a group, nor how long a key
//! still lives. Deadlines are past from the beginning or centuries away.

mod draw;

use std::convert::Infallible;

use bytes::Bytes;
use raftyard::sim::{Kind, Random, Workload};
use raftyard::{StateMachine, Timestamp};

use super::keyspace::Entry;
use super::touched::Touched;
use super::{Answer, Command, KvMachine, Query, Response, Snapshot};
use draw::Draw;

/// Calls after which clients turn to other keys: long histories take long to check.
const CALLS_PER_PART: u64 = 40;
/// Parts that are in use at a time.
const PARTS: u64 = 2;
/// The part of what names no key.
const NAMELESS: u64 = u64::MAX;

/// Clients of a group. They ask about a few keys, which are a part; after a while, about others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    calls: u64,
}

impl Workload for Clients {
    type Machine = Simulated;

    fn machine(&self) -> Simulated {
        Simulated::default()
    }

    fn next(&mut self, random: &mut Random) -> Kind<Simulated> {
        self.calls += 1;
        let round = self.calls / (CALLS_PER_PART * PARTS);
        let part = round * PARTS + random.below(PARTS);
        let mut draw = Draw { part, random };
        match draw.below(5) {
            0 | 1 => Kind::Read(draw.query()),
            _ => Kind::Propose(draw.command()),
        }
    }

    fn part(&self, asked: &Kind<Simulated>) -> u64 {
        let mut part = None;
        let mut note = |touched: Touched<'_>| {
            if let Touched::Key(key) | Touched::Value(key) = touched {
                part = draw::part(key);
            }
            Ok::<_, Infallible>(())
        };
        let noted = match asked {
            Kind::Propose(command) => command.touched(&mut note),
            Kind::Read(query) => query.touched(&mut note),
        };
        noted.ok().and(part).unwrap_or(NAMELESS)
    }
}

/// The machine with snapshots that say no more than what the answers above depend on.
///
/// The machine's own have their keys in the order of a hash table, which is another one in every process, and tell by places
/// and versions in which order keys were changed. A run must be the same every time, though; and who searches for the
/// order of calls has to see that two ways lead to the same state.
#[derive(Debug, Default)]
pub(crate) struct Simulated(KvMachine);

impl StateMachine for Simulated {
    type Command = Command;
    type Response = Response;
    type Query = Query;
    type Answer = Answer;
    type Snapshot = Snapshot;

    fn apply(&mut self, command: Command, now: Timestamp) -> Response {
        self.0.apply(command, now)
    }

    fn query(&self, query: Query) -> Answer {
        self.0.query(query)
    }

    fn snapshot(&self) -> Snapshot {
        in_order(self.0.snapshot())
    }

    fn restore(&mut self, snapshot: Snapshot) {
        self.0.restore(snapshot);
    }
}

/// As if each key had been set once, one after the other.
fn in_order(mut snapshot: Snapshot) -> Snapshot {
    snapshot.entries.sort_by(|(_, a, _), (_, b, _)| a[..].cmp(&b[..]));
    snapshot.changes = 0;
    for (next, (place, _, Entry { version, .. })) in snapshot.entries.iter_mut().enumerate() {
        snapshot.changes += 1;
        (*place, *version) = (next, snapshot.changes);
    }
    snapshot
}

/// The bytes of a text.
fn bytes(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}
