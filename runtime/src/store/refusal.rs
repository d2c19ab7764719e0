//! What a store does not take.

use super::record::Owner;
use super::{GroupRecord, LostGroups, StoreError, Tombstone};
use raftyard_groups::{Entry, HardState, Incarnation, LogBase, LogId, LogIndex, Payload, Persist, Recovered, Term};
use std::cmp::Ordering;

/// The largest entry a store takes, by [`Entry::size`]: 1 GiB. What stands below can't hold more than
/// 4 GiB in one piece; messages between nodes are far smaller.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;

/// Why a request can't be. Every one is a fault of the caller, but for [`Refusal::MayBeLost`] and [`Refusal::LogTooLong`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No replica of the group was noted, or the store has not recovered yet.
    #[error("the group was never created")]
    UnknownGroup,
    /// A replica of the group was noted before.
    #[error("the group was created before")]
    Exists,
    /// The group was destroyed in a later life than the one to be noted.
    #[error("{destroyed} of the group was destroyed here, {wanted} is older")]
    Destroyed {
        /// The life that was destroyed.
        destroyed: Incarnation,
        /// The one to be noted.
        wanted: Incarnation,
    },
    /// The disk lost what it knew of some groups, and this may be one of them.
    #[error("the disk lost what it knew of some groups, and this may be one of them: the node has to be replaced")]
    MayBeLost,
    /// A rebuilt group needs an incarnation of its own, later than the one it goes on from.
    #[error("{wanted} is not later than {found}, which the group is in")]
    NotLater {
        /// The one that is there.
        found: Incarnation,
        /// The one to be noted.
        wanted: Incarnation,
    },
    /// A batch holds at most one write of a group.
    #[error("the group appears twice in one batch")]
    TwiceInBatch,
    /// It would leave a gap in the log, or let its terms fall.
    #[error("entry {next} can't follow {last}")]
    OutOfOrder {
        /// What it would follow.
        last: LogId,
        /// The entry that can't.
        next: LogId,
    },
    /// A log is compacted only to an entry that it holds.
    #[error("a log that ends with {last} can't be compacted up to {wanted}")]
    NotHeld {
        /// The log's last entry.
        last: LogId,
        /// What it should begin after.
        wanted: LogId,
    },
    /// Entries that were compacted can't be replaced.
    #[error("entry {index} was compacted, the log begins after {base}")]
    Compacted {
        /// What the log begins after.
        base: LogId,
        /// The entry.
        index: LogIndex,
    },
    /// A new base comes with the configuration in force there, and none without it.
    #[error("what the log begins after and the configuration in force there come together")]
    Membership,
    /// Larger than [`ENTRY_BYTES_MAX`].
    #[error("entry {index} has {bytes} bytes, more than {ENTRY_BYTES_MAX}")]
    TooLarge {
        /// The entry.
        index: LogIndex,
        /// Its size.
        bytes: usize,
    },
    /// All of a log is to be written at once, and it is longer than can be.
    #[error("its log takes {bytes} bytes: more than {max} can't be written at once")]
    LogTooLong {
        /// So many bytes it takes.
        bytes: u64,
        /// So many it may have.
        max: u64,
    },
}

/// What a new replica starts from where `tombstone` is all that is left of the group: its hard state, and the
/// last entry that it forgot.
///
/// A later life of the group knows nothing of the earlier one. If the same life comes back, it is the same
/// replica: it must not vote again in a term in which it voted, and what it acknowledged may be committed.
/// It starts one term later, so that nothing it ever said speaks for it now. So does one of which nobody knows whether
/// it is new, because the disk lost something.
pub(super) fn first_state(
    record: &GroupRecord,
    tombstone: Option<&Tombstone>,
    lost: Option<LostGroups>,
) -> Result<(HardState, LogId), StoreError> {
    let new = (HardState::default(), LogId::ZERO);
    let Some(tombstone) = tombstone else {
        return match lost {
            None => Ok(new),
            Some(LostGroups::Since(term)) => Ok((next_term(term), largest_of(term))),
            Some(LostGroups::Unknown) => Err(StoreError::refused(record.group, Refusal::MayBeLost)),
        };
    };
    match record.incarnation.cmp(&tombstone.incarnation) {
        Ordering::Greater if !tombstone.is_uncertain => Ok(new),
        Ordering::Greater | Ordering::Equal => Ok((next_term(tombstone.hard_state.term), tombstone.last)),
        Ordering::Less => Err(destroyed(record, tombstone)),
    }
}

/// A term in which nothing was said yet.
pub(super) fn next_term(term: Term) -> HardState {
    HardState {
        term: Term(term.0.saturating_add(1)),
        vote: None,
    }
}

/// The index of no entry: who forgot up to there does not know how much.
const LARGEST: LogIndex = LogIndex(u64::MAX);

/// Who may have acknowledged anything up to the end of a term: it votes for nobody without an entry of a later one.
pub(super) fn largest_of(term: Term) -> LogId {
    LogId { term, index: LARGEST }
}

/// The same as a store would recover it.
pub(crate) fn first_recovered(
    record: &GroupRecord,
    tombstone: Option<&Tombstone>,
    lost: Option<LostGroups>,
) -> Result<Recovered, StoreError> {
    let (hard_state, forgotten) = first_state(record, tombstone, lost)?;
    Ok(Recovered {
        hard_state,
        forgotten,
        ..Recovered::default()
    })
}

