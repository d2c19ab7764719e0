//! What is in memory of the keys that commands touched since the last commit.

use std::io;

use bytes::Bytes;
use raftyard::Timestamp;

use super::super::command::{Command, Version};
use super::super::touched::Touched;
use super::DiskKv;
use super::rows;
use super::store::Found;

/// With so many bytes of keys and values in memory, what was applied is to be committed before more is.
pub(super) const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A value longer than this is left on disk until a command needs it.
const SHORT_VALUE_MAX: usize = 1_024;

/// A key that was looked for on disk.
pub(super) struct Known {
    /// How it lies there, if it does.
    pub(super) on_disk: Option<Loaded>,
    /// Bytes of its value in memory, by the last count.
    held: usize,
}

/// A key as it lies on disk.
pub(super) struct Loaded {
    pub(super) place: Vec<u8>,
    pub(super) deadline: Option<Timestamp>,
    pub(super) version: Version,
    /// Of its row.
    pub(super) hash: u64,
    /// The length of its value, which was not loaded.
    left: Option<usize>,
}

impl DiskKv {
    /// Loads what `command` touches; their values too, where it needs them and they are wanted. Returns the keys.
    pub(super) fn load_touched(&mut self, command: &Command, now: Timestamp, values: bool) -> io::Result<Vec<Bytes>> {
        let mut keys = Vec::new();
        command.touched(&mut |touched| {
            match touched {
                Touched::Key(key) => keys.push(self.load(key, false)?),
                Touched::Value(key) => keys.push(self.load(key, values)?),
                Touched::Due => self.load_due(now)?,
            }
            Ok::<_, io::Error>(())
        })?;
        Ok(keys)
    }

    fn load(&mut self, key: &[u8], with_value: bool) -> io::Result<Bytes> {
        if let Some((key, _)) = self.loaded.get_key_value(key) {
            let key = key.clone();
            if with_value && self.left(&key).is_some() {
                self.fetch(&key)?;
            }
            return Ok(key);
        }
        let key = Bytes::copy_from_slice(key);
        let found = match self.flushed {
            Some(_) => None,
            None => self.store.find(self.head.generation, &key)?,
        };
        let on_disk = found.map(|Found { place, mut entry, hash }| {
            let is_left = !with_value && entry.value.len() > SHORT_VALUE_MAX;
            let left = is_left.then(|| std::mem::take(&mut entry.value).len());
            let loaded = Loaded {
                place,
                deadline: entry.deadline(),
                version: entry.version,
                hash,
                left,
            };
            self.working.keys.load((&key).into(), entry);
            loaded
        });
        self.held += key.len();
        self.loaded.insert(key.clone(), Known { on_disk, held: 0 });
        self.recount(&key);
        Ok(key)
    }

    /// Loads a value that was left on disk.
    fn fetch(&mut self, key: &Bytes) -> io::Result<()> {
        let found = self.store.find(self.head.generation, key)?;
        let Found { entry, .. } = found.ok_or_else(rows::damaged)?;
        self.working.keys.fill(key, entry.value);
        if let Some(Known {
            on_disk: Some(loaded), ..
        }) = self.loaded.get_mut(key)
        {
            loaded.left = None;
        }
        self.recount(key);
        Ok(())
    }

    /// The length of the value of `key`, if that was left on disk. One that was overwritten since is not missed.
    fn left(&self, key: &[u8]) -> Option<usize> {
        let loaded = self.loaded.get(key)?.on_disk.as_ref()?;
        let length = loaded.left?;
        let version = self.working.keys.entry(key)?.version;
        (version == loaded.version).then_some(length)
    }

    /// The length of the value of a key that is loaded, with its value or without; 0 if it is not there.
    pub(super) fn length(&self, key: &[u8]) -> usize {
        let here = self.working.keys.entry(key).map_or(0, |entry| entry.value.len());
        self.left(key).unwrap_or(here)
    }

    /// Counts what a key that was loaded takes now.
    pub(super) fn recount(&mut self, key: &[u8]) {
        let now = self.working.keys.entry(key).map_or(0, |entry| entry.value.len());
        if let Some(Known { held, .. }) = self.loaded.get_mut(key) {
            self.held = self.held.saturating_sub(*held) + now;
            *held = now;
        }
    }

    /// Whether what is in memory is to be committed before more is applied.
    pub(super) fn holds_much(&self) -> bool {
        self.held >= self.held_bytes_max
    }

    /// Loads the first keys that expire by `now`, of those that are not loaded yet, as many as one command removes: with those
    /// that are, there are all that can be removed.
    fn load_due(&mut self, now: Timestamp) -> io::Result<()> {
        let (Some(first), None) = (self.first, self.flushed) else {
            return Ok(());
        };
        let mut due = self.store.deadlines(self.head.generation, first, now);
        let (mut keys, mut bytes) = (Vec::new(), 0);
        while !self.working.limits.purge_is_over(keys.len(), bytes)
            && let Some((_, key)) = due.next().transpose()?
        {
            if !self.loaded.contains_key(&key) {
                bytes += key.len();
                keys.push(key);
            }
        }
        drop(due);
        keys.into_iter().try_for_each(|key| self.load(&key, false).map(drop))
    }
}
