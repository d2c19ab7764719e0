//! Bit rot: what is durable is not what was written.

use super::NodeDisk;
use super::State;
use super::files::{LogFiles, PAGE, SECTOR};
use crate::sim::random::{Purpose, Random};

impl NodeDisk {
    /// Damages something of what is durable of the segments: drawn from `draw`. To be called where the machine lost
    /// its power. What was written since the mark is spared: the loss of that, if it is the last, nothing shows.
    pub(crate) fn rot(&self, draw: u64) {
        let mut random = Random::new(draw, Purpose::Disk, 0);
        let mut state = self.0.lock();
        let State { files, node, trace, .. } = &mut *state;
        for _ in 0..random.within(1..=3) {
            if let Some(what) = damage(files, &mut random) {
                trace.line(format!("the disk of {node} rots: {what}"));
            }
        }
    }
}

/// Damages one place, and says what was done; nothing, if nothing may be damaged.
fn damage(files: &mut LogFiles, random: &mut Random) -> Option<String> {
    let segments: Vec<u32> = files.segments.keys().copied().collect();
    let segment = *random.pick(&segments)?;
    let (len, marked) = (files.segment(segment).ok()?.len(), files.marked_len(segment));
    if marked == 0 {
        return None;
    }
    let at = random.position(marked);
    let kind = random.below(12);
    if kind == 0 && marked == len && segments.len() > 1 {
        files.segments.remove(&segment);
        return Some(format!("segment {segment} is gone"));
    }
    let from = *random.pick(&segments)?;
    let sector = random.position(files.segment(from).ok()?.len()) / SECTOR * SECTOR;
    let copied = files.segment(from).ok()?.read(sector, SECTOR);
    let file = files.segment(segment).ok()?;
    let what = match kind {
        1 | 2 if marked == len => {
            file.damage(|bytes| bytes.truncate(at));
            format!("segment {segment} ends at {at}")
        }
        3 | 4 => {
            let size = if kind == 3 { SECTOR } else { PAGE };
            let start = at / size * size;
            file.damage(|bytes| put(bytes, start, &vec![0; size.min(marked - start)]));
            format!("{size} bytes of segment {segment} are zero, from {start} on")
        }
        5 | 6 => {
            let start = at / SECTOR * SECTOR;
            let kept = copied.get(..copied.len().min(marked - start)).unwrap_or_default();
            file.damage(|bytes| put(bytes, start, kept));
            format!("segment {segment} holds at {start} what segment {from} holds at {sector}")
        }
        _ => {
            let bit = random.below(8);
            file.damage(|bytes| {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            });
            format!("bit {bit} of byte {at} of segment {segment} is flipped")
        }
    };
    Some(what)
}

/// Writes over what is there.
fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(room) = file.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}
