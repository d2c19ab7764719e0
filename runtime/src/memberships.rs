//! Memberships that many groups have stand in memory once.

use raftyard_groups::Membership;
use std::collections::HashSet;
use std::sync::Arc;

/// One of each membership that is in use.
#[derive(Debug, Default)]
pub(crate) struct Memberships(HashSet<Arc<Membership>>);

impl Memberships {
    /// The same membership, in memory once.
    pub(crate) fn intern(&mut self, membership: Arc<Membership>) -> Arc<Membership> {
        if let Some(known) = self.0.get(&membership) {
            return known.clone();
        }
        if self.0.len() == self.0.capacity() {
            self.0.retain(|known| Arc::strong_count(known) > 1);
        }
        self.0.insert(membership.clone());
        membership
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftyard_groups::NodeId;

    fn of(nodes: u64) -> Arc<Membership> {
        Arc::new(Membership::of_voters((1..=nodes).map(NodeId)).unwrap_or_default())
    }

    #[test]
    fn equal_ones_are_one_and_the_others_are_forgotten() {
        let mut memberships = Memberships::default();
        let three = memberships.intern(of(3));
        assert!(Arc::ptr_eq(&three, &memberships.intern(of(3))));
        for nodes in 4..1_000 {
            assert!(!Arc::ptr_eq(&three, &memberships.intern(of(nodes))));
        }
        assert!(memberships.0.len() < 10, "{}", memberships.0.len());
        assert!(Arc::ptr_eq(&three, &memberships.intern(of(3))));
    }
}
