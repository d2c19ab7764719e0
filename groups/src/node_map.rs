//! A map by node for what a replica knows of its peers. They are a handful, so they stand in a sorted list: a B-tree
//! would take room for eleven of them in each of a hundred thousand groups.

use crate::ids::NodeId;

/// Sorted by node, so that every walk over it has the same order everywhere.
#[derive(Clone, Debug, Hash)]
pub(crate) struct NodeMap<V>(Vec<(NodeId, V)>);

impl<V> Default for NodeMap<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> NodeMap<V> {
    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&node, |(other, _)| *other)
    }

    pub(crate) fn get(&self, node: &NodeId) -> Option<&V> {
        let place = self.place(*node).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, node: &NodeId) -> Option<&mut V> {
        let place = self.place(*node).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, node: &NodeId) -> bool {
        self.place(*node).is_ok()
    }

    /// Puts a value there, in the place of another if there is one.
    pub(crate) fn insert(&mut self, node: NodeId, value: V) {
        match self.get_mut(&node) {
            Some(old) => *old = value,
            None => {
                let place = self.0.partition_point(|(other, _)| *other < node);
                self.0.insert(place, (node, value));
            }
        }
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&NodeId, &mut V) -> bool) {
        self.0.retain_mut(|(node, value)| keep(node, value));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &V)> {
        self.0.iter().map(|(node, value)| (node, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut V)> {
        self.0.iter_mut().map(|(node, value)| (&*node, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &NodeId> {
        self.0.iter().map(|(node, _)| node)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V> FromIterator<(NodeId, V)> for NodeMap<V> {
    fn from_iter<I: IntoIterator<Item = (NodeId, V)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by_key(|(node, _)| *node);
        Self(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sorted_and_finds_what_is_there() {
        let mut map: NodeMap<char> = [(NodeId(5), 'e'), (NodeId(2), 'b')].into_iter().collect();
        map.insert(NodeId(3), 'c');
        map.insert(NodeId(5), 'x');
        let all: Vec<_> = map.iter().map(|(node, value)| (node.0, *value)).collect();
        assert_eq!(all, [(2, 'b'), (3, 'c'), (5, 'x')]);
        assert_eq!(map.get(&NodeId(4)), None);
        assert!(map.contains_key(&NodeId(3)));
        map.retain(|node, _| *node != NodeId(3));
        if let Some(value) = map.get_mut(&NodeId(5)) {
            *value = 'f';
        }
        assert!(map.values().eq(&['b', 'f']));
        assert_eq!((map.len(), map.is_empty()), (2, false));
    }
}
