//! Where all chance of a simulation comes from.

use crate::random::{SplitMix, mix};
use std::ops::RangeInclusive;

/// A source of chance: the same seed draws the same, on every machine.
#[derive(Debug)]
pub struct Random(SplitMix);

impl Random {
    /// A source for a purpose of its own, so that what one purpose draws does not move what others do.
    pub(super) fn new(seed: u64, purpose: Purpose, which: u64) -> Self {
        Self(SplitMix::new(mix(mix(seed, purpose as u64), which)))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `bound`, which counts as 1 if it is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next() % bound.max(1)
    }

    /// A number in this range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (from, to) = range.into_inner();
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// One of these, none if there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let position = self.below(from.len() as u64);
        from.get(usize::try_from(position).ok()?)
    }

    /// A position below `len`.
    pub(super) fn position(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }
}

/// What chance is needed for.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(super) enum Purpose {
    Plan = 1,
    Schedule,
    Network,
    Disk,
    Node,
    Client,
    Operator,
}
