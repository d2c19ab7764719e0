//! Fair turns: who flooded a group with requests waits for its own requests, not the other groups.
//!
//! What a turn takes in is bounded. As long as all requests fit, each goes to its group at once. When they don't,
//! all of them wait in line, each group's in its order, and every turn deals out what fits by **deficit round robin**:
//! one group after the other may take as many bytes as its weight gives it, and keeps what it could not use for the next
//! round, as long as something of it waits. So a command larger than a round's share comes in time too.
//!
//! Only requests of clients wait here. What peers say, what the storage says and the passing of time is in every turn:
//! that is bounded by permits and windows of its own, and a group that does not hear its peers would elect.

use super::dispatcher::Dispatcher;
use super::turn::GroupWork;
use std::collections::VecDeque;

/// Bytes of requests that a turn takes in, counted as their permits count them. (One may exceed it.)
pub(super) const TURN_BYTES: usize = 1 << 20;

/// Bytes that a group of weight 1 may take in a round.
const ROUND_BYTES: usize = 4 << 10;

/// What of one group waits.
#[derive(Default)]
pub(super) struct Line {
    requests: VecDeque<GroupWork>,
    /// What it may take beside its next round's share.
    deficit: usize,
}

/// Of a worker.
#[derive(Default)]
pub(super) struct Lines {
    /// Positions of groups of which something waits: whose turn is next comes first.
    order: VecDeque<usize>,
    /// Bytes of requests that the turn being put together holds.
    in_turn: usize,
}

impl Line {
    pub(super) fn into_requests(self) -> impl Iterator<Item = GroupWork> {
        self.requests.into_iter()
    }
}

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The group at this position is gone.
    pub(super) fn forget(&mut self, position: usize) {
        self.order.retain(|waiting| *waiting != position);
    }
}

impl Dispatcher {
    /// A request of a client, to a group that is here: into this turn, or behind those that wait.
    pub(super) fn give_request(&mut self, position: usize, request: GroupWork) {
        let Some(Some(local)) = self.groups.get_mut(position) else {
            return;
        };
        if local.line.requests.is_empty() {
            self.lines.in_turn = self.lines.in_turn.saturating_add(request.bytes());
            self.give_at(position, request);
        } else {
            local.line.requests.push_back(request);
        }
    }

    /// Decides which requests the turn takes in. To be called once everything else is sorted.
    pub(super) fn share_out(&mut self) {
        let in_turn = std::mem::take(&mut self.lines.in_turn);
        if in_turn <= TURN_BYTES && self.lines.order.is_empty() {
            return;
        }
        self.shared.counters.turns_shared.add(1);
        self.line_up();
        self.deal();
        // Whoever was told something hears it before anything is asked.
        let groups = &self.groups;
        self.touched.sort_by_key(|position| {
            let local = groups.get(*position).and_then(Option::as_ref);
            local.is_none_or(|local| local.work.first().is_none_or(GroupWork::is_request))
        });
    }

    /// Takes the requests out of the turn again, each group's behind those of it that wait.
    fn line_up(&mut self) {
        for position in &self.touched {
            let Some(Some(local)) = self.groups.get_mut(*position) else {
                continue;
            };
            let waited = !local.line.requests.is_empty();
            local
                .line
                .requests
                .extend(local.work.extract_if(.., |work| work.is_request()));
            if !waited && !local.line.requests.is_empty() {
                self.lines.order.push_back(*position);
            }
        }
        let groups = &mut self.groups;
        self.touched.retain(|position| {
            let local = groups.get_mut(*position).and_then(Option::as_mut);
            local.is_some_and(|local| {
                local.is_touched = !local.work.is_empty();
                local.is_touched
            })
        });
    }

    /// Deals out what fits into the turn.
    fn deal(&mut self) {
        let mut left = TURN_BYTES;
        while left > 0
            && let Some(position) = self.lines.order.pop_front()
        {
            let Some(Some(local)) = self.groups.get_mut(position) else {
                continue;
            };
            let weight = usize::try_from(local.slot.tenancy.weight()).unwrap_or(1);
            let line = &mut local.line;
            line.deficit = line.deficit.saturating_add(ROUND_BYTES.saturating_mul(weight));
            let mut dealt = Vec::new();
            while let Some(next) = line.requests.pop_front_if(|next| next.bytes() <= line.deficit) {
                line.deficit -= next.bytes();
                left = left.saturating_sub(next.bytes());
                dealt.push(next);
            }
            if line.requests.is_empty() {
                *line = Line::default();
            } else {
                self.lines.order.push_back(position);
            }
            for request in dealt {
                self.give_at(position, request);
            }
        }
    }
}
