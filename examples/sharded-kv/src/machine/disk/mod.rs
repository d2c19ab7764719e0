//! The same state machine with its keys on disk, in fjall.
//!
//! A command runs as it does in memory, on the keys that it touches: they are loaded before it ([`super::touched`]) into a
//! [`KvMachine`] that holds nothing else. At the commit what changed there is written, in one batch with the runtime's
//! records, and forgotten. So all that a command does is written once, for both.

mod check;
mod contents;
mod digest;
mod journals;
mod rows;
mod store;
mod stream;
mod tables;

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use fjall::OwnedWriteBatch;
use raftyard::{DiskStateMachine, GroupId, Record, StateMachine, Timestamp};

use super::blob::Blob;
use super::command::{Answer, Command, Query, Read, Refusal, Response, Version};
use super::keyspace::Keyspace;
use super::touched::Touched;
use super::{KvMachine, PURGE_MAX};
use crate::bell::Bell;
use crate::glob;
use digest::{Digest, hash};
use rows::{Head, Kind};
use store::{Found, other};

pub(crate) use check::{KeysCheck, check};
pub(crate) use store::{OPEN_TABLES, Store};

/// Keys that one query looks at to find one that has not expired, and up to which one is drawn by its number, at most.
const TRIES_MAX: u64 = 256;

/// Bytes of the values that one query returns, at most: each is read into memory of its own.
const VALUES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of keys and values after which a page of a scan ends.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The keys of one group.
pub(crate) struct DiskKv {
    store: Arc<Store>,
    group: GroupId,
    /// Is told when the first key expires.
    bell: Bell,
    /// As it is committed.
    head: Head,
    /// No key on disk has an earlier deadline.
    first: Option<Timestamp>,
    /// What was touched since the last commit.
    working: KvMachine,
    /// How the keys that are in `working`, or were, lie on disk.
    loaded: HashMap<Bytes, Option<Loaded>>,
    /// The generation that begins with the next commit: all keys were deleted.
    flushed: Option<u64>,
    /// The hashes of the records, as they are committed.
    hashes: HashMap<Vec<u8>, u64>,
    /// What lies on disk is damaged. This begins in its place, and takes it with the first commit.
    is_damaged: bool,
}

/// A key as it lies on disk.
struct Loaded {
    place: Vec<u8>,
    deadline: Option<Timestamp>,
    version: Version,
    /// Of its row.
    hash: u64,
}

/// A snapshot that was put down.
pub(crate) struct Restored(Head);

