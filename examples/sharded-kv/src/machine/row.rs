//! A hash table whose keys also stand in a row.
//!
//! A new key stands at the end, and where one is removed the last key takes its place. So keys only ever move towards the
//! front, and who walks from the end to the front, in as many steps as he likes, passes every key that is there all the
//! time. The row depends on nothing but what was inserted and removed: every replica has the same.
//!
//! All that the row adds is the hash of the key at each place, by which the table finds it. So a lookup costs what it does
//! in a table alone.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::blob::Blob;

#[derive(Debug)]
pub(super) struct Row<V> {
    table: HashTable<Cell<V>>,
    /// By place.
    hashes: Vec<u64>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Cell<V> {
    place: usize,
    key: Blob,
    value: V,
}

impl<V> Default for Row<V> {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
            hashes: Vec::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<V> Row<V> {
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        let cell = self.table.find(self.hash(key), |cell| *cell.key == *key)?;
        Some(&cell.value)
    }

    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<(&Blob, &mut V)> {
        let hash = self.hash(key);
        let cell = self.table.find_mut(hash, |cell| *cell.key == *key)?;
        Some((&cell.key, &mut cell.value))
    }

    /// The key at `place`, from 0.
    pub(super) fn at(&self, place: usize) -> Option<(&Blob, &V)> {
        let hash = *self.hashes.get(place)?;
        let cell = self.table.find(hash, |cell| cell.place == place)?;
        Some((&cell.key, &cell.value))
    }

    /// Sets the value of `key`. Returns the key and the value that was there.
    pub(super) fn put(&mut self, key: Blob, value: V) -> (&Blob, Option<V>) {
        let hash = self.hash(&key);
        let hasher = &self.hasher;
        let rehash = |cell: &Cell<V>| hasher.hash_one(&cell.key[..]);
        match self.table.entry(hash, |cell| cell.key == key, rehash) {
            Entry::Occupied(cell) => {
                let cell = cell.into_mut();
                let before = std::mem::replace(&mut cell.value, value);
                (&cell.key, Some(before))
            }
            Entry::Vacant(cell) => {
                let place = self.hashes.len();
                self.hashes.push(hash);
                let cell = cell.insert(Cell { place, key, value }).into_mut();
                (&cell.key, None)
            }
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<(Blob, V)> {
        let hash = self.hash(key);
        let cell = self.table.find_entry(hash, |cell| *cell.key == *key).ok()?;
        let Cell { place, key, value } = cell.remove().0;
        self.hashes.swap_remove(place);
        let last = self.hashes.len();
        // The hash that was the last is at the place that became free, if it is another; its key follows.
        if let Some(hash) = self.hashes.get(place)
            && let Some(cell) = self.table.find_mut(*hash, |cell| cell.place == last)
        {
            cell.place = place;
        }
        Some((key, value))
    }

    /// All keys in no order, each with its place.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (usize, &Blob, &V)> {
        self.table.iter().map(|cell| (cell.place, &cell.key, &cell.value))
    }

    /// The row that [`iter`](Self::iter) tells.
    pub(super) fn restore(all: Vec<(usize, Blob, V)>) -> Self {
        let mut row = Self {
            table: HashTable::with_capacity(all.len()),
            hashes: vec![0; all.len()],
            hasher: RandomState::new(),
        };
        for (place, key, value) in all {
            let hash = row.hash(&key);
            if let Some(known) = row.hashes.get_mut(place) {
                *known = hash;
            }
            let hasher = &row.hasher;
            let rehash = |cell: &Cell<V>| hasher.hash_one(&cell.key[..]);
            row.table.insert_unique(hash, Cell { place, key, value }, rehash);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::random::Random;

    /// Against a vector in which everything is looked for.
    #[test]
    fn it_is_a_map_and_a_row() {
        for seed in 1..100_u64 {
            let mut random = Random::new(seed);
            let (mut row, mut model) = (Row::default(), Vec::<(Blob, u64)>::new());
            for _ in 0..300 {
                let key = Blob::from(random.below(40).to_string().as_bytes());
                let place = model.iter().position(|(known, _)| *known == key);
                if random.below(3) == 0 {
                    let removed = place.map(|place| model.swap_remove(place));
                    assert_eq!(row.remove(&key), removed, "seed {seed}");
                } else {
                    let value = random.below(1_000);
                    let before = place.map(|place| std::mem::replace(&mut model[place].1, value));
                    if before.is_none() {
                        model.push((key.clone(), value));
                    }
                    assert_eq!(row.put(key.clone(), value), (&key, before), "seed {seed}");
                }
                if random.below(50) == 0 {
                    let all = row.iter().map(|(place, key, value)| (place, key.clone(), *value));
                    row = Row::restore(all.collect());
                }
                assert_eq!(row.len(), model.len());
            }
            for (place, (key, value)) in model.iter().enumerate() {
                assert_eq!(row.at(place).unwrap(), (key, value), "seed {seed}");
                assert_eq!(row.get(key), Some(value));
            }
            assert_eq!(row.at(model.len()), None);
        }
    }
}
