//! How what changed comes to the disk.

use std::collections::HashSet;
use std::io;

use fjall::OwnedWriteBatch;
use raftyard::Record;

use super::DiskKv;
use super::digest::{Digest, hash};
use super::held::Known;
use super::rows::{self, Head, Kind};
use super::store::other;

impl DiskKv {
    /// Commits what changed since the last time, in one batch with `records`, and forgets what was loaded.
    pub(super) fn commit_changes(&mut self, records: &[Record]) -> io::Result<()> {
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
        for (key, Known { on_disk: before, .. }) in &self.loaded {
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
        self.commit_batch(batch, &mut head, records)?;
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

    /// Removes all records that lie there, but for those that `records` writes: a batch must not hold a key twice.
    pub(super) fn remove_records(&self, batch: &mut OwnedWriteBatch, records: &[Record]) -> io::Result<()> {
        let written: HashSet<_> = records.iter().map(|record| &record.key).collect();
        for (key, _) in self.store.records(self.group)? {
            if !written.contains(&key) {
                batch.remove(&self.store.rows, rows::record(self.group, &key));
            }
        }
        Ok(())
    }

    /// Commits a batch with these records and with the head, which gets their digest.
    pub(super) fn commit_batch(
        &mut self,
        mut batch: OwnedWriteBatch,
        head: &mut Head,
        records: &[Record],
    ) -> io::Result<()> {
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
}
