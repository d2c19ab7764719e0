//! One pass over all records, when the store is opened, or over those of one group.

use super::super::record::{
    EntriesReader, Own, Owner, SpanPayload, decode_base, decode_forgotten, decode_hard_state, decode_own,
};
use super::super::shape::LogShape;
use super::keys::{Place, place};
use super::{
    FjallLogStore, GroupRecord, GroupState, RecoveredGroup, Refusal, StoreContents, StoreError, Tombstone, failed,
};
use ::fjall::Guard;
use bytes::Bytes;
use raftyard_groups::{GroupId, HardState, LogId, LogIndex};

/// A group of which more records may come.
struct Gathered {
    record: GroupRecord,
    hard_state: HardState,
    forgotten: LogId,
    shape: LogShape,
    /// Where the first record of entries starts, if there is one.
    start: Option<LogIndex>,
}

/// What a pass found.
#[derive(Default)]
struct Found {
    groups: Vec<Gathered>,
    tombstones: Vec<Tombstone>,
}

impl FjallLogStore {
    pub(super) fn recover_all(&mut self) -> Result<StoreContents, StoreError> {
        let found = self.gather(self.records.iter())?;
        self.groups = found.groups.iter().map(Gathered::state).collect();
        Ok(StoreContents {
            groups: found.groups.into_iter().map(Gathered::recovered).collect(),
            tombstones: found.tombstones,
        })
    }

    pub(super) fn inspect_group(&self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        let mut found = self.gather(self.records.prefix(group.0.to_be_bytes()))?;
        let found = found.groups.pop().map(Gathered::recovered);
        found.ok_or_else(|| StoreError::refused(group, Refusal::UnknownGroup))
    }

    fn gather(&self, items: impl Iterator<Item = Guard>) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for item in items {
            let (key, value) = item.into_inner().map_err(|e| failed("read", &self.path, e))?;
            let place = place(&key).ok_or_else(|| StoreError::Damaged {
                path: self.path.clone(),
                what: format!("{key:?} is no key of a record"),
            })?;
            found.add(place, Bytes::from_owner(value))?;
        }
        Ok(found)
    }
}

impl Found {
    /// Takes in the next record. A group's own comes before its others.
    fn add(&mut self, place: Place, value: Bytes) -> Result<(), StoreError> {
        match place {
            Place::Group(id) => match decode_own(id, &value).map_err(|e| StoreError::corrupt(id, &e))? {
                Own::Group(record) => self.groups.push(Gathered {
                    record,
                    hard_state: HardState::default(),
                    forgotten: LogId::ZERO,
                    shape: LogShape::default(),
                    start: None,
                }),
                Own::Tombstone(tombstone) => self.tombstones.push(tombstone),
            },
            Place::HardState(id) => {
                let group = owner_of(&mut self.groups, id)?;
                group.hard_state = decode_hard_state(group.owner(), &value).map_err(|e| StoreError::corrupt(id, &e))?;
            }
            Place::Base(id) => {
                let group = owner_of(&mut self.groups, id)?;
                let (base, membership) = decode_base(group.owner(), &value).map_err(|e| StoreError::corrupt(id, &e))?;
                group.shape = LogShape::after(base, Some(membership));
            }
            Place::Forgotten(id) => {
                let group = owner_of(&mut self.groups, id)?;
                group.forgotten = decode_forgotten(group.owner(), &value).map_err(|e| StoreError::corrupt(id, &e))?;
            }
            Place::Log(id, first) => owner_of(&mut self.groups, id)?.add_entries(first, value)?,
        }
        Ok(())
    }
}

fn owner_of(gathered: &mut [Gathered], id: GroupId) -> Result<&mut Gathered, StoreError> {
    gathered
        .last_mut()
        .filter(|group| group.record.group == id)
        .ok_or_else(|| StoreError::corrupt(id, &"it has records, but none of its creation"))
}

impl Gathered {
    fn owner(&self) -> Owner {
        Owner {
            group: self.record.group,
            incarnation: self.record.incarnation,
        }
    }

    fn recovered(self) -> RecoveredGroup {
        RecoveredGroup {
            record: self.record,
            state: self.shape.into_recovered(self.hard_state, self.forgotten),
        }
    }

    fn state(&self) -> (GroupId, GroupState) {
        let state = GroupState {
            owner: self.owner(),
            base: self.shape.base(),
            start: self.start.unwrap_or(self.shape.base().index.next()),
            last: self.shape.last(),
            batch: 0,
        };
        (self.record.group, state)
    }

    fn add_entries(&mut self, first: LogIndex, value: Bytes) -> Result<(), StoreError> {
        let id = self.record.group;
        self.start.get_or_insert(first);
        let mut reader = EntriesReader::open(self.owner(), first, value).map_err(|e| StoreError::corrupt(id, &e))?;
        while let Some(span) = reader.advance().map_err(|e| StoreError::corrupt(id, &e))? {
            let membership = match &span.payload {
                SpanPayload::Membership(membership) => Some(membership),
                SpanPayload::Noop | SpanPayload::Command(_) => None,
            };
            let pushed = self.shape.push(span.id, membership);
            pushed.map_err(|e| StoreError::corrupt(id, &e))?;
        }
        Ok(())
    }
}
