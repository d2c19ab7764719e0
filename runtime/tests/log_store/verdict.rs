//! Whether a damaged store tells the truth: all that was acknowledged is there, or whoever lost it is said to.

use raftyard::store::{LogStore, LostGroups, RecoveredGroup, StoreContents, StoreError};
use raftyard_groups::{Entry, GroupId, LogIndex, Payload};
use std::collections::BTreeMap;

/// What a whole store holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Truth {
    pub(crate) contents: StoreContents,
    pub(crate) logs: BTreeMap<GroupId, Vec<Entry>>,
}

/// What a damaged store made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Stores that were refused, by name.
    pub(crate) refused: u64,
    /// Stores that found nothing wrong, rightly.
    pub(crate) whole: u64,
    /// Stores that said that some replicas are damaged or lost, or may be.
    pub(crate) partial: u64,
    /// Replicas that were given back as they were, by stores that found damage.
    pub(crate) kept: u64,
    /// Replicas that are to be repaired.
    pub(crate) damaged: u64,
    /// Replicas that are halted.
    pub(crate) lost: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.refused += other.refused;
        self.whole += other.whole;
        self.partial += other.partial;
        self.kept += other.kept;
        self.damaged += other.damaged;
        self.lost += other.lost;
    }

    pub(crate) fn cases(&self) -> u64 {
        self.refused + self.whole + self.partial
    }
}

impl Truth {
    /// Of a store that was opened and recovered.
    pub(crate) fn of(store: &impl LogStore, contents: StoreContents) -> Self {
        assert_eq!((&contents.findings[..], contents.lost), (&[][..], None), "it is whole");
        let logs = contents.groups.iter().map(|found| {
            assert_eq!(found.damage, None);
            (found.record.group, log(store, found).unwrap())
        });
        let logs = logs.collect();
        Self { contents, logs }
    }

    /// Opens the store twice and checks what it says; the second time nothing may be wrong any more.
    pub(crate) fn check<S: LogStore>(
        &self,
        mut open: impl FnMut() -> Result<S, StoreError>,
        what: &dyn Fn() -> String,
    ) -> Tally {
        let mut tally = Tally::default();
        let mut recover = || {
            let mut store = open()?;
            let contents = store.recover()?;
            Ok::<_, StoreError>((store, contents))
        };
        let (store, contents) = match recover() {
            Ok(opened) => opened,
            Err(StoreError::Damaged { .. } | StoreError::NotOurs { .. }) => {
                tally.refused = 1;
                return tally;
            }
            Err(error) => panic!("{}: {error}", what()),
        };
        self.compare(&store, &contents, what, &mut tally);
        let is_whole = contents.findings.is_empty() && contents.lost.is_none() && tally.damaged + tally.lost == 0;
        if is_whole {
            tally.whole = 1;
            tally.kept = 0;
            return tally;
        }
        tally.partial = 1;
        drop(store);
        // What was found is made good: nothing is found a second time, and nothing forgotten.
        let (store, again) = recover().unwrap_or_else(|error| panic!("{}: the second time: {error}", what()));
        assert!(again.findings.is_empty(), "{}: {:?}", what(), again.findings);
        // The term goes on.
        let is_known = |lost: Option<LostGroups>| lost.map(|lost| lost == LostGroups::Unknown);
        assert_eq!(is_known(again.lost), is_known(contents.lost), "{}", what());
        assert_eq!(again.tombstones, contents.tombstones, "{}", what());
        let states = |contents: &StoreContents| {
            let groups = contents.groups.iter();
            let states = groups.map(|found| (found.record.clone(), found.state.clone(), is_lost(found)));
            states.collect::<Vec<_>>()
        };
        assert_eq!(states(&again), states(&contents), "{}", what());
        let read = |found| log(&store, found).unwrap();
        again.groups.iter().map(read).for_each(drop);
        tally
    }

    fn compare(&self, store: &impl LogStore, found: &StoreContents, what: &dyn Fn() -> String, tally: &mut Tally) {
        let may_be_missing = |term: u64| match found.lost {
            Some(LostGroups::Unknown) => true,
            Some(LostGroups::Since(since)) => since.0 >= term,
            None => false,
        };
        let tombstone = |group| found.tombstones.iter().find(move |tombstone| tombstone.group == group);
        for whole in &self.contents.groups {
            let (group, state) = (whole.record.group, &whole.state);
            let term = state.hard_state.term;
            let Some(left) = found.groups.iter().find(|left| left.record.group == group) else {
                let is_noted = tombstone(group).is_some_and(|left| left.is_uncertain && left.last.term >= term);
                assert!(
                    is_noted || may_be_missing(term.0),
                    "{}: {group} is gone: {whole:?} {:?} {:?}",
                    what(),
                    found.tombstones,
                    found.findings
                );
                tally.lost += 1;
                continue;
            };
            let read = log(store, left).unwrap_or_else(|error| panic!("{}: {error}", what()));
            if left == whole {
                assert_eq!(read, self.logs[&group], "{}: wrong value", what());
                tally.kept += 1;
                continue;
            }
            // Whoever was found damaged at an earlier start is not damaged once more.
            let is_told = left.damage.is_some() || left.state.forgotten.index == LogIndex(u64::MAX);
            assert!(is_told, "{}: silent loss: {left:?} was {whole:?}", what());
            if is_lost(left) {
                assert!(read.is_empty(), "{}", what());
                tally.lost += 1;
                continue;
            }
            let state = &left.state;
            if left.record.incarnation < whole.record.incarnation {
                // The later life is lost. The earlier one never votes, since nobody is in it any more.
                assert!(state.must_catch_up(), "{}: {left:?} {whole:?}", what());
                tally.lost += 1;
                continue;
            }
            tally.damaged += 1;
            assert!(
                state.hard_state.term > term && state.hard_state.vote.is_none(),
                "{}: {left:?} was {whole:?}",
                what()
            );
            assert!(
                state.must_catch_up() && state.forgotten.term >= term,
                "{}: {left:?} {whole:?}",
                what()
            );
            assert_eq!(left.record, whole.record, "{}", what());
            // Where the terms agree, so do the entries up to there (paper §5.3).
            for entry in &read {
                let entries = &self.logs[&group];
                // A rebuilt group has no-ops where configurations were.
                let is_noop = |entry: &Entry| entry.payload == Payload::Noop;
                let same = entries.iter().find(|same| same.id() == entry.id());
                if let Some(same) = same.filter(|same| is_noop(same) == is_noop(entry)) {
                    assert_eq!(entry, same, "{}: wrong value", what());
                }
            }
        }
        for whole in &self.contents.tombstones {
            let term = whole.hard_state.term;
            match tombstone(whole.group) {
                Some(left) if left.is_uncertain => {
                    assert!(left.last.term >= term, "{}", what());
                    tally.damaged += 1;
                }
                Some(left) => assert_eq!(left, whole, "{}", what()),
                None => {
                    // An earlier life of it may be all that is left.
                    let older = found.groups.iter().find(|left| left.record.group == whole.group);
                    let is_noted = older.is_some_and(|older| older.damage.is_some());
                    assert!(is_noted || may_be_missing(term.0), "{}: {whole:?}", what());
                    tally.lost += 1;
                }
            }
        }
    }
}

fn is_lost(found: &RecoveredGroup) -> bool {
    found.damage.as_ref().is_some_and(|damage| damage.is_lost)
}

fn log(store: &impl LogStore, found: &RecoveredGroup) -> Result<Vec<Entry>, StoreError> {
    let from = found.state.base.index.next();
    store.read(found.record.group, from, LogIndex(u64::MAX), usize::MAX)
}
