//! How a membership looks, the same in messages, in logs and in snapshots: postcard of its lists. Numbers are
//! LEB128 varints; a list is its count and that many node ids.

use raftyard_groups::{Membership, MembershipError, MembershipTarget, NodeId};
use serde::{Deserialize, Serialize};

/// The lists of a membership, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipLists {
    voters: Vec<u64>,
    outgoing: Vec<u64>,
    learners: Vec<u64>,
    witnesses: Vec<u64>,
    next: Option<TargetLists>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TargetLists {
    voters: Vec<u64>,
    witnesses: Vec<u64>,
    learners: Vec<u64>,
}

/// Bytes that are no membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadMembership {
    #[error("a membership that can't be read")]
    Unreadable,
    #[error("a membership that can't be: {0}")]
    Invalid(#[from] MembershipError),
}

impl From<&Membership> for MembershipLists {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: list(membership.voters()),
            outgoing: list(membership.outgoing()),
            learners: list(membership.learners()),
            witnesses: list(membership.witnesses()),
            next: membership.next().map(|next| TargetLists {
                voters: list(next.voters()),
                witnesses: list(next.witnesses()),
                learners: list(next.learners()),
            }),
        }
    }
}

impl TryFrom<MembershipLists> for Membership {
    type Error = MembershipError;

    fn try_from(lists: MembershipLists) -> Result<Self, MembershipError> {
        if lists == MembershipLists::default() {
            return Ok(Self::default());
        }
        let membership = Self::new(nodes(lists.voters), nodes(lists.outgoing), nodes(lists.learners))?
            .with_witnesses(nodes(lists.witnesses))?;
        match lists.next {
            Some(next) => {
                let (voters, witnesses, learners) = (nodes(next.voters), nodes(next.witnesses), nodes(next.learners));
                membership.with_next(MembershipTarget::new(voters, witnesses, learners)?)
            }
            None => Ok(membership),
        }
    }
}

fn list(nodes: impl Iterator<Item = NodeId>) -> Vec<u64> {
    nodes.map(|node| node.0).collect()
}

fn nodes(list: Vec<u64>) -> impl Iterator<Item = NodeId> {
    list.into_iter().map(NodeId)
}

pub(crate) fn encode(membership: &Membership) -> Vec<u8> {
    // Numbers in memory: nothing that could fail.
    postcard::to_stdvec(&MembershipLists::from(membership)).unwrap_or_default()
}

/// The membership that `bytes` begin with, and what follows it.
pub(crate) fn take(bytes: &[u8]) -> Result<(Membership, &[u8]), BadMembership> {
    let (lists, rest) = postcard::take_from_bytes::<MembershipLists>(bytes).map_err(|_| BadMembership::Unreadable)?;
    Ok((lists.try_into()?, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ids<const N: usize>(ids: [u64; N]) -> [NodeId; N] {
        ids.map(NodeId)
    }

    #[test]
    fn every_kind_comes_back_as_it_was() {
        let plain = Membership::new(ids([1, 2, u64::MAX]), [], ids([200])).unwrap();
        let witnessed = plain.clone().with_witnesses(ids([2])).unwrap();
        let target = MembershipTarget::new(ids([1, 2, 4]), ids([2]), ids([5])).unwrap();
        let joint = Membership::new(ids([1, 2]), ids([2, 3]), ids([3])).unwrap();
        for membership in [
            Membership::default(),
            plain,
            witnessed.clone(),
            witnessed.with_next(target).unwrap(),
            joint.with_witnesses(ids([3])).unwrap(),
        ] {
            let bytes = [&encode(&membership)[..], b"rest"].concat();
            assert_eq!(take(&bytes), Ok((membership, &b"rest"[..])));
        }
    }

    /// What is written to disks and sent to other versions must stay as it is.
    #[test]
    fn the_form_is_pinned() {
        let membership = Membership::new(ids([1, 2, 300]), [], ids([4])).unwrap();
        let target = MembershipTarget::new(ids([1, 5]), ids([5]), []).unwrap();
        let bytes = encode(&membership.with_next(target).unwrap());
        assert_eq!(bytes, [3, 1, 2, 0xac, 2, 0, 1, 4, 0, 1, 2, 1, 5, 1, 5, 0]);
    }

    #[test]
    fn what_is_no_membership_is_refused() {
        let whole = encode(&Membership::new(ids([1, 2]), ids([3]), ids([4])).unwrap());
        for cut in 0..whole.len() {
            assert_eq!(take(&whole[..cut]), Err(BadMembership::Unreadable), "{cut} bytes");
        }
        let learner_alone = [0, 0, 1, 4, 0, 0];
        assert_eq!(
            take(&learner_alone),
            Err(BadMembership::Invalid(MembershipError::NoVoters))
        );
        let in_both = [1, 4, 0, 1, 4, 0, 0];
        assert!(matches!(take(&in_both), Err(BadMembership::Invalid(_))));
        // A count that promises more than there is.
        let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1];
        assert_eq!(take(&endless), Err(BadMembership::Unreadable));
    }
}
