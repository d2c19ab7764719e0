//! Bit rot: what is durable is not what was written.

use super::files::{LogFiles, PAGE, SECTOR};
use super::{Blob, NodeDisk, State};
use crate::sim::random::{Purpose, Random};
use raftyard_groups::GroupId;
use std::collections::BTreeMap;

/// So many bytes, about, are the last batches of a log.
const END: usize = 300;

impl NodeDisk {
    /// Damages something of what is durable of the segments and the snapshots: drawn from `draw`. Returns the groups
    /// whose snapshots were damaged. To be called where the machine lost its power. Some of each damage is in what the mark
    /// names: the loss of what was written since, if it is the last, nothing shows.
    pub(crate) fn rot(&self, draw: u64) -> Vec<GroupId> {
        let mut random = Random::new(draw, Purpose::Disk, 0);
        let mut state = self.0.lock();
        let State {
            files,
            blobs,
            node,
            trace,
            ..
        } = &mut *state;
        let mut groups = Vec::new();
        for _ in 0..random.within(1..=3) {
            let what = if random.chance(700) {
                damage(files, &mut random)
            } else {
                damage_snapshot(blobs, &mut random).map(|(group, what)| {
                    groups.push(group);
                    what
                })
            };
            if let Some(what) = what {
                trace.line(format!("the disk of {node} rots: {what}"));
            }
        }
        groups
    }
}

/// Damages a snapshot that is whole. Says whose it is, and what was done; nothing, if there is none.
fn damage_snapshot(blobs: &mut BTreeMap<String, Blob>, random: &mut Random) -> Option<(GroupId, String)> {
    let owner = |name: &str| {
        let (group, _) = name.strip_suffix(".snapshot")?.split_once('-')?;
        group.parse().ok().map(GroupId)
    };
    let names: Vec<String> = blobs.keys().filter(|name| owner(name).is_some()).cloned().collect();
    let name = random.pick(&names)?;
    let bytes = &mut blobs.get_mut(name)?.bytes;
    let at = random.position(bytes.len());
    let what = match random.below(6) {
        0 => {
            blobs.remove(name);
            format!("snapshot {name} is gone")
        }
        1 => {
            bytes.truncate(at);
            format!("snapshot {name} ends at {at}")
        }
        2 => {
            let start = at / PAGE * PAGE;
            let end = bytes.len().min(start + PAGE);
            bytes.get_mut(start..end)?.fill(0);
            format!("{} bytes of snapshot {name} are zero, from {start} on", end - start)
        }
        _ => {
            let bit = random.below(8);
            *bytes.get_mut(at)? ^= 1 << bit;
            format!("bit {bit} of byte {at} of snapshot {name} is flipped")
        }
    };
    Some((owner(name)?, what))
}

/// Damages one place, and says what was done; nothing, if nothing may be damaged.
fn damage(files: &mut LogFiles, random: &mut Random) -> Option<String> {
    let segments: Vec<u32> = files.segments.keys().copied().collect();
    let is_last = random.chance(300);
    let segment = *if is_last {
        segments.last()?
    } else {
        random.pick(&segments)?
    };
    let marked = files.marked_len(segment);
    if marked == 0 {
        return None;
    }
    // What was written last is often all that knows of something.
    let at = if is_last {
        marked - 1 - random.position(marked.min(END))
    } else {
        random.position(marked)
    };
    let kind = random.below(12);
    if kind == 0 && segments.len() > 1 {
        files.segments.remove(&segment);
        return Some(format!("segment {segment} is gone"));
    }
    let from = *random.pick(&segments)?;
    let sector = random.position(files.segment(from).ok()?.len()) / SECTOR * SECTOR;
    let copied = files.segment(from).ok()?.read(sector, SECTOR);
    let file = files.segment(segment).ok()?;
    let what = match kind {
        1 | 2 => {
            file.damage(|bytes| bytes.truncate(at));
            format!("segment {segment} ends at {at}")
        }
        3 | 4 => {
            let size = if kind == 3 { SECTOR } else { PAGE };
            let start = at / size * size;
            file.damage(|bytes| put(bytes, start, &vec![0; size], marked));
            format!("{size} bytes of segment {segment} are zero, from {start} on")
        }
        5 | 6 => {
            let start = at / SECTOR * SECTOR;
            file.damage(|bytes| put(bytes, start, &copied, marked));
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

/// Writes over what is there; over what stands behind `marked` only if something before it becomes another.
fn put(file: &mut [u8], at: usize, bytes: &[u8], marked: usize) {
    let Some(room) = file.get_mut(at..) else { return };
    let named = bytes.len().min(marked.saturating_sub(at));
    let shows = room.iter().zip(bytes).take(named).any(|(old, new)| old != new);
    let len = if shows { bytes.len() } else { named };
    for (old, new) in room.iter_mut().zip(bytes).take(len) {
        *old = *new;
    }
}