impl DiskKv {
    /// Opens what there is of a group; one that is damaged begins anew.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(crate) fn open(store: Arc<Store>, group: GroupId, bell: Bell) -> io::Result<Self> {
        let is_damaged = store.is_damaged(group);
        let found = if is_damaged { None } else { store.head(group)? };
        let head = found.unwrap_or_else(|| Head {
            generation: store.new_generation(),
            now: Timestamp(0),
            changes: 0,
            count: 0,
            keys: Digest::default(),
            records: Digest::default(),
        });
        let mut machine = Self {
            store,
            group,
            bell,
            head,
            first: None,
            working: KvMachine::default(),
            loaded: HashMap::new(),
            flushed: None,
            hashes: HashMap::new(),
            is_damaged,
        };
        for (key, value) in machine.records()? {
            let hash = hash(&rows::record(group, &key), &value);
            machine.hashes.insert(key, hash);
        }
        machine.begin(head)?;
        Ok(machine)
    }

    /// Goes on from what was committed.
    fn begin(&mut self, head: Head) -> io::Result<()> {
        self.head = head;
        self.first = self.first_deadline(Timestamp(0))?;
        self.bell.ring(self.first);
        self.forget();
        Ok(())
    }

    /// Removes all records that lie there, but for those that `records` writes: a batch must not hold a key twice.
    fn remove_records(&self, batch: &mut OwnedWriteBatch, records: &[Record]) -> io::Result<()> {
        let written: HashSet<_> = records.iter().map(|record| &record.key).collect();
        for (key, _) in self.store.records(self.group)? {
            if !written.contains(&key) {
                batch.remove(&self.store.rows, rows::record(self.group, &key));
            }
        }
        Ok(())
    }

    /// Writes a batch with these records and with the head, which gets their digest.
    fn write(&mut self, mut batch: OwnedWriteBatch, head: &mut Head, records: &[Record]) -> io::Result<()> {
        let rows = &self.store.rows;
        for Record { key, value } in records {
            let name = rows::record(self.group, key);
            if let Some(was) = self.hashes.remove(key) {
                head.records.remove(was);
            }
            match value {
                Some(value) => {
                    let hash = hash(&name, value);
                    head.records.add(hash);
                    self.hashes.insert(key.clone(), hash);
                    batch.insert(rows, name, value.as_slice());
                }
                None => batch.remove(rows, name),
            }
        }
        batch.insert(rows, rows::prefix(Kind::Head, self.group.0), head.encode());
        batch.commit().map_err(other)?;
        if std::mem::take(&mut self.is_damaged) {
            self.store.forget_damage(self.group);
        }
        Ok(())
    }

    /// Forgets what was loaded.
    fn forget(&mut self) {
        self.working = part(&self.head);
        self.loaded = HashMap::new();
        self.flushed = None;
    }

    fn load(&mut self, key: &[u8]) -> io::Result<()> {
        if self.loaded.contains_key(key) {
            return Ok(());
        }
        let found = match self.flushed {
            Some(_) => None,
            None => self.store.find(self.head.generation, key)?,
        };
        let loaded = found.map(|Found { place, entry, hash }| {
            let loaded = Loaded {
                place,
                deadline: entry.deadline(),
                version: entry.version,
                hash,
            };
            self.working.keys.load(key.into(), entry);
            loaded
        });
        self.loaded.insert(Bytes::copy_from_slice(key), loaded);
        Ok(())
    }

    /// The first keys that expire by `now`, of those that are not loaded yet: with these, all that can be removed.
    fn load_due(&mut self, now: Timestamp) -> io::Result<()> {
        let (Some(first), None) = (self.first, self.flushed) else {
            return Ok(());
        };
        let due = self.store.deadlines(self.head.generation, first, now);
        let loaded = &self.loaded;
        let unknown = due.filter(|due| !matches!(due, Ok((_, key)) if loaded.contains_key(key)));
        let keys: Vec<_> = unknown.take(PURGE_MAX).collect::<io::Result<_>>()?;
        keys.iter().try_for_each(|(_, key)| self.load(key))
    }

    /// The first deadline from `from` on.
    fn first_deadline(&self, from: Timestamp) -> io::Result<Option<Timestamp>> {
        let mut all = self.store.deadlines(self.head.generation, from, Timestamp(u64::MAX));
        Ok(all.next().transpose()?.map(|(deadline, _)| deadline))
    }

    fn scan(&self, from: u64, count: u64, pattern: Option<&[u8]>) -> io::Result<Answer> {
        let (mut keys, mut seen, mut bytes, mut last) = (Vec::new(), 0, 0, from);
        let (mut steps, mut first) = (glob::PAGE_STEPS, None);
        let full = |seen: u64, bytes: usize| seen >= count.max(1) || bytes >= PAGE_BYTES;
        for row in self.store.cells_from(self.head.generation, from) {
            let (name, row) = row?;
            let place = rows::rest(&name);
            // Keys with the same hash come together: the scan goes on at a hash.
            let hash = rows::hash_of(place)?;
            if full(seen, bytes) && hash != last {
                return Ok(Answer::Page { before: hash, keys });
            }
            (seen, bytes, last) = (seen + 1, bytes + name.len() + row.len(), hash);
            let first = *first.get_or_insert(hash);
            let (key, entry) = rows::decode(place, &row)?;
            if !entry.lives_at(self.head.now) {
                continue;
            }
            if pattern.is_none_or(|pattern| glob::matches(pattern, &key, &mut steps)) {
                keys.push(key);
            } else if steps == 0 {
                // The next page begins with it.
                return Ok(if hash == first {
                    Answer::Refused(Refusal::PatternTooCostly)
                } else {
                    Answer::Page { before: hash, keys }
                });
            }
        }
        Ok(Answer::Page { before: 0, keys })
    }

    pub(super) fn query(&self, query: Query) -> io::Result<Answer> {
        match query {
            Query::Scan { before, count, pattern } => self.scan(before, count, pattern.as_deref()),
            Query::KeyAt(number) => Ok(Answer::Value(self.key_at(number)?)),
            query => self.look_up(query),
        }
    }

    /// Answers a query that names its keys. Values that it does not tell are not kept.
    fn look_up(&self, query: Query) -> io::Result<Answer> {
        let tells_values = matches!(
            query,
            Query::Get(_) | Query::GetMany(_) | Query::Length(_) | Query::Range { .. }
        );
        let (mut view, mut bytes) = (part(&self.head), 0);
        query.touched(&mut |touched| {
            if let Touched::Key(key) = touched
                && bytes <= VALUES_BYTES_MAX
                && view.keys.entry(key).is_none()
                && let Some(Found { mut entry, .. }) = self.store.find(self.head.generation, key)?
            {
                if !tells_values {
                    entry.value = Blob::default();
                }
                bytes += entry.value.len();
                view.keys.load(key.into(), entry);
            }
            Ok(())
        })?;
        if bytes > VALUES_BYTES_MAX {
            return Ok(Answer::Refused(Refusal::ValuesTooLong));
        }
        let is_part = matches!(query, Query::Range { .. });
        Ok(match view.query(query) {
            // Otherwise it would hold the whole of the value.
            Answer::Value(Some(value)) if is_part => Answer::Value(Some(Bytes::copy_from_slice(&value))),
            answer => answer,
        })
    }

    /// Of few keys the one with this number, of many one somewhere there.
    fn key_at(&self, number: u64) -> io::Result<Option<Bytes>> {
        let count = self.head.count;
        let Some(number) = number.checked_rem(count) else {
            return Ok(None);
        };
        let (hash, skip) = if count <= TRIES_MAX {
            (0, number)
        } else {
            (number * (rows::HASHES / count), 0)
        };
        let skip = usize::try_from(skip).map_err(io::Error::other)?;
        let tries = usize::try_from(TRIES_MAX).map_err(io::Error::other)?;
        let generation = self.head.generation;
        // Round and round, as far as it may.
        let first = self.store.cells_from(generation, hash).skip(skip);
        for row in first.chain(self.store.cells_from(generation, 0)).take(tries) {
            let (name, row) = row?;
            let (key, entry) = rows::decode(rows::rest(&name), &row)?;
            if entry.lives_at(self.head.now) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// Nothing is loaded yet.
fn part(head: &Head) -> KvMachine {
    let count = usize::try_from(head.count).unwrap_or(usize::MAX);
    KvMachine {
        keys: Keyspace::part(head.now, head.changes, count),
    }
}

impl DiskStateMachine for DiskKv {
    type Command = Command;
    type Response = Response;
    type Query = Read;
    type Answer = Answer;
    type Restored = Restored;

    fn records(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match self.is_damaged {
            true => Ok(Vec::new()),
            false => self.store.records(self.group),
        }
    }

    fn apply(&mut self, command: Command, now: Timestamp) -> io::Result<Response> {
        command.touched(&mut |touched| match touched {
            Touched::Key(key) => self.load(key),
            Touched::Due => self.load_due(now),
        })?;
        let response = match command {
            // What is loaded beside those that are due differs from replica to replica: in the order in which keys lie on
            // disk all of them remove the same.
            Command::Purge => {
                self.working.keys.advance(now);
                let removed = self.working.keys.purge_in_order(PURGE_MAX, rows::search);
                Response::Integer(super::integer(removed))
            }
            command => self.working.apply(command, now),
        };
        if self.working.keys.is_cleared() && self.flushed.is_none() {
            self.flushed = Some(self.store.new_generation());
            // None of them is in that generation.
            self.loaded.values_mut().for_each(|loaded| *loaded = None);
        }
        Ok(response)
    }

    fn commit(&mut self, records: &[Record]) -> io::Result<()> {
        let keys = &self.working.keys;
        let (now, changes) = keys.clock();
        let mut head = Head {
            generation: self.flushed.unwrap_or(self.head.generation),
            now,
            changes,
            count: keys.len() as u64,
            keys: self.flushed.map_or(self.head.keys, |_| Digest::default()),
            records: self.head.records,
        };
        let (store, generation) = (&self.store, head.generation);
        let mut batch = store.batch();
        let mut first = self.first.filter(|_| self.flushed.is_none());
        let mut first_is_gone = false;
        for (key, before) in &self.loaded {
            let after = keys.entry(key);
            if before.as_ref().map(|before| before.version) == after.map(|after| after.version) {
                continue;
            }
            let (had, has) = (
                before.as_ref().and_then(|before| before.deadline),
                after.and_then(|after| after.deadline()),
            );
            if let (Some(before), Some(had)) = (before, had)
                && Some(had) != has
            {
                let name = rows::deadline(generation, had, &before.place);
                head.keys.remove(hash(&name, key));
                batch.remove(&store.rows, name);
                first_is_gone |= self.first == Some(had);
            }
            if let Some(before) = before {
                head.keys.remove(before.hash);
            }
            let Some(after) = after else {
                if let Some(before) = before {
                    batch.remove(&store.rows, rows::cell(generation, &before.place));
                }
                continue;
            };
            let place = match before {
                Some(before) => before.place.clone(),
                None => rows::place(key, after.version),
            };
            if let Some(has) = has.filter(|has| had != Some(*has)) {
                let name = rows::deadline(generation, has, &place);
                head.keys.add(hash(&name, key));
                batch.insert(&store.rows, name, &key[..]);
                first = Some(first.map_or(has, |first| first.min(has)));
            }
            let (name, row) = (rows::cell(generation, &place), rows::encode(key, after));
            head.keys.add(hash(&name, &row));
            batch.insert(&store.rows, name, row);
        }
        if self.is_damaged {
            self.remove_records(&mut batch, records)?;
        }
        self.write(batch, &mut head, records)?;
        if generation != self.head.generation {
            self.store.discard(self.head.generation);
        }
        self.head = head;
        // What lies before the deadline that was the first is gone: no search passes it again.
        if let (Some(from), true) = (first, first_is_gone) {
            first = self.first_deadline(from)?;
        }
        self.first = first;
        self.bell.ring(first);
        self.forget();
        Ok(())
    }

    fn query(&self, read: Read) -> io::Result<Answer> {
        read.answered(|query| self.query(query))
    }

    fn sync(&self) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        let store = Arc::clone(&self.store);
        move || store.sync()
    }

    fn snapshot(&self) -> io::Result<impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static> {
        let (store, view, head) = (Arc::clone(&self.store), self.store.view(), self.head);
        Ok(move |out: &mut dyn Write| stream::write(&store, &view, &head, out))
    }

    fn restorer(&self) -> impl Fn(&mut dyn io::Read) -> io::Result<Restored> + Send + 'static {
        let store = Arc::clone(&self.store);
        move |from: &mut dyn io::Read| stream::read(&store, from).map(Restored)
    }

    fn restore(&mut self, Restored(mut head): Restored, records: &[Record]) -> io::Result<()> {
        let mut batch = self.store.batch();
        self.remove_records(&mut batch, records)?;
        self.hashes.clear();
        self.write(batch, &mut head, records)?;
        self.store.discard(self.head.generation);
        self.begin(head)
    }
}

#[cfg(test)]
pub(super) mod tests;
