//! How records look on disk.
//!
//! ```text
//! crc32 (4 bytes, little endian, over all that follows) | version (1) | kind (1) | group | incarnation | back | ...
//!   state       1 if nothing of what stands before it counts any more, else 0 | first membership
//!               | 1 of a witness, 0 of any other replica
//!               | doubts: 1 if the replica is lost, and 2 if a later life may have been lost | hard state
//!               | last entry that an earlier life held | what the log begins after
//!               | 0, or 1 and the membership in force there
//!   tombstone   1 if a later life may have been lost, else 0 | hard state | last entry that was held
//!   entries     first index | term of the entry before it | count of runs | term and length of each run
//!               | entries: 0 for a no-op, or 1, length and bytes of a command, or 2 and a membership
//!   moved       the same, of entries that stand elsewhere already
//!
//! back       := crc32 of the group's record before (4 bytes, little endian) | its segment: 0 if it stands in the same
//!               batch, or if there is none; then the crc32 is 0 too
//! hard state := term | 0 without a vote, or 1 and the node voted for
//! an entry's place := term | index
//! ```
//!
//! Numbers are LEB128 varints, memberships as in `crate::membership`. A record names its owner and, if it holds
//! entries, their place, so that one that was written to or read from the wrong place is noticed.

mod fields;
#[cfg(test)]
mod tests;

use super::Tombstone;
use crate::membership::{self, BadMembership};
use bytes::Bytes;
use fields::{Fields, put};
use raftyard_groups::{Entry, GroupId, HardState, Incarnation, LogId, LogIndex, Membership, NodeId, Payload, Term};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

const VERSION: u8 = 4;
const CHECKSUM_LEN: usize = 4;
const NOOP: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;
const LOST: u8 = 1;
const IN_DOUBT: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    State = 1,
    Tombstone = 2,
    Entries = 3,
    Moved = 4,
}

/// Which life of which group a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) group: GroupId,
    pub(super) incarnation: Incarnation,
}

/// The record of the same group before: so it is noticed if that one is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Back {
    /// Its checksum; 0 if there is none.
    pub(super) checksum: u32,
    /// The segment that it stands in; 0 if in the same batch, or if there is none.
    pub(super) segment: u32,
}

impl Back {
    pub(super) const NONE: Self = Self {
        checksum: 0,
        segment: 0,
    };
}

