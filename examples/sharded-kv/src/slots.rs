//! Where a key lives: key → slot (as Redis Cluster computes it), slot → group (the shard map).

use std::ops::RangeInclusive;

use raftyard::GroupId;

/// Slots of a Redis Cluster.
pub(crate) const SLOT_COUNT: u16 = 16_384;

/// The slot of a key: CRC16 of the key, or of its hash tag if it has one, modulo 16,384.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOT_COUNT
}

/// What stands between the first `{` and the first `}` after it, if it is not empty.
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let tail = key.get(open + 1..)?;
    let close = tail.iter().position(|byte| *byte == b'}')?;
    tail.get(..close).filter(|tag| !tag.is_empty())
}

/// CRC-16/XMODEM: polynomial 0x1021, start value 0, nothing reflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let index = (crc >> 8) as u8 ^ byte;
        (crc << 8) ^ CRC16_TABLE[usize::from(index)]
    })
}

/// The CRC of every single byte. 256 places, so that a byte is always a valid index.
const CRC16_TABLE: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

/// Which group holds which slots. Group `i` of `n` (from 0, as `GroupId(i + 1)`) holds the slots from
/// `⌈i · 16384 / n⌉` up to the next group's first: contiguous ranges whose sizes differ by at most one.
///
/// The number of groups is chosen once: with another one, keys would be looked for in groups that don't hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardMap {
    groups: u16,
}

impl ShardMap {
    /// A map over `groups` groups, `None` unless there is at least one and at most one per slot.
    pub(crate) fn new(groups: u16) -> Option<Self> {
        (1..=SLOT_COUNT).contains(&groups).then_some(Self { groups })
    }

    /// The number of groups.
    pub(crate) fn groups(self) -> u16 {
        self.groups
    }

    /// The place (from 0) of the group that holds `slot`.
    pub(crate) fn group_of(self, slot: u16) -> u16 {
        let place = u32::from(slot % SLOT_COUNT) * u32::from(self.groups) / u32::from(SLOT_COUNT);
        u16::try_from(place).unwrap_or(self.groups - 1)
    }

    /// The slots of the group at `place`.
    pub(crate) fn slots_of(self, place: u16) -> RangeInclusive<u16> {
        self.first_slot(place)..=self.first_slot(place + 1).saturating_sub(1)
    }

    fn first_slot(self, place: u16) -> u16 {
        let slot = (u32::from(place) * u32::from(SLOT_COUNT)).div_ceil(u32::from(self.groups));
        u16::try_from(slot).unwrap_or(SLOT_COUNT)
    }

    /// The id of the group at `place`. Group 0 does not exist, so that an id that was never set is noticed.
    pub(crate) fn group_id(place: u16) -> GroupId {
        GroupId(u64::from(place) + 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn crc16_is_xmodem() {
        assert_eq!(crc16(b""), 0);
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn slots_are_those_of_redis() {
        for (key, slot) in [
            ("foo", 12182),
            ("bar", 5061),
            ("hello", 866),
            ("123456789", 12739),
            ("", 0),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn hash_tags() {
        let same = |a: &str, b: &str| assert_eq!(slot_of(a.as_bytes()), slot_of(b.as_bytes()));
        same("{user1000}.following", "{user1000}.followers");
        same("{user1000}.following", "user1000");
        same("foo{{bar}}zap", "{bar");
        same("foo{bar}{zap}", "bar");
        // An empty tag, or one that is not closed, is no tag: the whole key counts.
        for whole in ["foo{}{bar}", "{}", "{", "}{", "foo{bar", "a}b{c"] {
            assert_eq!(slot_of(whole.as_bytes()), crc16(whole.as_bytes()) % SLOT_COUNT);
        }
    }

    #[test]
    fn ranges_cover_every_slot_once() {
        for groups in [1, 2, 3, 5, 16, 48, 1000, 4096, 16_383, 16_384] {
            let map = ShardMap::new(groups).unwrap();
            let mut next = 0;
            for place in 0..groups {
                let slots = map.slots_of(place);
                assert_eq!(*slots.start(), next);
                assert!(!slots.is_empty());
                let spread = SLOT_COUNT / groups;
                assert!((spread..=spread + 1).contains(&u16::try_from(slots.len()).unwrap()));
                for slot in slots.clone() {
                    assert_eq!(map.group_of(slot), place, "{groups} groups, slot {slot}");
                }
                next = slots.end() + 1;
            }
            assert_eq!(next, SLOT_COUNT);
        }
    }

    #[test]
    fn a_map_needs_one_to_one_group_per_slot() {
        assert_eq!(ShardMap::new(0), None);
        assert_eq!(ShardMap::new(SLOT_COUNT + 1), None);
    }
}
