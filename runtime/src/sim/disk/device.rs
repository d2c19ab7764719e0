//! The disk that a simulated node's log store writes to.

use super::{Failure, Fate, NodeDisk, State, failed, full};
use crate::sim::vital::Vital;
use crate::store::{Disk, DiskId};
use std::io;
use std::path::PathBuf;

/// A node's disk, as one life of its process has it open.
pub(super) struct SimDisk {
    disk: NodeDisk,
    vital: Vital,
}

/// What is done, for the trace.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Operation {
    Create = 3,
    Write,
    Sync,
    Remove,
    Note,
}

impl Operation {
    /// Whether a disk of which the next write fails, or the next sync, fails at it. At no other: a node that can't count its
    /// start does not start.
    fn fails_as(self, failure: Failure) -> bool {
        match failure {
            Failure::Write => matches!(self, Self::Write),
            Failure::Sync => matches!(self, Self::Sync),
        }
    }

    fn is_of_files(self) -> bool {
        matches!(self, Self::Create | Self::Remove)
    }
}

impl SimDisk {
    pub(super) fn open(disk: NodeDisk, vital: Vital) -> Self {
        Self { disk, vital }
    }

    /// Does something, or a part of it, or nothing: `part` is told which, and is not called for nothing.
    fn change(
        &self,
        operation: Operation,
        size: usize,
        change: impl FnOnce(&mut State, Fate) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut disk = self.disk.0.lock();
        if operation.is_of_files() {
            self.vital.changes_files();
        }
        let fate = if self.vital.is_dead() {
            return Err(failed());
        } else if self.vital.burns_down("a write") || disk.fails_now(|failure| operation.fails_as(failure)) {
            disk.failure()
        } else {
            Fate::Done
        };
        let node = disk.node.0;
        disk.trace.event(&[operation as u64, node, size as u64, fate as u64]);
        change(&mut disk, fate)?;
        match fate {
            Fate::Done => Ok(()),
            Fate::Lost | Fate::Indeterminate => Err(failed()),
        }
    }
}

fn position(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl Disk for SimDisk {
    fn segment_bytes(&self) -> u64 {
        self.disk.0.lock().segment_bytes
    }

    fn list(&self) -> io::Result<Vec<u32>> {
        Ok(self.disk.0.lock().files.segments.keys().copied().collect())
    }

    fn create(&mut self, segment: u32, head: &[u8]) -> io::Result<()> {
        self.change(Operation::Create, head.len(), |disk, fate| {
            if fate != Fate::Lost {
                disk.grow(head.len()).map_err(|_| full())?;
                disk.files.create(segment, head);
            }
            Ok(())
        })
    }

    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = position(at)?;
        self.change(Operation::Write, bytes.len(), |disk, fate| {
            let len = match fate {
                Fate::Done => bytes.len(),
                Fate::Lost => 0,
                Fate::Indeterminate => disk.random.position(bytes.len() + 1),
            };
            let more = (at + len).saturating_sub(disk.files.segment(segment)?.len());
            let lacking = disk.grow(more).map_or_else(|room| more - room, |()| 0);
            let written = bytes.get(..len.saturating_sub(lacking)).unwrap_or_default();
            disk.files.write(segment, at, written)?;
            if lacking > 0 { Err(full()) } else { Ok(()) }
        })
    }

    fn sync(&mut self, segment: u32) -> io::Result<()> {
        self.change(Operation::Sync, 0, |disk, fate| {
            let is_written = match fate {
                Fate::Done => !disk.lies || disk.random.chance(50),
                Fate::Lost => false,
                Fate::Indeterminate => true,
            };
            // Some file systems look for room only now.
            let is_full = disk.room == Some(0) && disk.random.chance(50);
            let file = disk.files.segment(segment)?;
            if is_full {
                file.give_up();
                return Err(full());
            }
            if is_written {
                file.sync();
            } else if fate == Fate::Lost {
                file.give_up();
            }
            Ok(())
        })
    }

    fn read(&self, segment: u32, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let at = position(at)?;
        Ok(self.disk.0.lock().files.segment(segment)?.read(at, len))
    }

    fn len(&self, segment: u32) -> io::Result<u64> {
        Ok(self.disk.0.lock().files.segment(segment)?.len() as u64)
    }

    fn remove(&mut self, segment: u32) -> io::Result<()> {
        self.change(Operation::Remove, 0, |disk, fate| {
            if fate != Fate::Lost {
                let removed = disk.files.segments.remove(&segment).ok_or(io::ErrorKind::NotFound)?;
                disk.shrink(removed.len());
            }
            Ok(())
        })
    }

    fn set_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        if self.vital.is_dead() {
            return Err(failed());
        }
        let mut disk = self.disk.0.lock();
        let State { files, random, .. } = &mut *disk;
        files.set_mark(mark, random);
        Ok(())
    }

    fn sync_mark(&mut self) -> io::Result<()> {
        self.change(Operation::Sync, 0, |disk, fate| {
            if fate != Fate::Lost && (!disk.lies || disk.random.chance(50)) {
                disk.files.sync_mark();
            }
            Ok(())
        })
    }

    fn mark(&self) -> io::Result<Vec<u8>> {
        Ok(self.disk.0.lock().files.mark.clone())
    }

    fn set_note(&mut self, note: &[u8]) -> io::Result<()> {
        self.change(Operation::Note, note.len(), |disk, fate| {
            // It is written beside the one before, and takes its place.
            disk.grow(note.len()).map_err(|_| full())?;
            disk.shrink(note.len());
            if fate != Fate::Lost {
                disk.files.note = Some(note.to_vec());
            }
            Ok(())
        })
    }

    fn note(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.disk.0.lock().files.note.clone())
    }

    fn new_id(&mut self) -> DiskId {
        // Each node has one disk, for as long as the world stands; and a seed gives the same world again.
        DiskId(u128::from(self.disk.0.lock().node.0))
    }

    fn note_place(&self) -> PathBuf {
        "simulated/boot".into()
    }

    fn place(&self, segment: u32) -> PathBuf {
        format!("simulated/{segment:08x}").into()
    }
}
