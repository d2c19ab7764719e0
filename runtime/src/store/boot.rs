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

    fn from_lines<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            counter: field("boot")?.parse().ok()?,
            longest_promise_ms_before: field("promise_ms")?.parse().ok()?,
            disk: DiskId::parse(field("disk")?)?,
        })
    }
}

/// What was noted at the last start.
pub(super) struct Noted {
    boot: Boot,
    /// The list of peers was there by then. It need not have been when earlier builds started: they did not write an empty
    /// one.
    pub(super) has_peers: bool,
}

/// Says that the list of peers was there.
const PEERS: &str = "peers listed";

impl Noted {
    fn to_lines(&self) -> String {
        let boot = self.boot.to_lines();
        match self.has_peers {
            true => format!("{boot}{PEERS}\n"),
            false => boot,
        }
    }

    fn from_lines(lines: &str) -> Option<Self> {
        let mut lines = lines.lines();
        let boot = Boot::from_lines(&mut lines)?;
        let peers = lines.next();
        let is_whole = peers.is_none_or(|line| line == PEERS) && lines.next().is_none();
        let has_peers = peers.is_some();
        is_whole.then_some(Self { boot, has_peers })
    }
}

/// Counts a start of the node whose disk this is; the first one draws the disk's id. Durable when it returns. `has_peers`:
/// the list of peers is there from now on.
///
/// # Errors
///
/// [`StoreError::Damaged`] if the note is not what was written; [`StoreError::Io`]. The start may be counted
/// then, which does no harm.
pub(super) fn count_boot(disk: &mut impl Disk, promise_ms: u64, has_peers: bool) -> Result<Boot, StoreError> {
    let before = match read_boot(disk)? {
        None => Noted {
            boot: Boot::none_yet(disk.new_id()),
            has_peers,
        },
        Some(before) => before,
    };
    let (boot, next) = before.boot.next(promise_ms);
    let noted = Noted {
        boot: next,
        has_peers: has_peers || before.has_peers,
    };
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
pub(super) fn read_boot(disk: &impl Disk) -> Result<Option<Noted>, StoreError> {
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

/// Nodes count their starts before they write anything: a log without a count lost it. Counted from 1 again, it would be
/// another disk, on which nothing was promised.
pub(super) fn boot_is_gone(disk: &impl Disk) -> StoreError {
    StoreError::Damaged {
        path: disk.note_place(),
        what: "it is gone, and the log was written to".to_owned(),
    }
}

fn read(note: &[u8]) -> Option<Noted> {
    let text = std::str::from_utf8(note).ok()?;
    Noted::from_lines(unseal(text)?)
}
