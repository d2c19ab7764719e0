//! Segments as files.

use super::super::StoreError;
use super::{Disk, is_full};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Small, so that little is kept for the sake of little; large, so that a new one is rare.
const SEGMENT_BYTES: u64 = 8 << 20;
/// A file is filled with zeros so far ahead of what is written: an fdatasync is quicker if the file does not grow.
const AHEAD_BYTES: u64 = 256 << 10;
/// Writes of this length and more bear the cost of growing better than that of writing zeros. Less than `AHEAD_BYTES`.
const LARGE_BYTES: usize = 128 << 10;
/// Files that are kept open for writing.
const HEADS_MAX: usize = 2;
/// Files that are kept open for reading.
const OPEN_MAX: usize = 32;
const MARK: &str = "mark";
/// What is noted is how often the node was started.
const NOTE: &str = "boot";
const MARK_BYTES_MAX: u64 = 64;
const SUFFIX: &str = ".segment";
/// What a write begins with that was taken back, as far as it went.
const TAKEN_BACK: [u8; 64] = [0; 64];

/// A directory: a file per segment, named by its number, and the files `mark` and `boot`.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// None if it is only read, and has none.
    mark: Option<File>,
    /// Itself, to make its names durable.
    dir: File,
    /// The segments that were written to last, with the lengths of their files. A segment is begun and the one before it
    /// ended without opening any other file: so want of descriptors is met before anything is done.
    heads: Vec<Head>,
    /// For reading.
    open: RefCell<BTreeMap<u32, File>>,
    zeros: Vec<u8>,
}

#[derive(Debug)]
struct Head {
    segment: u32,
    file: File,
    len: u64,
}

impl Head {
    /// Writes at `at`. First the file is filled with zeros beyond that, where it has to grow: so want of room is met
    /// before anything is written, but by large writes.
    fn write(&mut self, at: u64, bytes: &[u8], zeros: &[u8]) -> io::Result<()> {
        let end = at + bytes.len() as u64;
        if end > self.len && end < SEGMENT_BYTES && bytes.len() < LARGE_BYTES {
            self.file.seek(SeekFrom::Start(self.len))?;
            self.file.write_all(zeros)?;
            self.len += zeros.len() as u64;
        }
        self.file.seek(SeekFrom::Start(at))?;
        match self.file.write_all(bytes) {
            Err(error) if is_full(&error) => {
                self.take_back(at).map_err(in_doubt)?;
                return Err(error);
            }
            written => written?,
        }
        self.len = self.len.max(end);
        Ok(())
    }

    /// Makes sure that what was written from `at` up to where the file stands now is taken for nothing. What the file
    /// grew by is given back.
    fn take_back(&mut self, at: u64) -> io::Result<()> {
        let written = self.file.stream_position()?.saturating_sub(at);
        let written = usize::try_from(written).unwrap_or(usize::MAX);
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(TAKEN_BACK.get(..written).unwrap_or(&TAKEN_BACK))?;
        self.file.set_len(self.len)?;
        self.file.sync_data()
    }
}

/// An error after which nobody knows what is on disk: want of room is none that says so.
fn in_doubt(error: io::Error) -> io::Error {
    if is_full(&error) {
        return io::Error::other(error);
    }
    error
}

/// An error at the opening of a file: if too many are open, nothing was done, and there is room again once some are
/// closed.
fn unopened(error: io::Error) -> io::Error {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => io::Error::new(ErrorKind::StorageFull, error),
        _ => error,
    }
}

