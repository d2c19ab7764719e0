//! Sessions beside a state on disk: as records, of which a commit writes only those that changed.
//!
//! ```text
//! "s" | session            last use, place in the order of use, floor
//! "w" | session | chunk    what is kept of the requests from chunk * 16 on, up to 16 of them
//! ```
//!
//! Numbers of keys are big endian, 8 bytes; values are postcard. A chunk may still hold requests below the floor:
//! they are forgotten all the same.

use super::Sessions;
use crate::machine::Record;
use crate::session::window::Window;
use crate::session::{Kept, SessionId, SessionLimits};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// Requests whose answers stand in one record. More make fewer records, and each of them is written more often.
const CHUNK: u64 = 16;

/// What changed, by name: what it is by now is looked up when it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    sessions: BTreeSet<SessionId>,
    chunks: BTreeSet<(SessionId, u64)>,
}

impl Changes {
    pub(super) fn session(&mut self, session: SessionId) {
        self.sessions.insert(session);
    }

    pub(super) fn numbers(&mut self, session: SessionId, numbers: Range<u64>) {
        if let Some(last) = numbers.end.checked_sub(1).filter(|last| *last >= numbers.start) {
            let chunks = numbers.start / CHUNK..=last / CHUNK;
            self.chunks.extend(chunks.map(|chunk| (session, chunk)));
        }
    }
}

/// A session, but for what is kept of its requests.
#[derive(Serialize, Deserialize)]
struct Head {
    last_use: Timestamp,
    used: u64,
    floor: u64,
}

/// What is kept of consecutive requests.
#[derive(Serialize, Deserialize)]
struct Chunk {
    first: u64,
    kept: Vec<Kept>,
}

impl Sessions {
    pub(crate) fn limits(&self) -> SessionLimits {
        self.limits
    }

    /// Notes changes from now on.
    pub(crate) fn track_changes(&mut self) {
        self.changes = Some(Box::default());
    }

    /// The records of what changed since this was asked last.
    pub(crate) fn take_changes(&mut self) -> Result<Vec<Record>, postcard::Error> {
        let changes = self.changes.as_deref_mut().map(std::mem::take).unwrap_or_default();
        let heads = changes.sessions.iter().map(|session| self.head(*session));
        let chunks = changes
            .chunks
            .iter()
            .map(|(session, chunk)| self.chunk(*session, *chunk));
        heads.chain(chunks).collect()
    }

    /// All records.
    pub(crate) fn records(&self) -> Result<Vec<Record>, postcard::Error> {
        let mut all = Changes::default();
        for session in self.by_use.values() {
            all.session(*session);
            if let Some(window) = self.windows.get(session) {
                all.numbers(*session, window.floor()..window.end());
            }
        }
        let heads = all.sessions.iter().map(|session| self.head(*session));
        let chunks = all.chunks.iter().map(|(session, chunk)| self.chunk(*session, *chunk));
        heads.chain(chunks).collect()
    }

    fn head(&self, session: SessionId) -> Result<Record, postcard::Error> {
        let head = self.windows.get(&session).map(|window| Head {
            last_use: window.last_use,
            used: window.used,
            floor: window.floor(),
        });
        Ok(Record {
            key: [b"s".as_slice(), &session.0.to_be_bytes()].concat(),
            value: head.map(|head| postcard::to_stdvec(&head)).transpose()?,
        })
    }

    fn chunk(&self, session: SessionId, chunk: u64) -> Result<Record, postcard::Error> {
        let start = chunk.saturating_mul(CHUNK);
        let chunk_of = |window: &Window| {
            let first = start.max(window.floor());
            let end = start.saturating_add(CHUNK).min(window.end());
            let kept: Vec<Kept> = (first..end)
                .map(|number| window.at(number - window.floor()).clone())
                .collect();
            (!kept.is_empty()).then_some(Chunk { first, kept })
        };
        let kept = self.windows.get(&session).and_then(chunk_of);
        Ok(Record {
            key: [b"w".as_slice(), &session.0.to_be_bytes(), &chunk.to_be_bytes()].concat(),
            value: kept.map(|kept| postcard::to_stdvec(&kept)).transpose()?,
        })
    }

    /// What these records say, among which there may be others; `None` if they make no sense.
    pub(crate) fn from_records(limits: SessionLimits, records: &[(Vec<u8>, Vec<u8>)]) -> Option<Self> {
        let mut heads = BTreeMap::new();
        let mut kept = BTreeMap::<SessionId, Vec<Chunk>>::new();
        for (key, value) in records {
            match key.split_first() {
                Some((b's', session)) => {
                    let head: Head = postcard::from_bytes(value).ok()?;
                    heads.insert(session_of(session.first_chunk()?), head);
                }
                Some((b'w', rest)) => {
                    let chunk: Chunk = postcard::from_bytes(value).ok()?;
                    kept.entry(session_of(rest.first_chunk()?)).or_default().push(chunk);
                }
                _ => {}
            }
        }
        let mut sessions = Self {
            limits,
            ..Self::default()
        };
        for (session, head) in heads {
            let mut chunks = kept.remove(&session).unwrap_or_default();
            chunks.sort_unstable_by_key(|chunk| chunk.first);
            let mut window = Window::new(head.floor, VecDeque::new(), head.last_use, head.used);
            for Chunk { first, kept } in chunks {
                for (number, kept) in (first..).zip(kept) {
                    if let Some(offset) = number.checked_sub(head.floor).filter(|_| kept != Kept::Nothing) {
                        window.set(offset, kept);
                    }
                }
            }
            sessions.uses = sessions.uses.max(head.used);
            sessions.bytes += window.bytes();
            sessions.by_use.insert(head.used, session);
            sessions.windows.insert(session, window);
        }
        Some(sessions)
    }
}

fn session_of(bytes: &[u8; 8]) -> SessionId {
    SessionId(u64::from_be_bytes(*bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
