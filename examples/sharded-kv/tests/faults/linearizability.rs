//! Whether the calls on one unit could have happened one after the other (Herlihy and Wing 1990): the search of Wing and
//! Gong (1993) with Lowe's memory of what was tried (2017), which gives up after a number of steps.

mod tests;

use std::collections::{HashMap, HashSet};

use crate::history::{Call, Op, Outcome, State};

/// Steps after which the search gives up.
const STEPS_MAX: u64 = 1_000_000;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// With the positions of the calls that could be put in order at most.
    Not(Vec<usize>),
    /// The search took too long.
    Undecided,
}

/// Calls that say nothing are left out: reads of which nobody knows the answer, and writes of a value that nobody was
/// told, of which nobody knows whether they happened. If there is an order with such a write in it, there is one
/// without: until the next write nobody looked.
pub(crate) fn that_count(calls: impl IntoIterator<Item = Call>) -> Vec<Call> {
    let calls: Vec<Call> = calls.into_iter().collect();
    let told: HashSet<u64> = calls
        .iter()
        .filter_map(|call| match call.outcome {
            Outcome::Done(Some(state)) => Some(state[0]),
            _ => None,
        })
        .collect();
    let counts = |call: &Call| {
        let was_seen = call.op.own_value().is_none_or(|value| told.contains(&value));
        call.is_known() || (call.op != Op::Read && was_seen)
    };
    calls.into_iter().filter(counts).collect()
}

/// Searches for an order of the calls, which begin with nothing there.
pub(crate) fn check(calls: &[Call]) -> Verdict {
    Search::new(calls).run()
}

struct Search<'a> {
    calls: &'a [Call],
    /// Positions of the calls that have no place yet, by when they were asked.
    waiting: Vec<usize>,
    /// For each call, those that must have a place before it: the one before on its connection; or, if it is unknown, one
    /// like it that was asked earlier, because then it makes no difference which of the two it is.
    first: Vec<Option<usize>>,
    done: Vec<u64>,
    tried: HashSet<(Vec<u64>, State)>,
    /// The calls that have a place, each with its place among the waiting and the state before it.
    way: Vec<(usize, usize, State)>,
}

impl<'a> Search<'a> {
    fn new(calls: &'a [Call]) -> Self {
        let mut waiting: Vec<usize> = (0..calls.len()).collect();
        waiting.sort_by_key(|at| calls[*at].invoked);
        let numbers: HashMap<(&str, u64), usize> = calls
            .iter()
            .enumerate()
            .map(|(at, call)| ((call.client.as_str(), call.number), at))
            .collect();
        let mut first = vec![None; calls.len()];
        for (place, at) in waiting.iter().enumerate() {
            let call = &calls[*at];
            first[*at] = if call.is_known() {
                let before = call
                    .after
                    .and_then(|number| numbers.get(&(call.client.as_str(), number)));
                before.copied().filter(|before| calls[*before].is_known())
            } else {
                let mut earlier = waiting[..place].iter().rev();
                earlier
                    .find(|at| !calls[**at].is_known() && calls[**at].op == call.op)
                    .copied()
            };
        }
        Self {
            calls,
            waiting,
            first,
            done: vec![0; calls.len().div_ceil(64)],
            tried: HashSet::new(),
            way: Vec::new(),
        }
    }

    fn run(mut self) -> Verdict {
        let mut left = self.calls.iter().filter(|call| call.is_known()).count();
        let (mut state, mut longest, mut steps) = ([0, 0], Vec::new(), 0);
        // Where among the waiting the next one is looked for.
        let mut from = 0;
        while left > 0 {
            steps += 1;
            if steps > STEPS_MAX {
                return Verdict::Undecided;
            }
            if let Some((place, after)) = self.candidate(from, state) {
                let at = self.waiting.remove(place);
                left -= usize::from(self.calls[at].is_known());
                self.way.push((at, place, state));
                state = after;
                from = 0;
                if self.way.len() > longest.len() {
                    longest = self.way.iter().map(|(at, ..)| *at).collect();
                }
            } else {
                let Some((at, place, before)) = self.way.pop() else {
                    return Verdict::Not(longest);
                };
                left += usize::from(self.calls[at].is_known());
                self.flip(at);
                self.waiting.insert(place, at);
                state = before;
                from = place + 1;
            }
        }
        Verdict::Linearizable
    }

    /// The next waiting call that may come now, and the state after it. Marks it as done.
    fn candidate(&mut self, from: usize, state: State) -> Option<(usize, State)> {
        // Nothing comes after a call that was over before it was asked.
        let mut first_end = u64::MAX;
        for place in 0..self.waiting.len() {
            let at = self.waiting[place];
            let call = &self.calls[at];
            if call.invoked > first_end {
                return None;
            }
            if call.is_known() {
                first_end = first_end.min(call.returned);
            }
            let waits = self.first[at].is_some_and(|first| !self.is_done(first));
            let (after, tells) = call.op.apply(state);
            let fits = !matches!(call.outcome, Outcome::Done(told) if told != tells);
            if place < from || waits || !fits {
                continue;
            }
            self.flip(at);
            if self.tried.insert((self.done.clone(), after)) {
                return Some((place, after));
            }
            self.flip(at);
        }
        None
    }

    fn is_done(&self, at: usize) -> bool {
        self.done[at / 64] & (1 << (at % 64)) != 0
    }

    fn flip(&mut self, at: usize) {
        self.done[at / 64] ^= 1 << (at % 64);
    }
}
