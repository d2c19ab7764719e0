//! What tells whether the rows that lie there are those that were written.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The sum of the hashes of some rows, in whatever order they come. It is written together with them: if one of them is
/// lost, comes back, or is an older one, their sum is another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest(pub(super) u64);

impl Digest {
    pub(super) fn add(&mut self, hash: u64) {
        self.0 = self.0.wrapping_add(hash);
    }

    pub(super) fn remove(&mut self, hash: u64) {
        self.0 = self.0.wrapping_sub(hash);
    }
}

/// The hash of a row.
pub(super) fn hash(name: &[u8], row: &[u8]) -> u64 {
    xxh3_64_with_seed(row, xxh3_64(name))
}
