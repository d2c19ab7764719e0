//! What a node has to know of its earlier lives before it says anything: how many there were, how long what they
//! promised may hold, and on which disk that was.

use super::disk::Disk;
use super::identity::{seal, unseal};
use super::{DiskId, StoreError};

/// A start of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Which start it is, from 1 on: later starts have larger numbers.
    pub counter: u64,
    /// No promise that was granted in an earlier life holds longer than this, in milliseconds after it was
    /// granted; 0 if none was ever granted.
    pub longest_promise_ms_before: u64,
    /// The disk that all of these starts were on.
    pub disk: DiskId,
}

impl Boot {
    /// What comes before the first start on a disk.
    pub(super) fn none_yet(disk: DiskId) -> Self {
        Self {
            counter: 0,
            longest_promise_ms_before: 0,
            disk,
        }
    }

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
        let Self {
            counter,
            longest_promise_ms_before,
            disk,
        } = self;
        format!("boot {counter}\npromise_ms {longest_promise_ms_before}\ndisk {disk}\n")
    }

    fn from_lines(lines: &str) -> Option<Self> {
        let mut lines = lines.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let found = Self {
            counter: field("boot")?.parse().ok()?,
            longest_promise_ms_before: field("promise_ms")?.parse().ok()?,
            disk: DiskId::parse(field("disk")?)?,
        };
        lines.next().is_none().then_some(found)
    }
}

/// Counts a start of the node whose disk this is; the first one draws the disk's id. Durable when it returns.
///
/// # Errors
///
/// [`StoreError::Damaged`] if the note is not what was written; [`StoreError::Io`]. The start may be counted
/// then, which does no harm.
pub(super) fn count_boot(disk: &mut impl Disk, promise_ms: u64) -> Result<Boot, StoreError> {
    let before = match read_boot(disk)? {
        None => Boot::none_yet(disk.new_id()),
        Some(before) => before,
    };
    let (boot, noted) = before.next(promise_ms);
    let note = seal(noted.to_lines());
    let written = disk.set_note(note.as_bytes());
    written.map_err(|error| StoreError::io(format!("write {}", disk.note_place().display()), error))?;
    Ok(boot)
}

/// What was noted at the last start; none if there was no start yet.
///
/// # Errors
///
/// As [`count_boot`]. Nothing is changed.
pub(super) fn read_boot(disk: &impl Disk) -> Result<Option<Boot>, StoreError> {
    let place = disk.note_place();
    let note = disk.note();
    match note.map_err(|error| StoreError::io(format!("read {}", place.display()), error))? {
        None => Ok(None),
        Some(note) => read(&note).map(Some).ok_or_else(|| StoreError::Damaged {
            path: place,
            what: "it does not say how often the node was started".to_owned(),
        }),
    }
}

fn read(note: &[u8]) -> Option<Boot> {
    let text = std::str::from_utf8(note).ok()?;
    Boot::from_lines(unseal(text)?)
}
