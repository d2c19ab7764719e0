//! Which groups need not be told at once of what lets them do nothing now: by position, as they said after their last
//! turn. What they are not told waits for their next turn, in its order: so a write costs half the turns.

use raftyard_groups::Term;

/// By a group's position on its worker.
#[derive(Default)]
pub(crate) struct Patience(Vec<Group>);

#[derive(Clone, Copy, Default)]
struct Group {
    for_own_writes: bool,
    for_acknowledgements: Option<Term>,
}

impl Patience {
    /// The group had a turn, and nothing since. Acknowledgements can wait if they are of this term.
    pub(crate) fn set(&mut self, position: usize, for_own_writes: bool, for_acknowledgements: Option<Term>) {
        if self.0.len() <= position {
            self.0.resize(position + 1, Group::default());
        }
        if let Some(place) = self.0.get_mut(position) {
            *place = Group {
                for_own_writes,
                for_acknowledgements,
            };
        }
    }

    /// Nobody is at this position any more.
    pub(crate) fn clear(&mut self, position: usize) {
        if let Some(place) = self.0.get_mut(position) {
            *place = Group::default();
        }
    }

    /// Whether it need not know that its writes are durable.
    pub(crate) fn for_own_writes(&self, position: usize) -> bool {
        self.0.get(position).is_some_and(|place| place.for_own_writes)
    }

    /// Whether it need not know what its peers acknowledge in this term.
    pub(crate) fn for_acknowledgements(&self, position: usize, term: Term) -> bool {
        let place = self.0.get(position);
        place.is_some_and(|place| place.for_acknowledgements == Some(term))
    }
}
