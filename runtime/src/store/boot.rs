//! What a node has to know of its earlier lives before it says anything: how many there were, and how long
//! what they promised may hold.

use super::StoreError;
use super::identity::{read_sealed, write_sealed};
use std::path::Path;

const BOOT_FILE: &str = "boot";

/// A start of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// Which start it is, from 1 on: later starts have larger numbers.
    pub counter: u64,
    /// No promise that was granted in an earlier life holds longer than this, in milliseconds after it was
    /// granted; 0 if none was ever granted.
    pub longest_promise_ms_before: u64,
}

impl Boot {
    /// The next start after this one, `self`, of a node that grants promises of up to `promise_ms` from now on.
    /// Returns it with what the next start has to know.
    pub(super) fn next(self, promise_ms: u64) -> (Self, Self) {
        let now = Self {
            counter: self.counter.saturating_add(1),
            ..self
        };
        let noted = Self {
            longest_promise_ms_before: self.longest_promise_ms_before.max(promise_ms),
            ..now
        };
        (now, noted)
    }

    fn to_lines(self) -> String {
        format!("boot {}\npromise_ms {}\n", self.counter, self.longest_promise_ms_before)
    }

    fn from_lines(lines: &str) -> Option<Self> {
        let mut lines = lines.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        let found = Self {
            counter: field("boot")?,
            longest_promise_ms_before: field("promise_ms")?,
        };
        lines.next().is_none().then_some(found)
    }
}

/// Counts a start of the node whose data directory this is. Durable when it returns.
///
/// # Errors
///
/// [`StoreError::Damaged`] if the file is not what was written; [`StoreError::Io`]. The start may be counted
/// then, which does no harm.
pub(super) fn count_boot(dir: &Path, promise_ms: u64) -> Result<Boot, StoreError> {
    let before = match read_sealed(dir, BOOT_FILE)? {
        None => Boot::default(),
        Some(lines) => Boot::from_lines(&lines).ok_or_else(|| StoreError::Damaged {
            path: dir.join(BOOT_FILE),
            what: "it does not say how often the node was started".to_owned(),
        })?,
    };
    let (boot, noted) = before.next(promise_ms);
    write_sealed(dir, BOOT_FILE, noted.to_lines())?;
    Ok(boot)
}
