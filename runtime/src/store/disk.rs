//! What the log store needs of a disk.

mod directory;

pub use directory::Directory;

use super::DiskId;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// A few files: numbered segments, a mark and a note, of a few bytes each. Blocking.
///
/// Every error is an [`io::Error`]. After one, what the files hold of the bytes that were being written is
/// unknown; the store writes nothing more then. Except for want of room: see [`Disk::create`] and [`Disk::write`].
pub trait Disk: Send + 'static {
    /// How long a segment gets before another one is begun, in bytes. A batch that is longer gets one of its own.
    fn segment_bytes(&self) -> u64;

    /// The segments that are there, in no order.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn list(&self) -> io::Result<Vec<u32>>;

    /// Creates a segment that begins with these bytes: durably, and all of it or nothing. One of this number that
    /// is there is replaced.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`] only if it is certain that nothing was
    /// created or replaced; else any other [`io::Error`].
    fn create(&mut self, segment: u32, head: &[u8]) -> io::Result<()>;

    /// Writes at `at`, over what is there. Durable only after [`Disk::sync`]; until then any part of it may be.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`] only if what is there now begins with zeros,
    /// or with what stood there before, and will after a crash too: so nobody takes it for what was to be written.
    /// Else any other [`io::Error`].
    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what was written to a segment.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]; it is not to be tried again.
    fn sync(&mut self, segment: u32) -> io::Result<()>;

    /// Writes once more what stands at `at`, or zeros in its place, and makes it durable: also if a sync of it failed before,
    /// after which a machine may take it for durable until it is written again.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]. What is there is what was there or what was to be written, any part of it, as durable as before or more.
    fn rewrite(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(segment, at, bytes)?;
        self.sync(segment)
    }

    /// `len` bytes from `at` on, or as many as there are. What was never written may be missing or zero.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn read(&self, segment: u32, at: u64, len: usize) -> io::Result<Vec<u8>>;

    /// Bytes of a segment.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn len(&self, segment: u32) -> io::Result<u64>;

    /// Removes a segment, durably. What was not, because that failed or was cut short, is when the disk is opened again.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn remove(&mut self, segment: u32) -> io::Result<()>;

    /// Replaces the mark. A crash of the machine, not of the process, may bring an earlier one back: the last that was made
    /// durable, or one since. If none was, there may be none.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn set_mark(&mut self, mark: &[u8]) -> io::Result<()>;

    /// Makes the mark durable.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]; it is not to be tried again.
    fn sync_mark(&mut self) -> io::Result<()>;

    /// The mark; empty if there is none.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn mark(&self) -> io::Result<Vec<u8>>;

    /// Makes another note, of a few bytes, instead of the last one: durably, and all of it or nothing.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`]. Which of the two there is, is not known then.
    fn set_note(&mut self, note: &[u8]) -> io::Result<()>;

    /// The note that was made last; none if there never was one.
    ///
    /// # Errors
    ///
    /// Any [`io::Error`].
    fn note(&self) -> io::Result<Option<Vec<u8>>>;

    /// What this disk is to be told by from now on, if nobody started on it yet: another one at each call.
    fn new_id(&mut self) -> DiskId {
        DiskId::draw()
    }

    /// What to call the note in an error.
    fn note_place(&self) -> PathBuf;

    /// What to call a segment in an error.
    fn place(&self, segment: u32) -> PathBuf;
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
