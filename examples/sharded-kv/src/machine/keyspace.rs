//! The keys of one group with their values, deadlines and versions. They stand in a [`Row`], so that a scan can go on at
//! any replica.
//!
//! It can also be a part of them: those that commands are about to touch, [loaded](Keyspace::load) from a disk.

use std::num::NonZeroU64;

use bytes::Bytes;
use raftyard::Timestamp;
use serde::{Deserialize, Serialize};

use super::blob::Blob;
use super::command::{Expiry, Lifetime, Refusal, Version};
use super::deadlines::Deadlines;
use super::limits::{Limits, PAGE_BYTES};
use super::row::Row;
use crate::bell::Bell;
use crate::glob;

/// Keys that are looked at to find one that has not expired, at most.
const TRIES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Keyspace {
    entries: Row<Entry>,
    deadlines: Deadlines,
    /// The group's time: that of the last command.
    now: Timestamp,
    /// The number of the last change.
    changes: Version,
    /// How many keys there are beside those that are here.
    unloaded: usize,
    /// All keys were deleted since.
    is_cleared: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) value: Blob,
    /// Milliseconds since the Unix epoch. Never 0: what expires then has expired already.
    pub(super) deadline: Option<NonZeroU64>,
    pub(super) version: Version,
}

impl Entry {
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.deadline.map(|deadline| Timestamp(deadline.get()))
    }

    pub(super) fn lives_at(&self, now: Timestamp) -> bool {
        self.deadline.is_none_or(|deadline| deadline.get() > now.0)
    }
}

/// All that decides what later commands do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    now: Timestamp,
    pub(super) changes: Version,
    /// With their places in the row.
    pub(super) entries: Vec<(usize, Blob, Entry)>,
}

impl Keyspace {
    pub(super) fn new(bell: Bell) -> Self {
        Self {
            deadlines: Deadlines::new(bell),
            ..Self::default()
        }
    }

    /// None yet of `unloaded` keys that lie elsewhere.
    pub(super) fn part(now: Timestamp, changes: Version, unloaded: usize) -> Self {
        Self {
            now,
            changes,
            unloaded,
            ..Self::default()
        }
    }

    /// Takes in a key that was not loaded before, as it lies elsewhere.
    pub(super) fn load(&mut self, key: Blob, entry: Entry) {
        self.unloaded = self.unloaded.saturating_sub(1);
        let deadline = entry.deadline();
        let (key, _) = self.entries.put(key, entry);
        self.deadlines.change(key, None, deadline);
    }

    /// Takes in the value of a key that was loaded without it.
    pub(super) fn fill(&mut self, key: &[u8], value: Blob) {
        if let Some((_, entry)) = self.entries.get_mut(key) {
            entry.value = value;
        }
    }

    /// What is here of `key`, expired or not.
    pub(super) fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Whether all keys were deleted since this was made.
    pub(super) fn is_cleared(&self) -> bool {
        self.is_cleared
    }

    /// The group's time, and the number of the last change.
    pub(super) fn clock(&self) -> (Timestamp, Version) {
        (self.now, self.changes)
    }

