//! Which groups lost something, and what is left of them.
//!
//! Each record names the one of its group before. So a group is whole if nothing between its records is missing, and
//! the last of them stands behind all that can't be read. A group of which that can't be shown is damaged:
//! it gets a term after every one that it can have been in, and is taken for one that may have acknowledged any entry
//! up to there.

use super::super::disk::Disk;
use super::super::record::{Back, Owner, State, peek_back};
use super::super::refusal::{largest_of, next_term};
use super::header::Totals;
use super::index::{Held, Index, Place, Run};
use super::survey::{Seen, Survey};
use super::usage::Usage;
use super::{Damage, LostGroups, SegmentLogStore, StoreError, Tombstone};
use crate::registry::IdMap;
use raftyard_groups::{GroupId, HardState, Incarnation, LogId, LogIndex, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where what is not on disk stands.
const NOWHERE: Place = Place {
    segment: 0,
    at: 0,
    len: 0,
};

/// The records that were come across so far.
#[derive(Default)]
struct Witnessed {
    index: Index,
    /// The batch that the last record of each group stands in.
    last: IdMap<GroupId, u64>,
    /// Groups that lost something, and what: a record in this segment, or 0 if whatever it is counts.
    suspects: BTreeMap<GroupId, Vec<(u32, String)>>,
}

impl Witnessed {
    fn see(&mut self, usage: &mut Usage, seen: Seen) {
        let Seen {
            batch,
            place,
            group,
            checksum,
            record,
        } = seen;
        let segment = place.segment;
        self.last.insert(group, batch);
        let known = self.index.backs.insert(group, Back { checksum, segment });
        let Some(record) = record else {
            let what = format!("a record of batch {batch} is damaged");
            return self.suspect(group, segment, what);
        };
        match peek_back(&record) {
            Ok(back) if back.checksum == known.unwrap_or(Back::NONE).checksum => {}
            // What stands in the same batch counts whatever was given up.
            Ok(back) if back.segment == 0 => {
                self.suspect(group, segment, format!("a record before batch {batch} is lost"));
            }
            Ok(back) => {
                let what = format!("a record of segment {} before batch {batch} is lost", back.segment);
                self.suspect(group, back.segment, what);
            }
            Err(error) => self.suspect(group, 0, format!("a record of batch {batch} can't be read: {error}")),
        }
        match self.index.replay(usage, place, record) {
            // It is all that there is of the group: what is missing before it does not count.
            Ok(true) => drop(self.suspects.remove(&group)),
            Ok(false) => {}
            Err(error) => self.suspect(group, 0, format!("a record of batch {batch} can't be read: {error}")),
        }
    }

    fn suspect(&mut self, group: GroupId, segment: u32, what: String) {
        self.suspects.entry(group).or_default().push((segment, what));
    }
}

impl<D: Disk> SegmentLogStore<D> {
    /// Reads all that is there, makes good what is damaged, and durable what a crash of the machine could still take
    /// back: from then on others are told of it.
    pub(super) fn load(&mut self) -> Result<(), StoreError> {
        if self.is_poisoned {
            return Err(StoreError::Poisoned);
        }
        let (survey, anew) = self.look_through()?;
        // Cut short, for want of room too, it is to be begun once more: with what the disk holds then.
        let made_good = self.make_good(&survey, &anew);
        made_good.inspect_err(|_| self.is_poisoned = true)?;
        self.is_loaded = true;
        Ok(())
    }

    fn make_good(&mut self, survey: &Survey, anew: &BTreeSet<GroupId>) -> Result<(), StoreError> {
        self.journal.confirm(survey)?;
        if !survey.findings.is_empty() || !anew.is_empty() {
            return self.start_over(survey, anew);
        }
        survey
            .stray
            .map_or(Ok(()), |stray| self.journal.remove_stray(stray.segment))
    }

    /// Reads all that is there. Returns what was found, and the groups that go on from something else than what their
    /// records say.
    pub(super) fn look_through(&mut self) -> Result<(Survey, BTreeSet<GroupId>), StoreError> {
        let mut witnessed = Witnessed::default();
        let survey = self.journal.survey(|usage, seen| witnessed.see(usage, seen))?;
        let Witnessed {
            index,
            last,
            mut suspects,
        } = witnessed;
        self.index = index;
        // What was given up does not count.
        suspects.retain(|_, losses| {
            losses.retain(|(segment, _)| *segment == 0 || *segment >= survey.oldest);
            !losses.is_empty()
        });
        let mut damaged: BTreeMap<GroupId, String> = suspects
            .into_iter()
            .filter_map(|(group, losses)| Some((group, losses.into_iter().next()?.1)))
            .collect();
        for group in self.index.groups.keys().chain(self.index.tombstones.keys()) {
            if last.get(group).is_none_or(|batch| *batch < survey.unproven_before) {
                let what = "it has no record behind what can't be read, and may have lost one there";
                damaged.entry(*group).or_insert_with(|| what.to_owned());
            }
        }
        for (group, held) in &self.index.groups {
            if held.place.is_none() {
                damaged.insert(*group, "the record of its state is lost".to_owned());
            } else if let Err(error) = held.recovered() {
                damaged.entry(*group).or_insert_with(|| error.to_string());
            }
        }
        let totals = survey.totals.filter(Totals::are_known);
        if let Some(totals) = totals {
            let unknown = damaged.keys().filter(|group| !self.index.knows(**group));
            for group in unknown.copied().collect::<Vec<_>>() {
                self.index
                    .bury(&mut self.journal.usage, nameless(group, totals), NOWHERE);
            }
        }
        self.index.count(&survey);
        let damaged_groups: BTreeSet<GroupId> = damaged.keys().copied().collect();
        for (group, what) in damaged {
            self.judge(group, what, totals)?;
        }
        for held in self.index.groups.values_mut() {
            if held.state.is_lost && held.damage.is_none() {
                let what = "it was lost at an earlier start".to_owned();
                held.damage = Some(Box::new(Damage { what, is_lost: true }));
            }
            held.runs.shrink_to_fit();
            held.memberships.shrink_to_fit();
        }
        self.findings.clone_from(&survey.findings);
        Ok((survey, damaged_groups))
    }

    /// Makes of a damaged group what it goes on from.
    fn judge(&mut self, group: GroupId, what: String, totals: Option<Totals>) -> Result<(), StoreError> {
        let term_max = totals.map(|totals| Term(totals.term_max));
        // A term that nobody was ever in, where it is not known: whoever starts from there never votes.
        let forgotten = largest_of(term_max.unwrap_or(Term(u64::MAX)));
        if let Some((tombstone, _)) = self.index.tombstones.get_mut(&group) {
            let term = tombstone.hard_state.term.max(term_max.unwrap_or_default());
            tombstone.hard_state = HardState { term, vote: None };
            tombstone.last = tombstone.last.max(forgotten);
            tombstone.is_uncertain = true;
        }
        if !self.index.groups.contains_key(&group) {
            return Ok(());
        }
        let end = self.certain_end(group)?;
        let usage = &mut self.journal.usage;
        let Some(held) = self.index.groups.get_mut(&group) else {
            return Ok(());
        };
        // What was lost earlier stays lost.
        let forgotten = forgotten.max(held.state.forgotten);
        let is_lost = held.place.is_none() || term_max.is_none() || held.state.is_lost;
        if is_lost {
            held.clear(usage);
            held.state = State {
                hard_state: held.state.hard_state,
                ..lost(held.owner())
            };
        } else {
            held.truncate(usage, end.index.next());
        }
        held.state.hard_state = next_term(held.state.hard_state.term.max(term_max.unwrap_or_default()));
        held.state.forgotten = forgotten;
        held.damage = Some(Box::new(Damage { what, is_lost }));
        Ok(())
    }

    /// Up to where a log follows from what it begins after: entry by entry, each record saying which term the entry
    /// before it is of (log matching, paper §5.3). What is behind may be of another time.
    fn certain_end(&self, group: GroupId) -> Result<LogId, StoreError> {
        let held = self.held(group)?;
        let mut end = held.state.base;
        for run in &held.runs {
            if run.first != end.index.next() || self.term_before(held, run)? != Some(end.term) {
                break;
            }
            end = LogId {
                term: run.term,
                index: run.last(),
            };
        }
        Ok(end)
    }

    /// The term of the entry before a run, as the record says that it stands in.
    fn term_before(&self, held: &Held, run: &Run) -> Result<Option<Term>, StoreError> {
        let read = self.reader(held, run);
        let reader = match read {
            Ok(reader) => reader,
            Err(StoreError::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut first = reader.first();
        let mut before = reader.prev();
        for (term, len) in reader.runs() {
            let next = LogIndex(first.0.saturating_add(len));
            if run.first == first {
                return Ok(Some(before));
            }
            if run.first < next {
                return Ok(Some(term));
            }
            (first, before) = (next, term);
        }
        Ok(None)
    }
}

impl Index {
    fn knows(&self, group: GroupId) -> bool {
        self.groups.contains_key(&group) || self.tombstones.contains_key(&group)
    }

    /// Whether all groups are known that there ever were.
    fn count(&mut self, survey: &Survey) {
        let known = (self.groups.len() + self.tombstones.len()) as u64;
        let totals = survey.totals.unwrap_or(Totals {
            term_max: 0,
            groups: Totals::UNKNOWN,
        });
        self.lost = match totals.groups {
            Totals::UNKNOWN => Some(LostGroups::Unknown),
            groups if groups > known => Some(LostGroups::Since(Term(totals.term_max))),
            _ => None,
        };
        self.totals = totals.max(Totals {
            term_max: 0,
            groups: known,
        });
    }
}

/// What is left of a group that only its id is known of.
fn nameless(group: GroupId, totals: Totals) -> Tombstone {
    Tombstone {
        group,
        incarnation: Incarnation::default(),
        hard_state: next_term(Term(totals.term_max)),
        last: largest_of(Term(totals.term_max)),
        is_uncertain: true,
    }
}

/// A group of which nothing is certain.
fn lost(owner: Owner) -> State {
    State {
        owner,
        membership: Arc::default(),
        is_witness: false,
        is_lost: true,
        is_in_doubt: false,
        hard_state: HardState::default(),
        forgotten: LogId::ZERO,
        base: LogId::ZERO,
        base_membership: None,
    }
}
