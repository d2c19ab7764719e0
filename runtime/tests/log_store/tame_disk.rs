//! A disk in memory that does what a test wants: it stops at any step, loses what was not synced, and flips bits.

use crate::harness::{self, identity};
use raftyard::store::{Disk, SegmentLogStore};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// So small that segments begin, and are given up, all the time.
const SEGMENT_BYTES: u64 = 2_000;

/// A clone is another handle on the same disk.
#[derive(Clone, Default)]
pub(crate) struct TameDisk(Arc<Mutex<Files>>);

#[derive(Clone, Default)]
pub(crate) struct Files {
    pub(crate) segments: BTreeMap<u32, Vec<u8>>,
    pub(crate) mark: Vec<u8>,
    /// The one that is durable.
    pub(crate) synced_mark: Vec<u8>,
    note: Option<Vec<u8>>,
    /// What was written since the last sync, and what stood there before.
    unsynced: Vec<Unsynced>,
    /// How many steps the disk still does; then every one fails.
    pub(crate) steps_left: Option<u64>,
    /// Steps done so far: creating, writing, syncing, removing.
    pub(crate) steps: u64,
    /// Bytes that all segments may have together, if not any number.
    pub(crate) room: Option<u64>,
    /// Whether no sync succeeds, for want of room.
    pub(crate) fails_sync: bool,
    /// How many syncs of segments still succeed; then none does.
    pub(crate) syncs_left: Option<u64>,
    /// How many of the next reads fail.
    pub(crate) failing_reads: u32,
    /// Whether no segment can be removed, and how often that was tried.
    pub(crate) fails_remove: bool,
    pub(crate) removals_failed: u32,
    /// Segments that were removed.
    pub(crate) removed: Vec<u32>,
}

#[derive(Clone)]
struct Unsynced {
    segment: u32,
    at: usize,
    new: Vec<u8>,
    old: Vec<u8>,
    /// A sync of it failed: no later one writes it, unless it was written again.
    is_given_up: bool,
}

impl Unsynced {
    fn holds(&self, other: &Self) -> bool {
        self.at <= other.at && other.at + other.new.len() <= self.at + self.new.len()
    }
}

impl TameDisk {
    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap()
    }

    /// Another disk, with the same on it.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.files().clone())))
    }
}

impl Files {
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        match &mut self.steps_left {
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The machine stops. Of what was not synced, `keep` says of each byte whether it is there, by its number. The mark is
    /// there if the first byte is.
    pub(crate) fn crash(&mut self, mut keep: impl FnMut(usize) -> bool) {
        self.steps_left = None;
        if !keep(0) {
            self.mark = self.synced_mark.clone();
        }
        for write in std::mem::take(&mut self.unsynced).into_iter().rev() {
            let Some(segment) = self.segments.get_mut(&write.segment) else {
                continue;
            };
            for at in 0..write.new.len() {
                if !keep(at) {
                    segment[write.at + at] = write.old.get(at).copied().unwrap_or(0);
                }
            }
        }
    }

    /// It is empty, whatever happens.
    pub(crate) fn lose_mark(&mut self) {
        self.mark.clear();
        self.synced_mark.clear();
    }

    /// Whether the segments may have so many bytes more.
    fn has_room(&self, more: usize) -> bool {
        self.room.is_none_or(|room| self.bytes() + more as u64 <= room)
    }

    /// Bytes that were written and not synced.
    pub(crate) fn unsynced_bytes(&self) -> usize {
        self.unsynced.iter().map(|write| write.new.len()).sum()
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.len() as u64).sum()
    }
}

impl harness::Disk for TameDisk {
    type Store = SegmentLogStore<Self>;

    fn blank() -> Self {
        Self::default()
    }

    fn open(&self) -> Self::Store {
        SegmentLogStore::on(self.clone(), &identity()).unwrap()
    }
}

