//! What reads bytes that others wrote, as functions that a fuzzer can call: `examples/fuzz` does. No part of the public
//! interface: behind the feature `fuzzing`, it is as the fuzzers need it.

use crate::{session, snapshot, store, transport};

/// A reader of bytes, and what must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What is read.
    pub name: &'static str,
    /// Reads as a node does; says whether all of it was taken. Memory must be proportional to the bytes.
    pub read: fn(&[u8]) -> bool,
    /// Reads, and panics unless what was taken can be written and is read back the same, and what is cut short is never
    /// taken for something else.
    pub check: fn(&[u8]),
    /// What is right, one of each kind: where mutations begin.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    transport::fuzzing::STREAM,
    transport::fuzzing::CALL,
    transport::fuzzing::ANSWER,
    transport::fuzzing::PAYLOAD,
    store::fuzzing::RECORD,
    store::fuzzing::LOG,
    snapshot::fuzzing::FILE,
    snapshot::fuzzing::CHUNKS,
    session::fuzzing::ENVELOPE,
];

/// Lengths at which to cut `len` bytes short: all of them, or some beside the first and the last.
pub(crate) fn cuts(len: usize) -> impl Iterator<Item = usize> {
    const ALL: usize = 128;
    let step = len.saturating_sub(2 * ALL).div_ceil(ALL).max(1);
    (0..len).filter(move |cut| *cut < ALL || len - cut <= ALL || cut % step == 0)
}

/// Takes what a script says off its front.
pub(crate) struct Script<'a>(pub(crate) &'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// Two bytes, little endian; zeros where there are none.
    pub(crate) fn short(&mut self) -> usize {
        let low = self.byte().unwrap_or_default();
        usize::from(u16::from_le_bytes([low, self.byte().unwrap_or_default()]))
    }

    /// As many bytes, or what there is of them.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}
