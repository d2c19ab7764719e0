//! What tells one disk of a node from the next.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// Which disk it is that a node keeps its logs on: drawn when the node first starts on it, and never changed. One
/// that was wiped is another disk, and so is what it held before on a new machine; a copy is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiskId(pub u128);

impl DiskId {
    /// A new one, from the randomness of the operating system.
    #[must_use]
    pub fn draw() -> Self {
        let random = RandomState::new();
        let half = |part: u8| u128::from(random.hash_one(part));
        Self(half(0) << 64 | half(1))
    }

    /// What [`Display`](fmt::Display) wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let id = Self(u128::from_str_radix(text, 16).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike_and_each_is_read_as_it_was_written() {
        let (one, other) = (DiskId::draw(), DiskId::draw());
        assert_ne!(one, other);
        for id in [one, other, DiskId(0), DiskId(u128::MAX)] {
            assert_eq!(DiskId::parse(&id.to_string()), Some(id));
        }
        for text in [
            "",
            "0",
            "+0000000000000000000000000000000",
            "A0000000000000000000000000000000",
        ] {
            assert_eq!(DiskId::parse(text), None, "{text}");
        }
    }
}
