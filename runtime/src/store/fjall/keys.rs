//! Where each record stands. Big endian numbers, so that the order of the keys is the order of groups and,
//! within a group, of log indices:
//!
//! ```text
//! group (8 bytes) | 1                              its record, or its tombstone
//! group (8 bytes) | 2                              its hard state
//! group (8 bytes) | 2 | 1                          what its log begins after, if not at the start
//! group (8 bytes) | 2 | 2                          what an earlier life of the replica held, if there was one
//! group (8 bytes) | 3 | first index (8 bytes)      entries, consecutive from the first index on
//! ```

use raftyard_groups::{GroupId, LogIndex};
use std::ops::RangeInclusive;

const GROUP: u8 = 1;
const HARD_STATE: u8 = 2;
/// After [`HARD_STATE`]: the base comes before the entries.
const BASE: u8 = 1;
/// After [`HARD_STATE`] too.
const FORGOTTEN: u8 = 2;
const LOG: u8 = 3;

/// What a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Group(GroupId),
    HardState(GroupId),
    Base(GroupId),
    Forgotten(GroupId),
    Log(GroupId, LogIndex),
}

pub(super) fn group_key(group: GroupId) -> [u8; 9] {
    short_key(group, GROUP)
}

pub(super) fn hard_state_key(group: GroupId) -> [u8; 9] {
    short_key(group, HARD_STATE)
}

pub(super) fn base_key(group: GroupId) -> [u8; 10] {
    long_key(group, BASE)
}

pub(super) fn forgotten_key(group: GroupId) -> [u8; 10] {
    long_key(group, FORGOTTEN)
}

pub(super) fn log_key(group: GroupId, first: LogIndex) -> [u8; 17] {
    let mut key = [0; 17];
    let (head, index) = key.split_at_mut(9);
    head.copy_from_slice(&short_key(group, LOG));
    index.copy_from_slice(&first.0.to_be_bytes());
    key
}

/// The keys of the group's entries that start between these indices.
pub(super) fn log_keys(group: GroupId, from: LogIndex, through: LogIndex) -> RangeInclusive<[u8; 17]> {
    log_key(group, from)..=log_key(group, through)
}

/// What a key names; none if it is no key of ours.
pub(super) fn place(key: &[u8]) -> Option<Place> {
    let (group, rest) = key.split_first_chunk::<8>()?;
    let group = GroupId(u64::from_be_bytes(*group));
    match rest {
        [GROUP] => Some(Place::Group(group)),
        [HARD_STATE] => Some(Place::HardState(group)),
        [HARD_STATE, BASE] => Some(Place::Base(group)),
        [HARD_STATE, FORGOTTEN] => Some(Place::Forgotten(group)),
        [LOG, first @ ..] => {
            let first = u64::from_be_bytes(first.try_into().ok()?);
            Some(Place::Log(group, LogIndex(first)))
        }
        _ => None,
    }
}

fn long_key(group: GroupId, kind: u8) -> [u8; 10] {
    let mut key = [kind; 10];
    let (head, _) = key.split_at_mut(9);
    head.copy_from_slice(&hard_state_key(group));
    key
}

fn short_key(group: GroupId, kind: u8) -> [u8; 9] {
    let mut key = [kind; 9];
    let (head, _) = key.split_at_mut(8);
    head.copy_from_slice(&group.0.to_be_bytes());
    key
}
