//! Queries of keys on disk: nothing is loaded for longer than they take.

use std::io;

use bytes::Bytes;

use super::super::blob::Blob;
use super::super::command::{Answer, Query, Refusal};
use super::super::limits::{PAGE_BYTES, VALUES_BYTES_MAX};
use super::super::touched::Touched;
use super::rows;
use super::store::Found;
use super::{DiskKv, part};
use crate::glob;

/// Keys that one query looks at to find one that has not expired, and up to which one is drawn by its number, at most.
const TRIES_MAX: u64 = 256;

impl DiskKv {
    pub(in crate::machine) fn query(&self, query: Query) -> io::Result<Answer> {
        match query {
            Query::Scan { before, count, pattern } => self.scan(before, count, pattern.as_deref()),
            Query::KeyAt(number) => Ok(Answer::Value(self.key_at(number)?)),
            query => self.look_up(query),
        }
    }

    /// Answers a query that names its keys. Values that it does not tell are not kept.
    fn look_up(&self, query: Query) -> io::Result<Answer> {
        let (mut view, mut bytes) = (part(&self.head, self.working.limits), 0);
        query.touched(&mut |touched| {
            let (key, with_value) = match touched {
                Touched::Key(key) => (key, false),
                Touched::Value(key) => (key, true),
                Touched::Due => return Ok::<_, io::Error>(()),
            };
            if bytes <= VALUES_BYTES_MAX
                && view.keys.entry(key).is_none()
                && let Some(Found { mut entry, .. }) = self.store.find(self.head.generation, key)?
            {
                if !with_value {
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
}
