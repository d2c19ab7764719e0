//! Whether a history could have happened one call after the other (Herlihy and Wing 1990): the search of Wing and
//! Gong (1993), with Lowe's memory of what was tried (2017).
//!
//! What a call does and answers says the state machine itself, alone.

use crate::machine::StateMachine;
use crate::time::Timestamp;
use std::collections::HashSet;
use std::fmt::{self, Debug};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// Steps after which the search gives up.
const STEPS_MAX: u64 = 400_000;

/// What can be asked of a group.
pub enum Kind<S: StateMachine> {
    /// A command.
    Propose(S::Command),
    /// A query.
    Read(S::Query),
}

impl<S: StateMachine<Command: Clone, Query: Clone>> Clone for Kind<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Propose(command) => Self::Propose(command.clone()),
            Self::Read(query) => Self::Read(query.clone()),
        }
    }
}

impl<S: StateMachine<Command: Debug, Query: Debug>> Debug for Kind<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Propose(command) => write!(f, "propose {command:?}"),
            Self::Read(query) => write!(f, "read {query:?}"),
        }
    }
}

/// What a client was told.
pub(in crate::sim) enum Outcome<S: StateMachine> {
    Response(S::Response),
    Answer(S::Answer),
    /// It may have happened, may yet, or never.
    Unknown,
}

/// What one client asked, and was told.
pub(in crate::sim) struct Call<S: StateMachine> {
    pub(in crate::sim) client: u64,
    pub(in crate::sim) kind: Kind<S>,
    /// When it was asked and answered: numbers that grow.
    pub(in crate::sim) invoked: u64,
    pub(in crate::sim) returned: u64,
    pub(in crate::sim) outcome: Outcome<S>,
}

impl<S: StateMachine> Call<S> {
    /// Whether it says anything: a read whose answer nobody knows does not.
    pub(in crate::sim) fn counts(&self) -> bool {
        !matches!((&self.kind, &self.outcome), (Kind::Read(_), Outcome::Unknown))
    }
}

impl<S> fmt::Display for Call<S>
where
    S: StateMachine<Command: Debug, Response: Debug, Query: Debug, Answer: Debug>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, invoked, kind) = (self.client, self.invoked, &self.kind);
        write!(f, "client {client} asked at {invoked} to {kind:?}, ")?;
        match &self.outcome {
            Outcome::Response(told) => write!(f, "was told {told:?} at {}", self.returned),
            Outcome::Answer(told) => write!(f, "was told {told:?} at {}", self.returned),
            Outcome::Unknown => f.write_str("was told nothing"),
        }
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sim) enum Verdict {
    Linearizable,
    /// With how many calls could be put in order at most.
    Not(usize),
    /// The search took too long.
    Undecided,
}

/// One end of a call, in the order in which they happened.
struct End {
    at: u64,
    call: usize,
    is_return: bool,
}

/// The ends that are not in order yet: a list that forgets and remembers.
struct Ends {
    ends: Vec<End>,
    /// Positions behind and before each; the last is the list's head.
    next: Vec<usize>,
    before: Vec<usize>,
    /// Where each call begins and ends.
    places: Vec<(usize, usize)>,
}

impl Ends {
    fn of<S: StateMachine>(calls: &[Call<S>]) -> Self {
        let mut ends: Vec<End> = Vec::with_capacity(calls.len() * 2);
        for (position, call) in calls.iter().enumerate() {
            let returned = match call.outcome {
                Outcome::Unknown => u64::MAX,
                Outcome::Response(_) | Outcome::Answer(_) => call.returned,
            };
            for (at, is_return) in [(call.invoked, false), (returned, true)] {
                let call = position;
                ends.push(End { at, call, is_return });
            }
        }
        ends.sort_by_key(|end| (end.at, end.is_return));
        let mut places = vec![(0, 0); calls.len()];
        for (position, end) in ends.iter().enumerate() {
            if let Some(place) = places.get_mut(end.call) {
                *(if end.is_return { &mut place.1 } else { &mut place.0 }) = position;
            }
        }
        let head = ends.len();
        let next = (1..=head).chain([0]).collect();
        let before = [head].into_iter().chain(0..head).collect();
        Self {
            ends,
            next,
            before,
            places,
        }
    }