impl Disk for TameDisk {
    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES
    }

    fn list(&self) -> io::Result<Vec<u32>> {
        Ok(self.files().segments.keys().copied().collect())
    }

    fn create(&mut self, segment: u32, head: &[u8]) -> io::Result<()> {
        let mut files = self.files();
        files.step()?;
        if !files.has_room(head.len()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        files.segments.insert(segment, head.to_vec());
        Ok(())
    }

    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.files();
        let stops = files.step();
        let at = usize::try_from(at).unwrap();
        let room = files.room.map_or(u64::MAX, |room| room.saturating_sub(files.bytes()));
        let file = files.segments.get_mut(&segment).ok_or(io::ErrorKind::NotFound)?;
        let end = at + bytes.len();
        if end.saturating_sub(file.len()) as u64 > room {
            // As much as fits stays there for good, but for its beginning: the worst that may be left.
            let fits = file.len() + usize::try_from(room).unwrap();
            file.resize(fits, 0);
            file[at..fits].copy_from_slice(&bytes[..fits - at]);
            file[at..fits.min(at + 4)].fill(0);
            return Err(io::ErrorKind::StorageFull.into());
        }
        if file.len() < end {
            file.resize(end, 0);
        }
        let old = file[at..end].to_vec();
        file[at..end].copy_from_slice(bytes);
        let new = bytes.to_vec();
        files.unsynced.push(Unsynced {
            segment,
            at,
            new,
            old,
            is_given_up: false,
        });
        stops
    }

    fn sync(&mut self, segment: u32) -> io::Result<()> {
        let mut files = self.files();
        files.step()?;
        let (mut here, mut unsynced): (Vec<_>, Vec<_>) = std::mem::take(&mut files.unsynced)
            .into_iter()
            .partition(|write| write.segment == segment);
        let fails = files.fails_sync || files.syncs_left == Some(0);
        files.syncs_left = files.syncs_left.map(|left| left.saturating_sub(1));
        let synced = if fails {
            here.iter_mut().for_each(|write| write.is_given_up = true);
            Err(io::ErrorKind::StorageFull.into())
        } else {
            let written: Vec<_> = here.extract_if(.., |write| !write.is_given_up).collect();
            here.retain(|write| !written.iter().any(|written| written.holds(write)));
            Ok(())
        };
        unsynced.append(&mut here);
        files.unsynced = unsynced;
        synced
    }

    fn read(&self, segment: u32, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut files = self.files();
        if let Some(left) = files.failing_reads.checked_sub(1) {
            files.failing_reads = left;
            return Err(io::Error::other("the disk does not answer"));
        }
        let file = files.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        let at = usize::try_from(at).unwrap().min(file.len());
        Ok(file[at..file.len().min(at + len)].to_vec())
    }

    fn len(&self, segment: u32) -> io::Result<u64> {
        let files = self.files();
        let file = files.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.len() as u64)
    }

    fn remove(&mut self, segment: u32) -> io::Result<()> {
        let mut files = self.files();
        files.step()?;
        if files.fails_remove {
            files.removals_failed += 1;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        files.segments.remove(&segment).ok_or(io::ErrorKind::NotFound)?;
        files.unsynced.retain(|write| write.segment != segment);
        files.removed.push(segment);
        Ok(())
    }

    fn set_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        let mut files = self.files();
        files.step()?;
        files.mark = mark.to_vec();
        Ok(())
    }

    fn sync_mark(&mut self) -> io::Result<()> {
        let mut files = self.files();
        files.step()?;
        if files.fails_sync {
            return Err(io::ErrorKind::StorageFull.into());
        }
        files.synced_mark = files.mark.clone();
        Ok(())
    }

    fn mark(&self) -> io::Result<Vec<u8>> {
        Ok(self.files().mark.clone())
    }

    fn set_note(&mut self, note: &[u8]) -> io::Result<()> {
        let mut files = self.files();
        files.step()?;
        files.note = Some(note.to_vec());
        Ok(())
    }

    fn note(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files().note.clone())
    }

    fn note_place(&self) -> PathBuf {
        "memory/boot".into()
    }

    fn place(&self, segment: u32) -> PathBuf {
        format!("memory/{segment}").into()
    }
}
