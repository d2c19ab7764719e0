//! Segments as files.

use super::super::StoreError;
use super::super::identity::sync_dir;
use super::Disk;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Small, so that little is kept for the sake of little; large, so that a new one is rare.
const SEGMENT_BYTES: u64 = 8 << 20;
/// A file is filled with zeros so far ahead of what is written: an fdatasync is quicker if the file does not grow.
const AHEAD_BYTES: u64 = 256 << 10;
/// Writes of this length and more bear the cost of growing better than that of writing zeros.
const LARGE_BYTES: usize = 128 << 10;
/// Files that are kept open for reading.
const OPEN_MAX: usize = 32;
const MARK: &str = "mark";
/// What is noted is how often the node was started.
const NOTE: &str = "boot";
const MARK_BYTES_MAX: u64 = 64;
const SUFFIX: &str = ".segment";

/// A directory: a file per segment, named by its number, and the files `mark` and `boot`.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// None if it is only read, and has none.
    mark: Option<File>,
    /// The segment that was written to last, and the length of its file.
    head: Option<Head>,
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
        Ok(Self::with(path, Some(mark)))
    }

    /// The same, to be only read: nothing is created.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(crate) fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let file = path.join(MARK);
        match File::open(&file) {
            Ok(mark) => Ok(Self::with(path, Some(mark))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::with(path, None)),
            Err(e) => Err(StoreError::io(format!("open {}", file.display()), e)),
        }
    }

    fn with(path: &Path, mark: Option<File>) -> Self {
        Self {
            path: path.to_owned(),
            mark,
            head: None,
            open: RefCell::default(),
            zeros: vec![0; usize::try_from(AHEAD_BYTES).unwrap_or(0)],
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        sync_dir(&self.path).map_err(io::Error::other)
    }

    fn head(&mut self, segment: u32) -> io::Result<&mut Head> {
        if self.head.as_ref().is_none_or(|head| head.segment != segment) {
            let file = File::options().write(true).open(self.place(segment))?;
            let len = file.metadata()?.len();
            self.head = Some(Head { segment, file, len });
        }
        self.head.as_mut().ok_or_else(|| ErrorKind::NotFound.into())
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
        self.head = None;
        self.open.get_mut().remove(&segment);
        let path = self.place(segment);
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(head)?;
        file.write_all(&self.zeros)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        self.sync_dir()?;
        let len = file.metadata()?.len();
        self.head = Some(Head { segment, file, len });
        Ok(())
    }

    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()> {
        let zeros = std::mem::take(&mut self.zeros);
        let head = self.head(segment)?;
        head.file.seek(SeekFrom::Start(at))?;
        head.file.write_all(bytes)?;
        let end = at + bytes.len() as u64;
        if end > head.len && end < SEGMENT_BYTES && bytes.len() < LARGE_BYTES {
            head.file.write_all(&zeros)?;
        }
        head.len = head.len.max(head.file.stream_position()?);
        self.zeros = zeros;
        Ok(())
    }

    fn sync(&mut self, segment: u32) -> io::Result<()> {
        self.head(segment)?.file.sync_data()
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
        self.open.get_mut().remove(&segment);
        fs::remove_file(self.place(segment))?;
        self.sync_dir()
    }

    fn set_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        let file = self.mark.as_mut().ok_or(ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(mark)
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
