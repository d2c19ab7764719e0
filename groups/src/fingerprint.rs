//! What of a replica's state decides what it will do, for a model checker to tell states apart.
//!
//! Every struct is taken apart field by field: a new field does not compile before somebody decided whether
//! it belongs to the fingerprint.

use crate::effects::PersistSeq;
use crate::group::{Group, Role};
use crate::input::Moment;
use std::hash::{Hash, Hasher};

/// What moments and numbers of writes are relative to.
#[derive(Clone, Copy)]
pub(crate) struct Reference {
    pub(crate) now: Moment,
    pub(crate) election_timeout_ms: u64,
    pub(crate) newest: PersistSeq,
}

impl Reference {
    /// Of a moment that passed only this counts: whether it was an election timeout ago.
    pub(crate) fn is_long_ago(&self, moment: Moment) -> bool {
        self.now.since(moment) >= self.election_timeout_ms
    }

    /// How many election timeouts are left, a part of one counting as one.
    pub(crate) fn timeouts_until(&self, moment: Moment) -> u64 {
        moment.since(self.now).div_ceil(self.election_timeout_ms.max(1))
    }

    /// How many writes ago.
    pub(crate) fn writes_since(&self, seq: PersistSeq) -> u64 {
        self.newest.0.saturating_sub(seq.0)
    }
}

impl Group {
    /// Feeds `state` with what decides what this replica does from `now` on: two replicas of one
    /// configuration with the same fingerprint do the same, whatever they are told, but for what is random.
    ///
    /// Times are normalised: a past moment only counts as more or less than an election timeout ago, numbers
    /// of writes count from the newest. Left out are the configuration it was created with, deadlines (a model
    /// lets them come at any moment), the generator and what it made: election timeouts and the names of read
    /// requests, which a model has to name on its own.
    pub fn fingerprint(&self, now: Moment, state: &mut impl Hasher) {
        let Self {
            config,
            hard,
            log,
            memberships,
            forgotten,
            role,
            commit,
            // Only drivers ask for what it tells.
            heard_commit: _,
            applying,
            applied,
            loading_apply,
            loading_apply_failed,
            unreadable: _,
            gives_way_until: _,
            now: _,
            rng: _,
            forwarded,
            promises,
            resignations,
            refusals,
            sessions: _,
            persist_seq,
            accepted,
            #[cfg(debug_assertions)]
                seen: _,
        } = self;
        let reference = Reference {
            now,
            election_timeout_ms: config.tuning.election_timeout_ms,
            newest: *persist_seq,
        };
        (hard, commit, applying, applied, loading_apply, loading_apply_failed).hash(state);
        let unreadable = self.unreadable_since();
        unreadable.map(|since| reference.is_long_ago(since)).hash(state);
        self.gives_way().hash(state);
        forgotten.hash(state);
        log.fingerprint(reference, state);
        memberships.hash(state);
        forwarded.fingerprint(state);
        promises.fingerprint(state);
        resignations.fingerprint(now, state);
        if let Some(accepted) = accepted {
            accepted.fingerprint(reference, state);
        }
        refusals.hash(state);
        match role {
            Role::Follower(follower) => {
                state.write_u8(0);
                follower.fingerprint(reference, state);
            }
            Role::PreCandidate(candidate) => {
                state.write_u8(1);
                candidate.fingerprint(None, state);
            }
            Role::Candidate(candidate) => {
                state.write_u8(2);
                candidate.fingerprint(Some(reference), state);
            }
            Role::Leader(leader) => {
                state.write_u8(3);
                leader.fingerprint(reference, state);
            }
        }
    }
}