    fn head(&self) -> usize {
        self.ends.len()
    }

    fn next(&self, position: usize) -> usize {
        self.next.get(position).copied().unwrap_or(self.head())
    }

    fn link(&mut self, before: usize, next: usize) {
        if let Some(place) = self.next.get_mut(before) {
            *place = next;
        }
        if let Some(place) = self.before.get_mut(next) {
            *place = before;
        }
    }

    fn take_out(&mut self, call: usize) {
        let (from, to) = self.places.get(call).copied().unwrap_or_default();
        for position in [from, to] {
            let before = self.before.get(position).copied().unwrap_or_default();
            self.link(before, self.next(position));
        }
    }

    fn put_back(&mut self, call: usize) {
        let (from, to) = self.places.get(call).copied().unwrap_or_default();
        for position in [to, from] {
            let before = self.before.get(position).copied().unwrap_or_default();
            let next = self.next(position);
            self.link(before, position);
            self.link(position, next);
        }
    }
}

/// Searches for an order.
pub(in crate::sim) fn check<S>(make: &dyn Fn() -> S, calls: &[Call<S>]) -> Verdict
where
    S: StateMachine<Command: Clone, Response: PartialEq, Query: Clone, Answer: PartialEq>,
{
    let mut ends = Ends::of(calls);
    let is_known = |call: usize| !matches!(calls.get(call).map(|call| &call.outcome), Some(Outcome::Unknown));
    let mut left = (0..calls.len()).filter(|call| is_known(*call)).count();
    let Ok(mut state) = postcard::to_stdvec(&make().snapshot()) else {
        return Verdict::Undecided;
    };
    let mut done = vec![0_u64; calls.len().div_ceil(64)];
    let mut tried = HashSet::new();
    let mut way: Vec<(usize, Vec<u8>)> = Vec::new();
    let (mut steps, mut longest) = (0_u64, 0);
    let mut at = ends.next(ends.head());
    while left > 0 {
        steps += 1;
        if steps > STEPS_MAX {
            return Verdict::Undecided;
        }
        let end = ends.ends.get(at).map(|end| (end.call, end.is_return));
        if let Some((position, false)) = end {
            let after = calls.get(position).and_then(|call| step(make, &state, call));
            flip(&mut done, position);
            match after {
                Some(after) if tried.insert((done.clone(), after.clone())) => {
                    way.push((position, std::mem::replace(&mut state, after)));
                    longest = longest.max(way.len());
                    left -= usize::from(is_known(position));
                    ends.take_out(position);
                    at = ends.next(ends.head());
                }
                _ => {
                    flip(&mut done, position);
                    at = ends.next(at);
                }
            }
        } else {
            // A call ended that found no place.
            let Some((position, before)) = way.pop() else {
                return Verdict::Not(longest);
            };
            state = before;
            flip(&mut done, position);
            left += usize::from(is_known(position));
            ends.put_back(position);
            at = ends.next(ends.places.get(position).map_or(0, |place| place.0));
        }
    }
    Verdict::Linearizable
}

fn flip(done: &mut [u64], call: usize) {
    if let Some(word) = done.get_mut(call / 64) {
        *word ^= 1 << (call % 64);
    }
}

/// The state after a call, if what it was told is what that gives.
fn step<S>(make: &dyn Fn() -> S, state: &[u8], call: &Call<S>) -> Option<Vec<u8>>
where
    S: StateMachine<Command: Clone, Response: PartialEq, Query: Clone, Answer: PartialEq>,
{
    let mut machine = make();
    machine.restore(postcard::from_bytes(state).ok()?);
    match &call.kind {
        Kind::Propose(command) => {
            let response = machine.apply(command.clone(), Timestamp(0));
            let is_so = match &call.outcome {
                Outcome::Response(told) => *told == response,
                Outcome::Answer(_) => false,
                Outcome::Unknown => true,
            };
            is_so.then(|| postcard::to_stdvec(&machine.snapshot()).ok()).flatten()
        }
        Kind::Read(query) => {
            let answer = machine.query(query.clone());
            let is_so = matches!(&call.outcome, Outcome::Answer(told) if *told == answer);
            is_so.then(|| state.to_vec())
        }
    }
}