    /// Copies no long key or value: they are shared.
    pub(super) fn snapshot(&self) -> Snapshot {
        let entries = self.entries.iter();
        Snapshot {
            now: self.now,
            changes: self.changes,
            entries: entries
                .map(|(place, key, entry)| (place, key.clone(), entry.clone()))
                .collect(),
        }
    }

    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        let Snapshot { now, changes, entries } = snapshot;
        (self.now, self.changes) = (now, changes);
        self.entries = Row::restore(entries);
        let entries = self.entries.iter();
        let all = entries.filter_map(|(_, key, entry)| Some((entry.deadline()?, key.to_bytes())));
        self.deadlines.replace(all);
    }

    /// From now on it is `now`: what expires by then is gone, removed or not.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn live(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.lives_at(self.now))
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.live(key).is_some()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Blob> {
        self.live(key).map(|entry| &entry.value)
    }

    pub(super) fn version(&self, key: &[u8]) -> Version {
        self.live(key).map_or(0, |entry| entry.version)
    }

    pub(super) fn lifetime(&self, key: &[u8]) -> Lifetime {
        match self.live(key) {
            None => Lifetime::None,
            Some(entry) => entry.deadline().map_or(Lifetime::Endless, Lifetime::Until),
        }
    }

    /// How many keys there are, with those that have expired and are not removed yet.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.unloaded
    }

    /// When what is set now with `expiry` expires; `before` is what held for the key until now.
    pub(super) fn deadline(&self, expiry: Expiry, before: Lifetime) -> Option<Timestamp> {
        match (expiry, before) {
            (Expiry::Never, _) | (Expiry::Keep, Lifetime::None | Lifetime::Endless) => None,
            (Expiry::Keep, Lifetime::Until(deadline)) | (Expiry::At(deadline), _) => Some(deadline),
            (Expiry::After(millis), _) => Some(self.now.plus(millis)),
        }
    }

    /// Sets `key`, whatever was there; a deadline that is past deletes it.
    pub(super) fn put(&mut self, key: impl Into<Blob>, value: impl Into<Blob>, expiry: Expiry) {
        let key = key.into();
        let deadline = match expiry {
            Expiry::Never => None,
            expiry => self.deadline(expiry, self.lifetime(&key)),
        };
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            self.remove(&key);
            return;
        }
        self.changes += 1;
        let entry = Entry {
            value: value.into(),
            deadline: deadline.and_then(|deadline| NonZeroU64::new(deadline.0)),
            version: self.changes,
        };
        let (key, before) = self.entries.put(key, entry);
        let before = before.and_then(|before| before.deadline());
        self.deadlines.change(key, before, deadline);
    }

    /// Lets `change` make another value of that of `key`, which is there and keeps its deadline.
    pub(super) fn change(&mut self, key: &[u8], change: impl FnOnce(Bytes) -> Bytes) {
        if let Some((_, entry)) = self.entries.get_mut(key) {
            self.changes += 1;
            entry.version = self.changes;
            entry.value = change(std::mem::take(&mut entry.value).into_bytes()).into();
        }
    }

    /// Gives `key`, if it is there, another deadline or none; one that is past deletes it.
    pub(super) fn set_deadline(&mut self, key: &[u8], deadline: Option<Timestamp>) {
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            self.remove(key);
        } else if let Some((key, entry)) = self.entries.get_mut(key) {
            self.changes += 1;
            entry.version = self.changes;
            self.deadlines.change(key, entry.deadline(), deadline);
            entry.deadline = deadline.and_then(|deadline| NonZeroU64::new(deadline.0));
        }
    }

    /// Removes `key` and returns its value, if it had not expired before.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Blob> {
        let (key, entry) = self.entries.remove(key)?;
        self.deadlines.change(&key, entry.deadline(), None);
        entry.lives_at(self.now).then_some(entry.value)
    }

    pub(super) fn clear(&mut self) {
        // What it took is given back.
        self.entries = Row::default();
        (self.unloaded, self.is_cleared) = (0, true);
        self.deadlines.replace(std::iter::empty());
    }

    /// Removes the first keys that have expired, as many as one command may, and returns how many. Of a part of the keys it
    /// removes the same, if [as many](Limits::purge_is_over) are loaded of those that come first.
    pub(super) fn purge(&mut self, limits: Limits) -> usize {
        let (mut removed, mut bytes) = (0, 0);
        while !limits.purge_is_over(removed, bytes)
            && let Some(key) = self.deadlines.due(self.now)
        {
            self.remove(&key);
            (removed, bytes) = (removed + 1, bytes + key.len());
        }
        removed
    }

    /// The keys at the `count` places before `before` (0: before the end) that match `pattern`, and where to go on (0:
    /// nothing is left). Fewer if they take too many steps, or are long.
    pub(super) fn scan(
        &self,
        before: usize,
        count: usize,
        pattern: Option<&[u8]>,
    ) -> Result<(usize, Vec<Bytes>), Refusal> {
        let end = match before {
            0 => self.entries.len(),
            before => before.min(self.entries.len()),
        };
        let start = end.saturating_sub(count.max(1));
        let (mut steps, mut bytes, mut keys) = (glob::PAGE_STEPS, 0, Vec::new());
        let mut first = start;
        for place in (start..end).rev() {
            let Some((key, _)) = self.entries.at(place).filter(|(_, entry)| entry.lives_at(self.now)) else {
                continue;
            };
            if pattern.is_none_or(|pattern| glob::matches(pattern, key, &mut steps)) {
                keys.push(key.to_bytes());
                bytes += key.len();
                if bytes >= PAGE_BYTES {
                    // The next page ends before it.
                    first = place;
                    break;
                }
            } else if steps == 0 {
                // The next page begins with it.
                first = place + 1;
                break;
            }
        }
        if first == end && steps == 0 {
            return Err(Refusal::PatternTooCostly);
        }
        keys.reverse();
        Ok((first, keys))
    }

    /// The key at the place `number`, counted round and round, or one of the next.
    pub(super) fn key_at(&self, number: u64) -> Option<Bytes> {
        let count = self.entries.len();
        let first = usize::try_from(number.checked_rem(count.try_into().ok()?)?).ok()?;
        let places = (0..count.min(TRIES_MAX)).map(|step| (first + step) % count);
        let mut entries = places.filter_map(|place| self.entries.at(place));
        let (key, _) = entries.find(|(_, entry)| entry.lives_at(self.now))?;
        Some(key.to_bytes())
    }
}
