//! How records look on disk.
//!
//! ```text
//! crc32 (4 bytes, little endian, over all that follows) | version (1) | kind (1) | group | incarnation | ...
//!   group       membership: voters, outgoing, learners; each a count and that many node ids
//!   hard state  term | 0 without a vote, or 1 and the node voted for
//!   base        term | index of the entry that the log begins after
//!   entries     first index | count of runs | term and length of each run | entries: 0 for a no-op,
//!               or 1, length and bytes of a command
//! ```
//!
//! Numbers are LEB128 varints. A record names its owner and, if it holds entries, their place, so that one
//! that was written to or read from the wrong place is noticed: what lies below checks neither.

mod fields;
#[cfg(test)]
mod tests;

use super::GroupRecord;
use bytes::Bytes;
use fields::{Fields, put};
use raftyard_groups::{
    Entry, GroupId, HardState, Incarnation, LogId, LogIndex, Membership, MembershipError, NodeId, Payload, Term,
};
use std::collections::VecDeque;
use std::ops::Range;

const VERSION: u8 = 1;
const CHECKSUM_LEN: usize = 4;
const NOOP: u8 = 0;
const COMMAND: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Group = 1,
    HardState = 2,
    Entries = 3,
    Base = 4,
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
    #[error("a record holds a membership that can't be: {0}")]
    Membership(#[from] MembershipError),
}

/// Writes the record of a group into `out`, replacing what is there.
pub(super) fn encode_group(out: &mut Vec<u8>, record: &GroupRecord) {
    let owner = Owner {
        group: record.group,
        incarnation: record.incarnation,
    };
    begin(out, Kind::Group, owner);
    let membership = &record.membership;
    put_nodes(out, membership.voters().collect());
    put_nodes(out, membership.outgoing().collect());
    put_nodes(out, membership.learners().collect());
    seal(out);
}

/// The record of `group`.
pub(super) fn decode_group(group: GroupId, record: &[u8]) -> Result<GroupRecord, RecordError> {
    let mut fields = open(Kind::Group, group, record)?;
    let incarnation = Incarnation(fields.number("incarnation")?);
    let voters = take_nodes(&mut fields, "voters")?;
    let outgoing = take_nodes(&mut fields, "outgoing voters")?;
    let learners = take_nodes(&mut fields, "learners")?;
    fields.end()?;
    Ok(GroupRecord {
        group,
        incarnation,
        membership: Membership::new(voters, outgoing, learners)?,
    })
}

/// Writes the record of a hard state into `out`, replacing what is there.
pub(super) fn encode_hard_state(out: &mut Vec<u8>, owner: Owner, state: &HardState) {
    begin(out, Kind::HardState, owner);
    put(out, state.term.0);
    match state.vote {
        None => put(out, 0),
        Some(node) => {
            put(out, 1);
            put(out, node.0);
        }
    }
    seal(out);
}

/// The hard state of `owner`.
pub(super) fn decode_hard_state(owner: Owner, record: &[u8]) -> Result<HardState, RecordError> {
    let mut fields = open_of(Kind::HardState, owner, record)?;
    let term = Term(fields.number("term")?);
    let vote = match fields.number("vote")? {
        0 => None,
        1 => Some(NodeId(fields.number("vote")?)),
        _ => return Err(RecordError::Bad("vote")),
    };
    fields.end()?;
    Ok(HardState { term, vote })
}

/// Writes the record of what a log begins after into `out`, replacing what is there.
pub(super) fn encode_base(out: &mut Vec<u8>, owner: Owner, base: LogId) {
    begin(out, Kind::Base, owner);
    put(out, base.term.0);
    put(out, base.index.0);
    seal(out);
}

/// What the log of `owner` begins after.
pub(super) fn decode_base(owner: Owner, record: &[u8]) -> Result<LogId, RecordError> {
    let mut fields = open_of(Kind::Base, owner, record)?;
    let term = Term(fields.number("term")?);
    let index = LogIndex(fields.number("index")?);
    fields.end()?;
    Ok(LogId { term, index })
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
            // Read back as a bad kind.
            Payload::Membership(_) => out.push(u8::MAX),
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
    command: Option<Range<usize>>,
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
        let command = match fields.byte("kind of an entry")? {
            NOOP => None,
            COMMAND => {
                let len = fields.number("length of a command")?;
                Some(fields.range(len, "command")?)
            }
            _ => return Err(RecordError::Bad("kind of an entry")),
        };
        self.at = fields.at();
        self.next = self.next.next();
        Ok(Some(Span { id, command }))
    }

    /// The entry at a place that [`EntriesReader::advance`] gave; its command shares the record's memory.
    pub(super) fn entry(&self, span: Span) -> Entry {
        Entry {
            index: span.id.index,
            term: span.id.term,
            payload: match span.command {
                None => Payload::Noop,
                Some(range) => Payload::Command(self.record.slice(range)),
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

fn put_nodes(out: &mut Vec<u8>, nodes: Vec<NodeId>) {
    put(out, nodes.len() as u64);
    for node in nodes {
        put(out, node.0);
    }
}

fn take_nodes(fields: &mut Fields<'_>, what: &'static str) -> Result<Vec<NodeId>, RecordError> {
    (0..fields.number(what)?)
        .map(|_| fields.number(what).map(NodeId))
        .collect()
}
