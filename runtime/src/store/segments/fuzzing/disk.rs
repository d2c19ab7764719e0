//! A disk in memory, of which there can be copies.

use crate::store::disk::Disk;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

#[derive(Clone, Debug, Default)]
pub(super) struct MemoryDisk {
    pub(super) segments: BTreeMap<u32, Vec<u8>>,
    mark: Vec<u8>,
    note: Option<Vec<u8>>,
}

impl MemoryDisk {
    fn segment(&self, segment: u32) -> io::Result<&Vec<u8>> {
        self.segments.get(&segment).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Disk for MemoryDisk {
    /// Few, so that logs have several.
    fn segment_bytes(&self) -> u64 {
        256
    }

    fn list(&self) -> io::Result<Vec<u32>> {
        Ok(self.segments.keys().copied().collect())
    }

    fn create(&mut self, segment: u32, head: &[u8]) -> io::Result<()> {
        self.segments.insert(segment, head.to_vec());
        Ok(())
    }

    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.segments.get_mut(&segment).ok_or(ErrorKind::NotFound)?;
        let at = usize::try_from(at).map_err(io::Error::other)?;
        file.resize(file.len().max(at + bytes.len()), 0);
        for (to, from) in file.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
        Ok(())
    }

    fn sync(&mut self, _segment: u32) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, segment: u32, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = self.segment(segment)?;
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(file.len());
        Ok(file.iter().skip(at).take(len).copied().collect())
    }

    fn len(&self, segment: u32) -> io::Result<u64> {
        Ok(self.segment(segment)?.len() as u64)
    }

    fn remove(&mut self, segment: u32) -> io::Result<()> {
        self.segments.remove(&segment);
        Ok(())
    }

    fn set_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        self.mark = mark.to_vec();
        Ok(())
    }

    fn sync_mark(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn mark(&self) -> io::Result<Vec<u8>> {
        Ok(self.mark.clone())
    }

    fn set_note(&mut self, note: &[u8]) -> io::Result<()> {
        self.note = Some(note.to_vec());
        Ok(())
    }

    fn note(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.note.clone())
    }

    fn note_place(&self) -> PathBuf {
        PathBuf::from("note")
    }

    fn place(&self, segment: u32) -> PathBuf {
        PathBuf::from(segment.to_string())
    }
}