/// The same of a new replica whose log begins after `base`, which never is an earlier one that comes back.
///
/// Others may be in its life already, if it was imported here before and that is lost. So in doubt it is one that forgot,
/// and one that votes alone can't be: it has nobody to hear from what it forgot.
pub(crate) fn imported_state(
    record: &GroupRecord,
    base: LogId,
    tombstone: Option<&Tombstone>,
    lost: Option<LostGroups>,
) -> Result<(HardState, LogId), StoreError> {
    if let Some(tombstone) = tombstone.filter(|tombstone| record.incarnation <= tombstone.incarnation) {
        return Err(destroyed(record, tombstone));
    }
    let (first, forgotten) = first_state(record, tombstone, lost)?;
    if forgotten != LogId::ZERO && record.membership.voters().count() <= 1 {
        return Err(StoreError::refused(record.group, Refusal::MayBeLost));
    }
    let hard_state = HardState {
        term: base.term.max(first.term),
        vote: None,
    };
    Ok((hard_state, forgotten))
}

/// What is left of a replica that held a log up to `last` and is destroyed, and whether a later life of it may be lost:
/// the disk of one that is damaged may have forgotten that as well. As long as nobody has sent it anything that is later
/// than the damage, nobody may be in its life any more. Nobody ever sends that to one that `is_doubted`, because it was
/// rebuilt before.
pub(super) fn tombstone_of(
    owner: Owner,
    hard_state: HardState,
    last: LogId,
    forgotten: LogId,
    is_doubted: bool,
) -> Tombstone {
    let doubted = if is_doubted {
        largest_of(hard_state.term)
    } else {
        LogId::ZERO
    };
    Tombstone {
        group: owner.group,
        incarnation: owner.incarnation,
        hard_state,
        last: last.max(forgotten).max(doubted),
        is_uncertain: is_doubted || is_in_doubt(last, forgotten),
    }
}

/// Whether a replica with this last entry is damaged, so that a later life of it may be lost.
pub(crate) fn is_in_doubt(last: LogId, forgotten: LogId) -> bool {
    forgotten.index == LARGEST && forgotten > last
}

fn destroyed(record: &GroupRecord, tombstone: &Tombstone) -> StoreError {
    let reason = Refusal::Destroyed {
        destroyed: tombstone.incarnation,
        wanted: record.incarnation,
    };
    StoreError::refused(record.group, reason)
}

/// Whether a group that is in `found` can be rebuilt as `wanted`.
pub(super) fn check_rebuild(found: Incarnation, wanted: &GroupRecord) -> Result<(), StoreError> {
    if found < wanted.incarnation {
        return Ok(());
    }
    let reason = Refusal::NotLater {
        found,
        wanted: wanted.incarnation,
    };
    Err(StoreError::refused(wanted.group, reason))
}

/// Whether `next` may stand right behind `last`: no gap, no falling term.
pub(super) fn check_follows(last: LogId, next: LogId) -> Result<(), Refusal> {
    if last.index.0.checked_add(1) == Some(next.index.0) && last.term <= next.term {
        Ok(())
    } else {
        Err(Refusal::OutOfOrder { last, next })
    }
}

/// What a log begins after and what it ends with, before the entries of a write.
pub(super) fn rebased(persist: &Persist, base: LogId, last: LogId) -> Result<(LogId, LogId), StoreError> {
    if persist.base.is_some() != persist.membership.is_some() {
        return Err(StoreError::refused(persist.group, Refusal::Membership));
    }
    match persist.base {
        None => Ok((base, last)),
        Some(LogBase::Installed(id)) => Ok((id, id)),
        Some(LogBase::Compacted(id)) if base.index <= id.index && id.index <= last.index => Ok((id, last)),
        Some(LogBase::Compacted(wanted)) => Err(StoreError::refused(persist.group, Refusal::NotHeld { last, wanted })),
    }
}

/// Whether the entries of one write are in order among themselves and against the log, which begins after
/// `base` and ends with `last`. How they fit to what they leave standing when they replace is not checked
/// here: that takes a read.
pub(super) fn check_entries(persist: &Persist, base: LogId, last: LogId) -> Result<(), StoreError> {
    let refuse = |reason| StoreError::refused(persist.group, reason);
    if let Some(first) = persist.entries.first() {
        if first.index > last.index || first.index == LogIndex::ZERO {
            check_follows(last, first.id()).map_err(refuse)?;
        } else if first.index <= base.index {
            return Err(refuse(Refusal::Compacted {
                base,
                index: first.index,
            }));
        }
    }
    for pair in persist.entries.windows(2) {
        if let [one, next] = pair {
            check_follows(one.id(), next.id()).map_err(refuse)?;
        }
    }
    match persist.entries.iter().find(|entry| too_large(entry)) {
        Some(entry) => Err(refuse(Refusal::TooLarge {
            index: entry.index,
            bytes: entry.size(),
        })),
        None => Ok(()),
    }
}

fn too_large(entry: &Entry) -> bool {
    entry.size() > ENTRY_BYTES_MAX
}

/// Makes nothing of an entry that is a configuration: the next incarnation of a group has its own.
pub(super) fn forget_configuration(entry: &mut Entry) {
    if matches!(entry.payload, Payload::Membership(_)) {
        entry.payload = Payload::Noop;
    }
}
