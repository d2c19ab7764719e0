//! How much one command may do. Part of the state machine, as how long a value may be: replicas with other limits would
//! answer differently.

/// Keys that one [`Command::Purge`](super::Command::Purge) removes at most: other commands do not wait for longer.
pub(super) const PURGE_MAX: usize = 1_000;

/// It removes no more keys once they have so many bytes together: on disk they are loaded first.
const PURGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of the values that one command needs and makes, at most: on disk each is read into memory of its own.
pub(super) const VALUES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of keys after which a page of a scan ends: it is in memory as a whole. On disk those that are passed count too, and
/// values, which are read with them.
pub(crate) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Those of a machine: tests have smaller ones, which are met.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) purge: usize,
    pub(super) purge_bytes: usize,
    pub(super) values_bytes: usize,
}

impl Limits {
    /// Whether a purge that removed so many keys, with so many bytes, removes no more.
    pub(super) fn purge_is_over(&self, removed: usize, bytes: usize) -> bool {
        removed >= self.purge || bytes >= self.purge_bytes
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            purge: PURGE_MAX,
            purge_bytes: PURGE_BYTES_MAX,
            values_bytes: VALUES_BYTES_MAX,
        }
    }
}
