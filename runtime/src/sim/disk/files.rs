//! The files of a log: what is durable of them, and what is only in the memory of the machine.

use crate::sim::random::Random;
use std::collections::BTreeMap;
use std::io;

/// What a disk writes whole or not at all, in bytes.
pub(super) const SECTOR: usize = 512;
/// What the machine's memory keeps, and writes to the disk, in one piece, in bytes.
pub(super) const PAGE: usize = 4_096;

/// Segments, the mark and the note.
#[derive(Default)]
pub(super) struct LogFiles {
    pub(super) segments: BTreeMap<u32, Segment>,
    pub(super) mark: Vec<u8>,
    durable_mark: Vec<u8>,
    /// In so many of 1,000 cases the machine has written the mark to the disk when the next one is set.
    mark_chance: u64,
    /// Where what was written since the mark stands, and what since the one that is durable.
    unmarked: Vec<(u32, usize)>,
    durably_unmarked: Vec<(u32, usize)>,
    pub(super) note: Option<Vec<u8>>,
}

/// A file: what a process reads of it, and what a machine that lost its power finds.
#[derive(Default)]
pub(super) struct Segment {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What is not durable, in order.
    pending: Vec<Pending>,
}

struct Pending {
    at: usize,
    bytes: Vec<u8>,
    /// A sync of it failed: the machine believes that it is on the disk, and no later sync writes it again.
    is_given_up: bool,
}

impl Pending {
    /// The pages that it touches, from the first to behind the last.
    fn pages(&self) -> (usize, usize) {
        (self.at / PAGE, (self.at + self.bytes.len()).div_ceil(PAGE))
    }
}

impl LogFiles {
    pub(super) fn new(mark_chance: u64) -> Self {
        Self {
            mark_chance,
            ..Self::default()
        }
    }

    pub(super) fn segment(&mut self, number: u32) -> io::Result<&mut Segment> {
        self.segments
            .get_mut(&number)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn create(&mut self, number: u32, head: &[u8]) {
        let segment = Segment {
            seen: head.to_vec(),
            durable: head.to_vec(),
            pending: Vec::new(),
        };
        self.segments.insert(number, segment);
        self.unmarked.push((number, 0));
    }

    pub(super) fn write(&mut self, number: u32, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.segment(number)?.write(at, bytes);
        self.unmarked.push((number, at));
        Ok(())
    }

    /// Up to where a segment holds nothing that the mark does not name, in bytes.
    pub(super) fn marked_len(&self, number: u32) -> usize {
        let unmarked = self.unmarked.iter().filter(|(segment, _)| *segment == number);
        let len = self.segments.get(&number).map_or(0, Segment::len);
        unmarked.map(|(_, at)| *at).fold(len, usize::min)
    }

    /// The machine writes it to the disk sooner or later: it may have done so with the one before.
    pub(super) fn set_mark(&mut self, mark: &[u8], random: &mut Random) {
        if random.chance(self.mark_chance) {
            self.durable_mark.clone_from(&self.mark);
            self.durably_unmarked.clear();
        }
        self.durably_unmarked.append(&mut self.unmarked);
        self.mark = mark.to_vec();
    }

    pub(super) fn sync_mark(&mut self) {
        self.durable_mark.clone_from(&self.mark);
        self.durably_unmarked.clear();
    }

    /// The machine lost its power: of each write that was not durable all is there, or nothing, or any sectors.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        for segment in self.segments.values_mut() {
            segment.tear(random);
        }
        if random.chance(500) {
            self.mark.clone_from(&self.durable_mark);
            self.unmarked.append(&mut self.durably_unmarked);
        }
        // What is read from now on is what the disk holds.
        self.durable_mark.clone_from(&self.mark);
        self.durably_unmarked.clear();
    }
}

impl Segment {
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn read(&self, at: usize, len: usize) -> Vec<u8> {
        let at = at.min(self.seen.len());
        let end = at.saturating_add(len).min(self.seen.len());
        self.seen.get(at..end).unwrap_or_default().to_vec()
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.seen, at, bytes);
        self.pending.push(Pending {
            at,
            bytes: bytes.to_vec(),
            is_given_up: false,
        });
    }

    /// All is durable that was written since the last sync; of what an earlier one failed to write, what shares a page
    /// with it.
    pub(super) fn sync(&mut self) {
        let written: Vec<_> = self.pending.iter().filter(|write| !write.is_given_up).collect();
        let written: Vec<_> = written.into_iter().map(Pending::pages).collect();
        let Self { durable, pending, .. } = self;
        pending.retain(|write| {
            let (from, to) = write.pages();
            let is_synced = written.iter().any(|pages| pages.0 < to && from < pages.1);
            if is_synced {
                put(durable, write.at, &write.bytes);
            }
            !is_synced
        });
    }

    /// Damages what is durable. To be called where nothing else is there, because the machine lost its power.
    pub(super) fn damage(&mut self, damage: impl FnOnce(&mut Vec<u8>)) {
        damage(&mut self.durable);
        self.seen.clone_from(&self.durable);
    }

    /// A sync failed: who asks again is told that all is well, and nothing is written.
    pub(super) fn give_up(&mut self) {
        for write in &mut self.pending {
            write.is_given_up = true;
        }
    }

    fn tear(&mut self, random: &mut Random) {
        for write in self.pending.drain(..) {
            let (all, sectors) = (random.chance(400), random.chance(500));
            let mut from = 0;
            while from < write.bytes.len() {
                // Up to the end of the sector in which it stands.
                let to = (from + SECTOR - (write.at + from) % SECTOR).min(write.bytes.len());
                if all || (sectors && random.chance(500)) {
                    put(
                        &mut self.durable,
                        write.at + from,
                        write.bytes.get(from..to).unwrap_or_default(),
                    );
                }
                from = to;
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

/// Writes at `at`; what was never written before it is zero.
fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(room) = file.get_mut(at..end) {
        room.copy_from_slice(bytes);
    }
}
