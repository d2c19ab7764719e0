//! Which life of which group: what everything inside a node that concerns a replica is addressed to.

use crate::store::GroupRecord;
use raftyard_groups::{GroupId, Incarnation, NodeId, Term};
use std::fmt;

/// A group in one of its incarnations. What was on its way to a replica when that was destroyed names another
/// life than the one that may be there when it arrives, and is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) group: GroupId,
    pub(crate) incarnation: Incarnation,
}

/// The incarnation after this one.
pub(crate) fn after(incarnation: Incarnation) -> Incarnation {
    Incarnation(incarnation.0.saturating_add(1))
}

/// An incarnation for a group that does not begin with nothing, no earlier than `next`: its upper half counts such
/// beginnings, and its lower half is a mark of this one. So replicas that began differently are never of one
/// incarnation, whoever made them, and never meet.
pub(crate) fn branch(next: Incarnation, mark: u32) -> Incarnation {
    Incarnation((((next.0 >> 32) + 1) << 32) | u64::from(mark))
}

/// The incarnation that a node's replica of this one is rebuilt as. It tells which one that was.
pub(crate) fn rebuilt(old: Incarnation, node: NodeId) -> Incarnation {
    // Two nodes never make the same of one incarnation, as long as their ids differ in their lower halves alone.
    let mut mark = crc32fast::Hasher::new();
    mark.update(&node.0.to_le_bytes());
    mark.update(&old.0.to_le_bytes());
    branch(after(old), mark.finalize())
}

/// More often than this in a row no replica is rebuilt without being used in between.
const REBUILDS_MAX: usize = 1_000;

/// Nor is one that is not damaged this often.
const IN_DOUBT: usize = 100;

/// How many terms are told apart by what a replica is rebuilt as in doubt: all is within [`REBUILDS_MAX`].
const DOUBTS: u64 = 800;

/// The incarnation that a node's damaged replica of this one is rebuilt as, which is in `term`. What [`rebuilt`] makes may
/// be there already: the disk may have lost that the replica was rebuilt before, and others may have joined it since.
///
/// So this one comes later in the same chain, and a state on disk is told to be its own as ever: behind all that is
/// rebuilt while nothing is damaged, and at a place that depends on the term. A damaged replica is in a term after every
/// one that its node was in, so each time that one is rebuilt which was used since, it is in a later one. What remains is
/// that the same one is damaged twice, in terms that differ by a multiple of [`DOUBTS`].
pub(crate) fn rebuilt_in_doubt(old: Incarnation, node: NodeId, term: Term) -> Incarnation {
    let later = usize::try_from(term.0 % DOUBTS).unwrap_or_default();
    (0..IN_DOUBT + later).fold(old, |old, _| rebuilt(old, node))
}

/// Whether a node's replica of `old` is now one of `new`, rebuilt once or more often.
pub(crate) fn is_rebuilt_from(new: Incarnation, old: Incarnation, node: NodeId) -> bool {
    std::iter::successors(Some(old), |old| Some(rebuilt(*old, node)))
        .take(REBUILDS_MAX)
        .take_while(|life| life.0 <= new.0)
        .any(|life| life == new && life != old)
}

impl From<&GroupRecord> for Life {
    fn from(record: &GroupRecord) -> Self {
        Self {
            group: record.group,
            incarnation: record.incarnation,
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.group, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_rebuilt_life_tells_which_one_it_was_and_on_which_node() {
        let (first, node) = (Incarnation(1), NodeId(2));
        let second = rebuilt(first, node);
        let third = rebuilt(second, node);
        assert!(first < second && second < third);
        assert!(is_rebuilt_from(second, first, node));
        assert!(is_rebuilt_from(third, second, node));
        assert!(is_rebuilt_from(third, first, node), "twice in a row");
        assert!(!is_rebuilt_from(first, first, node), "it is the same");
        assert!(!is_rebuilt_from(first, second, node), "it came before");
        assert!(!is_rebuilt_from(second, Incarnation(2), node), "another was rebuilt");
        assert!(!is_rebuilt_from(second, first, NodeId(3)), "elsewhere");
        assert!(!is_rebuilt_from(Incarnation(u64::MAX), Incarnation(u64::MAX - 1), node));
    }

    #[test]
    fn one_that_is_rebuilt_in_doubt_is_of_no_life_that_the_disk_may_have_lost() {
        let (first, node) = (Incarnation(1), NodeId(2));
        let certain: Vec<_> = std::iter::successors(Some(first), |old| Some(rebuilt(*old, node)))
            .take(IN_DOUBT)
            .collect();
        let mut seen = BTreeSet::new();
        for term in (0..DOUBTS).chain([u64::MAX]) {
            let doubtful = rebuilt_in_doubt(first, node, Term(term));
            assert!(!certain.contains(&doubtful), "term {term}");
            assert!(
                is_rebuilt_from(doubtful, first, node),
                "term {term}: a state on disk is its own"
            );
            seen.insert(doubtful.0);
        }
        assert_eq!(seen.len() as u64, DOUBTS, "one of each term");
        assert_ne!(
            rebuilt_in_doubt(first, node, Term(9)),
            rebuilt_in_doubt(first, NodeId(3), Term(9)),
            "elsewhere"
        );
    }
}