/// Why a record is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("a record's checksum fails")]
    Checksum,
    #[error("a record has version {0}, known is {VERSION}")]
    Version(u8),
    #[error("a record is of kind {0}, which is not known here")]
    Kind(u8),
    #[error("a record belongs to {} of {}", found.incarnation, found.group)]
    Owner { found: Owner },
    #[error("a record does not hold the entries from {0} on")]
    FirstIndex(LogIndex),
    #[error("a record holds entries from {first} on, of a log that begins after {base}")]
    BeforeBase { first: LogIndex, base: LogId },
    #[error("a record ends before its {0}")]
    Short(&'static str),
    #[error("a record has a bad {0}")]
    Bad(&'static str),
    #[error("a record has {0} bytes too many")]
    Surplus(usize),
    #[error("a record holds {0}")]
    Membership(#[from] BadMembership),
}

/// All that a group has beside its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) owner: Owner,
    /// As it was created.
    pub(super) membership: Arc<Membership>,
    pub(super) is_witness: bool,
    /// What it was is not known: it can't be repaired.
    pub(super) is_lost: bool,
    /// It was rebuilt when it was damaged: there may have been a later life than the one that it was rebuilt from.
    pub(super) is_in_doubt: bool,
    pub(super) hard_state: HardState,
    /// The last entry that an earlier life of the replica held.
    pub(super) forgotten: LogId,
    /// What the log begins after.
    pub(super) base: LogId,
    /// The configuration in force there; none if no base was ever written.
    pub(super) base_membership: Option<Arc<Membership>>,
}

/// Which record of the group it says it follows. Nothing of it is checked.
pub(super) fn peek_back(record: &[u8]) -> Result<Back, RecordError> {
    let mut fields = Fields::new(record, CHECKSUM_LEN + 2);
    take_owner(&mut fields)?;
    take_back(&mut fields)
}

/// Whose record it is, as it says itself. Nothing of it is checked.
pub(super) fn group_of(record: &[u8]) -> Result<GroupId, RecordError> {
    take_owner(&mut Fields::new(record, CHECKSUM_LEN + 2)).map(|owner| owner.group)
}

/// The checksum that a record begins with.
pub(super) fn checksum_of(record: &[u8]) -> Option<u32> {
    record
        .split_first_chunk::<CHECKSUM_LEN>()
        .map(|(checksum, _)| u32::from_le_bytes(*checksum))
}

/// Whose record it is, and of which kind, as it says itself. Nothing of it is checked.
pub(super) fn peek(record: &[u8]) -> Result<(Kind, Owner), RecordError> {
    let mut fields = Fields::new(record, CHECKSUM_LEN);
    match fields.byte("version")? {
        VERSION => (),
        version => return Err(RecordError::Version(version)),
    }
    let kind = match fields.byte("kind")? {
        1 => Kind::State,
        2 => Kind::Tombstone,
        3 => Kind::Entries,
        4 => Kind::Moved,
        kind => return Err(RecordError::Kind(kind)),
    };
    Ok((kind, take_owner(&mut fields)?))
}

/// Appends the record of a tombstone to `out`.
pub(super) fn encode_tombstone(out: &mut Vec<u8>, back: Back, tombstone: &Tombstone) {
    let owner = Owner {
        group: tombstone.group,
        incarnation: tombstone.incarnation,
    };
    let start = begin(out, Kind::Tombstone, owner, back);
    out.push(u8::from(tombstone.is_uncertain));
    put_hard_state(out, &tombstone.hard_state);
    put_log_id(out, tombstone.last);
    seal(out, start);
}

/// What [`encode_tombstone`] wrote.
pub(super) fn decode_tombstone(record: &[u8]) -> Result<Tombstone, RecordError> {
    let (_, owner, mut fields) = open(record, &[Kind::Tombstone])?;
    let is_uncertain = fields.flag("certainty")?;
    let hard_state = take_hard_state(&mut fields)?;
    let last = take_log_id(&mut fields)?;
    fields.end()?;
    Ok(Tombstone {
        group: owner.group,
        incarnation: owner.incarnation,
        hard_state,
        last,
        is_uncertain,
    })
}

/// Appends the record of a state to `out`. If it `begins_anew`, nothing of what stands before it counts any more.
pub(super) fn encode_state(out: &mut Vec<u8>, back: Back, state: &State, begins_anew: bool) {
    let start = begin(out, Kind::State, state.owner, back);
    out.push(u8::from(begins_anew));
    out.extend_from_slice(&membership::encode(&state.membership));
    out.push(u8::from(state.is_witness));
    let lost = if state.is_lost { LOST } else { 0 };
    out.push(lost | if state.is_in_doubt { IN_DOUBT } else { 0 });
    put_hard_state(out, &state.hard_state);
    put_log_id(out, state.forgotten);
    put_log_id(out, state.base);
    match &state.base_membership {
        None => out.push(0),
        Some(membership) => {
            out.push(1);
            out.extend_from_slice(&membership::encode(membership));
        }
    }
    seal(out, start);
}

/// What [`encode_state`] wrote, and whether it begins anew.
pub(super) fn decode_state(record: &[u8]) -> Result<(State, bool), RecordError> {
    let (_, owner, mut fields) = open(record, &[Kind::State])?;
    let begins_anew = fields.flag("beginning")?;
    let membership = Arc::new(fields.membership()?);
    let is_witness = fields.flag("kind of replica")?;
    let doubts = match fields.byte("doubts")? {
        doubts if doubts & !(LOST | IN_DOUBT) == 0 => doubts,
        _ => return Err(RecordError::Bad("doubts")),
    };
    let state = State {
        owner,
        membership,
        is_witness,
        is_lost: doubts & LOST != 0,
        is_in_doubt: doubts & IN_DOUBT != 0,
        hard_state: take_hard_state(&mut fields)?,
        forgotten: take_log_id(&mut fields)?,
        base: take_log_id(&mut fields)?,
        base_membership: match fields.flag("membership at the base")? {
            true => Some(Arc::new(fields.membership()?)),
            false => None,
        },
    };
    fields.end()?;
    Ok((state, begins_anew))
}

/// Appends one record of `entries` to `out`: [`Kind::Entries`], or [`Kind::Moved`] if they stand elsewhere
/// already. They must be consecutive, their terms must not fall, and the entry before the first is of the term `prev`.
pub(super) fn encode_entries(out: &mut Vec<u8>, back: Back, kind: Kind, owner: Owner, prev: Term, entries: &[Entry]) {
    let start = begin(out, kind, owner, back);
    let first = entries.first().map_or(LogIndex::ZERO, |entry| entry.index);
    put(out, first.0);
    put(out, prev.0);
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
    seal(out, start);
}

/// Goes through the entries of one record, whose header has been checked. Each step can still fail: a
/// record whose checksum holds but whose content does not was written by a faulty program.
#[derive(Debug)]
pub(super) struct EntriesReader {
    record: Bytes,
    owner: Owner,
    kind: Kind,
    first: LogIndex,
    prev: Term,
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
    /// Checks all of a record but its entries.
    pub(super) fn open(record: Bytes) -> Result<Self, RecordError> {
        let (kind, owner, mut fields) = open(&record, &[Kind::Entries, Kind::Moved])?;
        let found = LogIndex(fields.number("first index")?);
        if found == LogIndex::ZERO {
            return Err(RecordError::FirstIndex(LogIndex(1)));
        }
        let prev = Term(fields.number("term before")?);
        let mut end = found.0;
        let mut runs: VecDeque<(Term, u64)> = VecDeque::new();
        for _ in 0..fields.number("count of runs")? {
            let term = Term(fields.number("term")?);
            let len = fields.number("length of a run")?;
            if runs.back().is_some_and(|run| run.0 >= term) || prev > term {
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
            owner,
            kind,
            first: found,
            prev,
            at,
            next: found,
            runs,
        })
    }

    /// The same, of a record that must be `owner`'s.
    pub(super) fn open_of(owner: Owner, record: Bytes) -> Result<Self, RecordError> {
        match Self::open(record)? {
            reader if reader.owner == owner => Ok(reader),
            reader => Err(RecordError::Owner { found: reader.owner }),
        }
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The index of the first entry.
    pub(super) fn first(&self) -> LogIndex {
        self.first
    }

    /// The term of the entry before that.
    pub(super) fn prev(&self) -> Term {
        self.prev
    }

    /// The runs of one term that are left, each with its length.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Term, u64)> {
        self.runs.iter().copied()
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

/// Where the record begins in `out`.
fn begin(out: &mut Vec<u8>, kind: Kind, owner: Owner, back: Back) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; CHECKSUM_LEN]);
    out.push(VERSION);
    out.push(kind as u8);
    put(out, owner.group.0);
    put(out, owner.incarnation.0);
    out.extend_from_slice(&back.checksum.to_le_bytes());
    put(out, u64::from(back.segment));
    start
}