impl Directory {
    /// What lies in a directory, which must be there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = path.join(MARK);
        let mark = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&file);
        let mark = mark.map_err(|e| StoreError::io(format!("open {}", file.display()), e))?;
        let directory = Self::with(path, Some(mark))?;
        // Its name, if it was not there; and what a start that was cut short created or removed.
        let named = directory.sync_dir();
        named.map_err(|e| StoreError::io(format!("fsync {}", path.display()), e))?;
        Ok(directory)
    }

    /// The same, to be only read: nothing is created.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(crate) fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let file = path.join(MARK);
        match File::open(&file) {
            Ok(mark) => Self::with(path, Some(mark)),
            Err(e) if e.kind() == ErrorKind::NotFound => Self::with(path, None),
            Err(e) => Err(StoreError::io(format!("open {}", file.display()), e)),
        }
    }

    fn with(path: &Path, mark: Option<File>) -> Result<Self, StoreError> {
        let dir = File::open(path).map_err(|e| StoreError::io(format!("open {}", path.display()), e))?;
        Ok(Self {
            path: path.to_owned(),
            mark,
            dir,
            heads: Vec::new(),
            open: RefCell::default(),
            zeros: vec![0; usize::try_from(AHEAD_BYTES).unwrap_or(0)],
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn head(&mut self, segment: u32) -> io::Result<&mut Head> {
        if let Some(at) = self.heads.iter().position(|head| head.segment == segment) {
            return self.heads.get_mut(at).ok_or_else(|| ErrorKind::NotFound.into());
        }
        let file = File::options()
            .write(true)
            .open(self.place(segment))
            .map_err(unopened)?;
        self.keep_head(segment, file)
    }

    fn keep_head(&mut self, segment: u32, file: File) -> io::Result<&mut Head> {
        let len = file.metadata()?.len();
        if self.heads.len() >= HEADS_MAX {
            self.heads.remove(0);
        }
        self.heads.push(Head { segment, file, len });
        self.heads.last_mut().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Disk for Directory {
    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES
    }

    fn list(&self) -> io::Result<Vec<u32>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            segments.extend(number.and_then(|number| u32::from_str_radix(number, 16).ok()));
        }
        Ok(segments)
    }

    fn create(&mut self, segment: u32, head: &[u8]) -> io::Result<()> {
        let path = self.place(segment);
        let new = path.with_extension("new");
        let mut file = File::create(&new).map_err(unopened)?;
        self.heads.retain(|head| head.segment != segment);
        self.open.get_mut().remove(&segment);
        let written = file.write_all(head).and_then(|()| file.write_all(&self.zeros));
        let created = written.and_then(|()| file.sync_all().map_err(in_doubt));
        if let Err(error) = created.and_then(|()| fs::rename(&new, &path)) {
            // Only for the room that it takes: it is replaced by the next that is created.
            fs::remove_file(&new).ok();
            return Err(error);
        }
        self.sync_dir().map_err(in_doubt)?;
        self.keep_head(segment, file)?;
        Ok(())
    }

    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()> {
        let zeros = std::mem::take(&mut self.zeros);
        let written = self.head(segment).and_then(|head| head.write(at, bytes, &zeros));
        self.zeros = zeros;
        written
    }

    fn sync(&mut self, segment: u32) -> io::Result<()> {
        self.head(segment)?.file.sync_data()
    }

    /// Nothing is taken back where there is no room, as on a file system that writes elsewhere.
    fn rewrite(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = &mut self.head(segment)?.file;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn read(&self, segment: u32, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut open = self.open.borrow_mut();
        if !open.contains_key(&segment) {
            if open.len() >= OPEN_MAX {
                open.pop_first();
            }
            open.insert(segment, File::open(self.place(segment))?);
        }
        let mut file = open.get(&segment).ok_or(ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(at))?;
        // A length that was never written is no reason to take memory for it.
        let mut bytes = Vec::with_capacity(len.min(1 << 20));
        file.take(len as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn len(&self, segment: u32) -> io::Result<u64> {
        Ok(fs::metadata(self.place(segment))?.len())
    }

    fn remove(&mut self, segment: u32) -> io::Result<()> {
        self.heads.retain(|head| head.segment != segment);
        self.open.get_mut().remove(&segment);
        fs::remove_file(self.place(segment))?;
        self.sync_dir()
    }

    fn set_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        let file = self.mark.as_mut().ok_or(ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(mark)
    }

    fn sync_mark(&mut self) -> io::Result<()> {
        self.mark.as_ref().ok_or(ErrorKind::NotFound)?.sync_data()
    }

    fn mark(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let Some(mut file) = self.mark.as_ref() else {
            return Ok(bytes);
        };
        file.seek(SeekFrom::Start(0))?;
        file.take(MARK_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn set_note(&mut self, note: &[u8]) -> io::Result<()> {
        let path = self.note_place();
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(note)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        self.sync_dir()
    }

    fn note(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.note_place()) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn note_place(&self) -> PathBuf {
        self.path.join(NOTE)
    }

    fn place(&self, segment: u32) -> PathBuf {
        self.path.join(format!("{segment:08x}{SUFFIX}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_write_that_is_taken_back_leaves_zeros_where_it_began() {
        for written in [0, 1, 63, 64, 5_000, 600_000] {
            let dir = TempDir::new().unwrap();
            let mut disk = Directory::open(dir.path()).unwrap();
            disk.create(1, &[9; 32]).unwrap();
            let before = disk.len(1).unwrap();
            let head = disk.head(1).unwrap();
            head.file.seek(SeekFrom::Start(32)).unwrap();
            head.file.write_all(&vec![7; written]).unwrap();
            head.take_back(32).unwrap();
            assert_eq!(disk.len(1).unwrap(), before, "the room is given back");
            let found = disk.read(1, 0, 32 + TAKEN_BACK.len()).unwrap();
            assert_eq!(found, [[9; 32].as_slice(), &TAKEN_BACK].concat());
            // What stands behind is written over.
            disk.write(1, 32, &[5; 100]).unwrap();
            assert_eq!(disk.read(1, 32, 100).unwrap(), [5; 100]);
        }
    }

    #[test]
    fn too_many_open_files_are_want_of_room() {
        for errno in [Errno::MFILE, Errno::NFILE] {
            let error = unopened(errno.into());
            assert!(is_full(&error));
            assert_eq!(error.to_string(), io::Error::from(errno).to_string());
        }
        assert!(!is_full(&unopened(Errno::ACCESS.into())));
    }

    #[test]
    fn a_segment_is_ended_after_the_next_is_begun_without_opening_it() {
        let dir = TempDir::new().unwrap();
        let mut disk = Directory::open(dir.path()).unwrap();
        disk.create(1, &[9; 32]).unwrap();
        disk.create(2, &[9; 32]).unwrap();
        // Where nobody else finds it.
        fs::rename(disk.place(1), dir.path().join("elsewhere")).unwrap();
        disk.write(1, 32, &[5; 100]).unwrap();
        disk.sync(1).unwrap();
        assert_eq!(fs::read(dir.path().join("elsewhere")).unwrap()[32..132], [5; 100]);
    }

    #[test]
    fn the_file_has_grown_before_what_needs_it_is_written() {
        let dir = TempDir::new().unwrap();
        let mut disk = Directory::open(dir.path()).unwrap();
        disk.create(1, &[9; 32]).unwrap();
        let before = disk.len(1).unwrap();
        disk.write(1, before - 10, &[5; 100]).unwrap();
        assert_eq!(disk.len(1).unwrap(), before + AHEAD_BYTES);
        assert_eq!(
            disk.read(1, before - 10, 101).unwrap(),
            [[5; 100].as_slice(), &[0]].concat()
        );
        assert_eq!(disk.head(1).unwrap().len, before + AHEAD_BYTES);
    }
}
