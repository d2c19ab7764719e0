//! One pass over all records, when the store is opened.

use super::super::record::{EntriesReader, Owner, SpanPayload, decode_base, decode_group, decode_hard_state};
use super::super::shape::LogShape;
use super::keys::{Place, place};
use super::{FjallLogStore, GroupRecord, GroupState, RecoveredGroup, StoreError, failed};
use bytes::Bytes;
use raftyard_groups::{GroupId, HardState, LogIndex};

/// A group of which more records may come.
struct Gathered {
    record: GroupRecord,
    hard_state: HardState,
    shape: LogShape,
    /// Where the first record of entries starts, if there is one.
    start: Option<LogIndex>,
}

impl FjallLogStore {
    pub(super) fn recover_all(&mut self) -> Result<Vec<RecoveredGroup>, StoreError> {
        let mut gathered: Vec<Gathered> = Vec::new();
        for item in self.records.iter() {
            let (key, value) = item.into_inner().map_err(|e| failed("read", &self.path, e))?;
            let place = place(&key).ok_or_else(|| StoreError::Damaged {
                path: self.path.clone(),
                what: format!("{key:?} is no key of a record"),
            })?;
            gather(&mut gathered, place, Bytes::from_owner(value))?;
        }
        self.groups = gathered.iter().map(Gathered::state).collect();
        Ok(gathered
            .into_iter()
            .map(|group| RecoveredGroup {
                record: group.record,
                state: group.shape.into_recovered(group.hard_state),
            })
            .collect())
    }
}

/// Takes in the next record. A group's own comes before its others.
fn gather(gathered: &mut Vec<Gathered>, place: Place, value: Bytes) -> Result<(), StoreError> {
    match place {
        Place::Group(id) => {
            let record = decode_group(id, &value).map_err(|e| StoreError::corrupt(id, &e))?;
            gathered.push(Gathered {
                record,
                hard_state: HardState::default(),
                shape: LogShape::default(),
                start: None,
            });
        }
        Place::HardState(id) => {
            let group = owner_of(gathered, id)?;
            group.hard_state = decode_hard_state(group.owner(), &value).map_err(|e| StoreError::corrupt(id, &e))?;
        }
        Place::Base(id) => {
            let group = owner_of(gathered, id)?;
            let (base, membership) = decode_base(group.owner(), &value).map_err(|e| StoreError::corrupt(id, &e))?;
            group.shape = LogShape::after(base, Some(membership));
        }
        Place::Log(id, first) => owner_of(gathered, id)?.add_entries(first, value)?,
    }
    Ok(())
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
