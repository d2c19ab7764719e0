//! What is remembered of one session: from its floor on, without gaps, what is kept of each request.

use super::Kept;
use crate::time::Timestamp;
use std::collections::VecDeque;

/// More room than this, in requests, is given back once it is not used. A window empties and fills with every turn,
/// so less would be taken and given back all the time.
const ROOM_KEPT: usize = 1_024;

#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// All requests below it are forgotten.
    floor: u64,
    kept: VecDeque<Kept>,
    /// Memory that `kept` takes.
    bytes: u64,
    pub(super) last_use: Timestamp,
    /// Position in the order in which sessions were used.
    pub(super) used: u64,
}

/// What a window says of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below the floor.
    Forgotten,
    /// So many after the floor.
    At(u64),
}

impl Window {
    pub(super) fn new(floor: u64, kept: VecDeque<Kept>, last_use: Timestamp, used: u64) -> Self {
        let bytes = kept.iter().map(Kept::size).sum();
        Self {
            floor,
            kept,
            bytes,
            last_use,
            used,
        }
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// After the last number of which something is kept.
    pub(super) fn end(&self) -> u64 {
        self.floor.saturating_add(self.kept.len() as u64)
    }

    pub(super) fn kept(&self) -> &VecDeque<Kept> {
        &self.kept
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn place(&self, number: u64) -> Place {
        number.checked_sub(self.floor).map_or(Place::Forgotten, Place::At)
    }

    /// What is kept so many after the floor.
    pub(super) fn at(&self, offset: u64) -> &Kept {
        let offset = usize::try_from(offset).ok();
        offset
            .and_then(|offset| self.kept.get(offset))
            .unwrap_or(&Kept::Nothing)
    }

    pub(super) fn set(&mut self, offset: u64, kept: Kept) {
        let Ok(offset) = usize::try_from(offset) else {
            return;
        };
        while self.kept.len() <= offset {
            self.bytes += Kept::Nothing.size();
            self.kept.push_back(Kept::Nothing);
        }
        if let Some(slot) = self.kept.get_mut(offset) {
            self.bytes = self.bytes - slot.size() + kept.size();
            *slot = kept;
        }
    }

    /// Nobody waits for requests below `floor` any more.
    pub(super) fn forget_below(&mut self, floor: u64) {
        while self.floor < floor {
            let Some(kept) = self.kept.pop_front() else {
                self.floor = floor;
                break;
            };
            self.bytes -= kept.size();
            self.floor += 1;
        }
        if self.kept.capacity() > ROOM_KEPT && self.kept.len() < self.kept.capacity() / 8 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }
}
