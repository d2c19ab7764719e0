//! How records look on disk.
//!
//! ```text
//! crc32 (4 bytes, little endian, over all that follows) | version (1) | kind (1) | group | incarnation | ...
//!   group       membership | 1 of a witness, 0 of any other replica
//!   hard state  term | 0 without a vote, or 1 and the node voted for
//!   base        term | index of the entry that the log begins after | membership in force there
//!   tombstone   hard state, as above | term and index of the last entry that was held
//!   forgotten   term | index of the last entry that an earlier life held
//!   entries     first index | count of runs | term and length of each run | entries: 0 for a no-op,
//!               or 1, length and bytes of a command, or 2 and a membership
//! ```
//!
//! Numbers are LEB128 varints, memberships as in `crate::membership`. A record names its owner and, if it holds
//! entries, their place, so that one that was written to or read from the wrong place is noticed: what lies below checks neither.

mod fields;
#[cfg(test)]
mod tests;

use super::{GroupRecord, Tombstone};
use crate::membership::{self, BadMembership};
use bytes::Bytes;
use fields::{Fields, put};
use raftyard_groups::{Entry, GroupId, HardState, Incarnation, LogId, LogIndex, Membership, NodeId, Payload, Term};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

const VERSION: u8 = 2;
const CHECKSUM_LEN: usize = 4;
const NOOP: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Group = 1,
    HardState = 2,
    Entries = 3,
    Base = 4,
    Tombstone = 5,
    Forgotten = 6,
}

/// Which life of which group a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) group: GroupId,
    pub(super) incarnation: Incarnation,
}

