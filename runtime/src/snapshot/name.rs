//! What the names of snapshot files say.

use crate::life::Life;
use raftyard_groups::{GroupId, Incarnation, LogId};

/// Which snapshot: replicas that applied up to the same entry have the same state, but not the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SnapshotId {
    pub(crate) group: GroupId,
    pub(crate) incarnation: Incarnation,
    /// The last entry it holds.
    pub(crate) last: LogId,
}

impl SnapshotId {
    /// The snapshot of this life of a group that ends with `last`.
    pub(super) fn of(life: Life, last: LogId) -> Self {
        Self {
            group: life.group,
            incarnation: life.incarnation,
            last,
        }
    }

    pub(super) fn life(self) -> Life {
        Life {
            group: self.group,
            incarnation: self.incarnation,
        }
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Complete.
    Complete(SnapshotId),
    /// Being written from a state machine: worth nothing after a restart.
    Taking(SnapshotId),
    /// Being received. Its name says all that tells whether it can be resumed.
    Incoming { id: SnapshotId, size: u64, crc: u32 },
}

impl Name {
    pub(super) fn text(self) -> String {
        let stem = |id: SnapshotId| {
            let SnapshotId {
                group,
                incarnation,
                last,
            } = id;
            format!("{}-{}-{}-{}", group.0, incarnation.0, last.index.0, last.term.0)
        };
        match self {
            Self::Complete(id) => format!("{}.snapshot", stem(id)),
            Self::Taking(id) => format!("{}.taking", stem(id)),
            Self::Incoming { id, size, crc } => format!("{}-{size}-{crc}.incoming", stem(id)),
        }
    }

    /// `None` if it is no name of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (stem, kind) = text.rsplit_once('.')?;
        let numbers: Vec<u64> = stem
            .split('-')
            .map(|number| number.parse().ok())
            .collect::<Option<_>>()?;
        let (&[group, incarnation, index, term], rest) = numbers.split_first_chunk::<4>()?;
        let id = SnapshotId {
            group: GroupId(group),
            incarnation: Incarnation(incarnation),
            last: LogId::new(term, index),
        };
        let name = match (kind, rest) {
            ("snapshot", []) => Self::Complete(id),
            ("taking", []) => Self::Taking(id),
            ("incoming", [size, crc]) => Self::Incoming {
                id,
                size: *size,
                crc: u32::try_from(*crc).ok()?,
            },
            _ => return None,
        };
        (name.text() == text).then_some(name)
    }

    pub(super) fn id(self) -> SnapshotId {
        match self {
            Self::Complete(id) | Self::Taking(id) | Self::Incoming { id, .. } => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_mean_and_nothing_else_is_one() {
        let id = SnapshotId {
            group: GroupId(7),
            incarnation: Incarnation(1),
            last: LogId::new(3, u64::MAX),
        };
        for name in [
            Name::Complete(id),
            Name::Taking(id),
            Name::Incoming {
                id,
                size: 9,
                crc: u32::MAX,
            },
        ] {
            assert_eq!(Name::parse(&name.text()), Some(name));
        }
        for text in [
            "",
            "7-1-2-3",
            "7-1-2.snapshot",
            "7-1-2-3-4.snapshot",
            "07-1-2-3.snapshot",
            "7-1-2-3.other",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
