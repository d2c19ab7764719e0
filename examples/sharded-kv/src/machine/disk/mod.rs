//! The same state machine with its keys on disk, in fjall.
//!
//! A command runs as it does in memory, on the keys that it touches: they are loaded before it ([`super::touched`]) into a
//! [`KvMachine`] that holds nothing else, with their values where it needs them. At the commit what changed there is written,
//! in one batch with the runtime's records, and forgotten. So all that a command does is written once, for both.

mod check;
mod commit;
mod contents;
mod digest;
mod held;
mod journals;
mod query;
pub(super) mod rows;
mod store;
mod stream;
mod sweeper;
mod tables;

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use raftyard::{DiskStateMachine, GroupId, Record, Timestamp};

use super::command::{Answer, Command, Read, Refusal, Response};
use super::keyspace::Keyspace;
use super::limits::Limits;
use super::{KvMachine, weight};
use crate::bell::Bell;
use digest::{Digest, hash};
use held::{HELD_BYTES_MAX, Known};
use rows::Head;

pub(crate) use check::{KeysCheck, check};
pub(crate) use store::{OPEN_TABLES, Store};

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
    loaded: HashMap<Bytes, Known>,
    /// Bytes of the keys and values that were loaded or set since the last commit.
    held: usize,
    /// With so many of them, what was applied is to be committed before more is.
    held_bytes_max: usize,
    /// The generation that begins with the next commit: all keys were deleted.
    flushed: Option<u64>,
    /// The hashes of the records, as they are committed.
    hashes: HashMap<Vec<u8>, u64>,
    /// What lies on disk is damaged. This begins in its place, and takes it with the first commit.
    is_damaged: bool,
}

/// A snapshot that was put down. It is removed, in the background, unless it took the place of what was there.
pub(crate) struct Restored {
    store: Arc<Store>,
    head: Head,
    /// It may be what a group has.
    is_taken: bool,
}

impl Drop for Restored {
    fn drop(&mut self) {
        if !self.is_taken {
            self.store.discard(self.head.generation);
        }
    }
}

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
            held: 0,
            held_bytes_max: HELD_BYTES_MAX,
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

    /// Forgets what was loaded.
    fn forget(&mut self) {
        self.working = part(&self.head, self.working.limits);
        self.loaded = HashMap::new();
        self.held = 0;
        self.flushed = None;
    }

    /// The first deadline from `from` on.
    fn first_deadline(&self, from: Timestamp) -> io::Result<Option<Timestamp>> {
        let mut all = self.store.deadlines(self.head.generation, from, Timestamp(u64::MAX));
        Ok(all.next().transpose()?.map(|(deadline, _)| deadline))
    }
}

/// Nothing is loaded yet.
fn part(head: &Head, limits: Limits) -> KvMachine {
    let count = usize::try_from(head.count).unwrap_or(usize::MAX);
    KvMachine {
        keys: Keyspace::part(head.now, head.changes, count),
        limits,
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
        self.working.keys.advance(now);
        if let Command::Transaction { .. } = &command {
            // Before their values are.
            self.load_touched(&command, now, false)?;
            if weight::is_too_heavy(&command, self.working.limits.values_bytes, |key| self.length(key)) {
                return Ok(Response::Refused(Refusal::ValuesTooLong));
            }
        }
        let touched = self.load_touched(&command, now, true)?;
        let response = self.working.run(command);
        if self.working.keys.is_cleared() && self.flushed.is_none() {
            self.flushed = Some(self.store.new_generation());
            // None of them is in that generation.
            self.loaded.values_mut().for_each(|known| known.on_disk = None);
        }
        touched.iter().for_each(|key| self.recount(key));
        Ok(response)
    }

    fn is_full(&self) -> bool {
        self.holds_much()
    }

    fn commit(&mut self, records: &[Record]) -> io::Result<()> {
        self.commit_changes(records)
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
        move |from: &mut dyn io::Read| {
            Ok(Restored {
                head: stream::read(&store, from)?,
                store: Arc::clone(&store),
                is_taken: false,
            })
        }
    }

    fn restore(&mut self, mut restored: Restored, records: &[Record]) -> io::Result<()> {
        let mut batch = self.store.batch();
        self.remove_records(&mut batch, records)?;
        restored.is_taken = true;
        let mut head = restored.head;
        self.hashes.clear();
        self.commit_batch(batch, &mut head, records)?;
        self.store.discard(self.head.generation);
        self.begin(head)
    }
}

#[cfg(test)]
pub(super) mod tests;