/// Why a record is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("a record's checksum fails")]
    Checksum,
    #[error("a record has version {0}, known is {VERSION}")]
    Version(u8),
    #[error("a record is of kind {found}, expected {}", *wanted as u8)]
    Kind { found: u8, wanted: Kind },
    #[error("a record belongs to {0}")]
    Group(GroupId),
    #[error("a record belongs to incarnation {found}, the group is {wanted}")]
    Incarnation { found: Incarnation, wanted: Incarnation },
    #[error("a record of entries from {wanted} on starts at {found}")]
    FirstIndex { found: LogIndex, wanted: LogIndex },
    #[error("a record ends before its {0}")]
    Short(&'static str),
    #[error("a record has a bad {0}")]
    Bad(&'static str),
    #[error("a record has {0} bytes too many")]
    Surplus(usize),
    #[error("a record holds {0}")]
    Membership(#[from] BadMembership),
}

/// What stands in the place of a group's own record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Group(GroupRecord),
    Tombstone(Tombstone),
}

/// The own record of `group`.
pub(super) fn decode_own(group: GroupId, record: &[u8]) -> Result<Own, RecordError> {
    // After the version. What is checked is checked by who decodes the rest.
    if record.get(CHECKSUM_LEN + 1) == Some(&(Kind::Tombstone as u8)) {
        decode_tombstone(group, record).map(Own::Tombstone)
    } else {
        decode_group(group, record).map(Own::Group)
    }
}

/// Writes the record of a tombstone into `out`, replacing what is there.
pub(super) fn encode_tombstone(out: &mut Vec<u8>, tombstone: &Tombstone) {
    let owner = Owner {
        group: tombstone.group,
        incarnation: tombstone.incarnation,
    };
    begin(out, Kind::Tombstone, owner);
    put_hard_state(out, &tombstone.hard_state);
    put_log_id(out, tombstone.last);
    seal(out);
}

fn decode_tombstone(group: GroupId, record: &[u8]) -> Result<Tombstone, RecordError> {
    let mut fields = open(Kind::Tombstone, group, record)?;
    let incarnation = Incarnation(fields.number("incarnation")?);
    let hard_state = take_hard_state(&mut fields)?;
    let last = take_log_id(&mut fields)?;
    fields.end()?;
    Ok(Tombstone {
        group,
        incarnation,
        hard_state,
        last,
    })
}

/// Writes the record of a group into `out`, replacing what is there.
pub(super) fn encode_group(out: &mut Vec<u8>, record: &GroupRecord) {
    let owner = Owner {
        group: record.group,
        incarnation: record.incarnation,
    };
    begin(out, Kind::Group, owner);
    out.extend_from_slice(&membership::encode(&record.membership));
    out.push(u8::from(record.is_witness));
    seal(out);
}

/// The record of `group`.
pub(super) fn decode_group(group: GroupId, record: &[u8]) -> Result<GroupRecord, RecordError> {
    let mut fields = open(Kind::Group, group, record)?;
    let incarnation = Incarnation(fields.number("incarnation")?);
    let membership = fields.membership()?;
    let is_witness = match fields.byte("kind of replica")? {
        0 => false,
        1 => true,
        _ => return Err(RecordError::Bad("kind of replica")),
    };
    fields.end()?;
    Ok(GroupRecord {
        group,
        incarnation,
        membership,
        is_witness,
    })
}

/// Writes the record of a hard state into `out`, replacing what is there.
pub(super) fn encode_hard_state(out: &mut Vec<u8>, owner: Owner, state: &HardState) {
    begin(out, Kind::HardState, owner);
    put_hard_state(out, state);
    seal(out);
}

/// The hard state of `owner`.
pub(super) fn decode_hard_state(owner: Owner, record: &[u8]) -> Result<HardState, RecordError> {
    let mut fields = open_of(Kind::HardState, owner, record)?;
    let state = take_hard_state(&mut fields)?;
    fields.end()?;
    Ok(state)
}

/// Writes the record of what a log begins after into `out`, replacing what is there.
pub(super) fn encode_base(out: &mut Vec<u8>, owner: Owner, base: LogId, membership: &Membership) {
    begin(out, Kind::Base, owner);
    put_log_id(out, base);
    out.extend_from_slice(&membership::encode(membership));
    seal(out);
}

/// What the log of `owner` begins after, and the configuration in force there.
pub(super) fn decode_base(owner: Owner, record: &[u8]) -> Result<(LogId, Arc<Membership>), RecordError> {
    let mut fields = open_of(Kind::Base, owner, record)?;
    let base = take_log_id(&mut fields)?;
    let membership = Arc::new(fields.membership()?);
    fields.end()?;
    Ok((base, membership))
}

/// Writes the record of what an earlier life held into `out`, replacing what is there.
pub(super) fn encode_forgotten(out: &mut Vec<u8>, owner: Owner, last: LogId) {
    begin(out, Kind::Forgotten, owner);
    put_log_id(out, last);
    seal(out);
}

/// The last entry that an earlier life of `owner` held.
pub(super) fn decode_forgotten(owner: Owner, record: &[u8]) -> Result<LogId, RecordError> {
    let mut fields = open_of(Kind::Forgotten, owner, record)?;
    let last = take_log_id(&mut fields)?;
    fields.end()?;
    Ok(last)
}

/// Writes one record of `entries` into `out`, replacing what is there. They must be consecutive and their
/// terms must not fall.
pub(super) fn encode_entries(out: &mut Vec<u8>, owner: Owner, entries: &[Entry]) {
    begin(out, Kind::Entries, owner);
    let first = entries.first().map_or(LogIndex::ZERO, |entry| entry.index);
    put(out, first.0);
    let runs = || entries.chunk_by(|one, next| one.term == next.term);
    put(out, runs().count() as u64);
    for run in runs() {
        put(out, run.first().map_or(0, |entry| entry.term.0));
        put(out, run.len() as u64);
    }
    for entry in entries {
        match &entry.payload {
            Payload::Noop => out.push(NOOP),
            Payload::Command(bytes) => {
                out.push(COMMAND);
                put(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Payload::Membership(membership) => {
                out.push(MEMBERSHIP);
                out.extend_from_slice(&membership::encode(membership));
            }
        }
    }
    seal(out);
}

/// Goes through the entries of one record, whose header has been checked. Each step can still fail: a
/// record whose checksum holds but whose content does not was written by a faulty program.
#[derive(Debug)]
pub(super) struct EntriesReader {
    record: Bytes,
    /// Where the next entry starts.
    at: usize,
    next: LogIndex,
    /// Runs of one term that are left, with their lengths; none is empty.
    runs: VecDeque<(Term, u64)>,
}

/// An entry's place in its record.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) id: LogId,
    pub(super) payload: SpanPayload,
}

/// What an entry carries: a command's place, or a configuration itself.
#[derive(Debug)]
pub(super) enum SpanPayload {
    Noop,
    Command(Range<usize>),
    Membership(Arc<Membership>),
}

impl EntriesReader {
    /// Checks all of a record but its entries: it must be `owner`'s, and start at `first`.
    pub(super) fn open(owner: Owner, first: LogIndex, record: Bytes) -> Result<Self, RecordError> {
        let mut fields = open_of(Kind::Entries, owner, &record)?;
        let found = LogIndex(fields.number("first index")?);
        if found != first || found == LogIndex::ZERO {
            return Err(RecordError::FirstIndex { found, wanted: first });
        }
        let mut end = found.0;
        let mut runs: VecDeque<(Term, u64)> = VecDeque::new();
        for _ in 0..fields.number("count of runs")? {
            let term = Term(fields.number("term")?);
            let len = fields.number("length of a run")?;
            if runs.back().is_some_and(|run| run.0 >= term) {
                return Err(RecordError::Bad("order of terms"));
            }
            end = end
                .checked_add(len)
                .filter(|_| len > 0)
                .ok_or(RecordError::Bad("length of a run"))?;
            runs.push_back((term, len));
        }
        if runs.is_empty() {
            return Err(RecordError::Bad("count of runs"));
        }
        let at = fields.at();
        Ok(Self {
            record,
            at,
            next: found,
            runs,
        })
    }

    /// Steps over the next entry; none at the end of the record, which must be all there is.
    pub(super) fn advance(&mut self) -> Result<Option<Span>, RecordError> {
        let mut fields = Fields::new(&self.record, self.at);
        let Some((term, left)) = self.runs.front_mut() else {
            fields.end()?;
            return Ok(None);
        };
        let id = LogId {
            term: *term,
            index: self.next,
        };
        *left -= 1;
        if *left == 0 {
            self.runs.pop_front();
        }
        let payload = match fields.byte("kind of an entry")? {
            NOOP => SpanPayload::Noop,
            COMMAND => {
                let len = fields.number("length of a command")?;
                SpanPayload::Command(fields.range(len, "command")?)
            }
            MEMBERSHIP => SpanPayload::Membership(Arc::new(fields.membership()?)),
            _ => return Err(RecordError::Bad("kind of an entry")),
        };
        self.at = fields.at();
        self.next = self.next.next();
        Ok(Some(Span { id, payload }))
    }

    /// The entry at a place that [`EntriesReader::advance`] gave; its command shares the record's memory.
    pub(super) fn entry(&self, span: Span) -> Entry {
        Entry {
            index: span.id.index,
            term: span.id.term,
            payload: match span.payload {
                SpanPayload::Noop => Payload::Noop,
                SpanPayload::Command(range) => Payload::Command(self.record.slice(range)),
                SpanPayload::Membership(membership) => Payload::Membership(membership),
            },
        }
    }
}

fn begin(out: &mut Vec<u8>, kind: Kind, owner: Owner) {
    out.clear();
    out.extend_from_slice(&[0; CHECKSUM_LEN]);
    out.push(VERSION);
    out.push(kind as u8);
    put(out, owner.group.0);
    put(out, owner.incarnation.0);
}

fn seal(out: &mut [u8]) {
    if let Some((checksum, rest)) = out.split_first_chunk_mut::<CHECKSUM_LEN>() {
        *checksum = crc32fast::hash(rest).to_le_bytes();
    }
}

/// Checks what all records have in common, up to the group.
fn open(kind: Kind, group: GroupId, record: &[u8]) -> Result<Fields<'_>, RecordError> {
    let (checksum, rest) = record
        .split_first_chunk::<CHECKSUM_LEN>()
        .ok_or(RecordError::Short("checksum"))?;
    if *checksum != crc32fast::hash(rest).to_le_bytes() {
        return Err(RecordError::Checksum);
    }
    let mut fields = Fields::new(record, CHECKSUM_LEN);
    match fields.byte("version")? {
        VERSION => (),
        version => return Err(RecordError::Version(version)),
    }
    match fields.byte("kind")? {
        found if found == kind as u8 => (),
        found => {
            return Err(RecordError::Kind { found, wanted: kind });
        }
    }
    match GroupId(fields.number("group")?) {
        found if found == group => Ok(fields),
        found => Err(RecordError::Group(found)),
    }
}

/// Checks what all records but a group's own have in common.
fn open_of(kind: Kind, owner: Owner, record: &[u8]) -> Result<Fields<'_>, RecordError> {
    let mut fields = open(kind, owner.group, record)?;
    match Incarnation(fields.number("incarnation")?) {
        found if found == owner.incarnation => Ok(fields),
        found => Err(RecordError::Incarnation {
            found,
            wanted: owner.incarnation,
        }),
    }
}

fn put_hard_state(out: &mut Vec<u8>, state: &HardState) {
    put(out, state.term.0);
    match state.vote {
        None => put(out, 0),
        Some(node) => {
            put(out, 1);
            put(out, node.0);
        }
    }
}

fn take_hard_state(fields: &mut Fields<'_>) -> Result<HardState, RecordError> {
    let term = Term(fields.number("term")?);
    let vote = match fields.number("vote")? {
        0 => None,
        1 => Some(NodeId(fields.number("vote")?)),
        _ => return Err(RecordError::Bad("vote")),
    };
    Ok(HardState { term, vote })
}

fn put_log_id(out: &mut Vec<u8>, id: LogId) {
    put(out, id.term.0);
    put(out, id.index.0);
}

fn take_log_id(fields: &mut Fields<'_>) -> Result<LogId, RecordError> {
    let term = Term(fields.number("term")?);
    let index = LogIndex(fields.number("index")?);
    Ok(LogId { term, index })
}