fn seal(out: &mut [u8], start: usize) {
    let record = out
        .get_mut(start..)
        .and_then(<[u8]>::split_first_chunk_mut::<CHECKSUM_LEN>);
    if let Some((checksum, rest)) = record {
        *checksum = crc32fast::hash(rest).to_le_bytes();
    }
}

/// Whether the checksum of a record holds.
pub(super) fn is_whole(record: &[u8]) -> bool {
    let parts = record.split_first_chunk::<CHECKSUM_LEN>();
    parts.is_some_and(|(checksum, rest)| *checksum == crc32fast::hash(rest).to_le_bytes())
}

/// Checks what all records have in common.
fn open<'a>(record: &'a [u8], kinds: &[Kind]) -> Result<(Kind, Owner, Fields<'a>), RecordError> {
    if record.len() < CHECKSUM_LEN {
        return Err(RecordError::Short("checksum"));
    }
    if !is_whole(record) {
        return Err(RecordError::Checksum);
    }
    let (kind, _) = peek(record)?;
    if !kinds.contains(&kind) {
        return Err(RecordError::Kind(kind as u8));
    }
    let mut fields = Fields::new(record, CHECKSUM_LEN + 2);
    let owner = take_owner(&mut fields)?;
    take_back(&mut fields)?;
    Ok((kind, owner, fields))
}

fn take_owner(fields: &mut Fields<'_>) -> Result<Owner, RecordError> {
    let group = GroupId(fields.number("group")?);
    let incarnation = Incarnation(fields.number("incarnation")?);
    Ok(Owner { group, incarnation })
}

fn take_back(fields: &mut Fields<'_>) -> Result<Back, RecordError> {
    let checksum = fields.fixed("record before")?;
    let segment = fields.number("segment of the record before")?;
    Ok(Back {
        checksum,
        segment: u32::try_from(segment).map_err(|_| RecordError::Bad("segment of the record before"))?,
    })
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
