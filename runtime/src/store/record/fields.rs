//! Taking a record apart, never beyond its end.

use super::RecordError;
use crate::membership::{self, BadMembership};
use raftyard_groups::Membership;
use std::ops::Range;

/// A position in a record.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    record: &'a [u8],
    at: usize,
}

/// Appends `number` as a LEB128 varint: seven bits a byte, the lowest first, the top bit set on all but
/// the last.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(record: &'a [u8], at: usize) -> Self {
        Self { record, at }
    }

    /// Where the next field starts.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, RecordError> {
        let byte = self.record.get(self.at).ok_or(RecordError::Short(what))?;
        self.at += 1;
        Ok(*byte)
    }

    /// Four bytes, little endian.
    pub(super) fn fixed(&mut self, what: &'static str) -> Result<u32, RecordError> {
        let rest = self.record.get(self.at..).unwrap_or_default();
        let (found, _) = rest.split_first_chunk().ok_or(RecordError::Short(what))?;
        self.at += found.len();
        Ok(u32::from_le_bytes(*found))
    }

    /// 0 or 1.
    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, RecordError> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Bad(what)),
        }
    }

    /// What [`put`] wrote.
    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, RecordError> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(what)?;
            let low = u64::from(byte & 0x7f);
            if (low << shift) >> shift != low {
                return Err(RecordError::Bad(what));
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(RecordError::Bad(what))
    }

    /// Where the next `len` bytes stand.
    pub(super) fn range(&mut self, len: u64, what: &'static str) -> Result<Range<usize>, RecordError> {
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| self.at.checked_add(len))
            .filter(|end| *end <= self.record.len())
            .ok_or(RecordError::Short(what))?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    pub(super) fn membership(&mut self) -> Result<Membership, RecordError> {
        let rest = self.record.get(self.at..).ok_or(BadMembership::Unreadable)?;
        let (membership, rest) = membership::take(rest)?;
        self.at = self.record.len() - rest.len();
        Ok(membership)
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), RecordError> {
        match self.record.len() - self.at {
            0 => Ok(()),
            surplus => Err(RecordError::Surplus(surplus)),
        }
    }
}
