//! Logs on a simulated disk: the store that ships, and what is told of it.

use super::NodeDisk;
use super::device::SimDisk;
use crate::life::Life;
use crate::sim::vital::Vital;
use crate::sim::watch::{Event, Watch};
use crate::store::{
    Boot, GroupRecord, LogStore, RecoveredGroup, SegmentLogStore, StoreContents, StoreError, StoreIdentity, Tombstone,
};
use raftyard_groups::{Entry, GroupId, LogId, LogIndex, Persist};

/// The logs on a node's disk, as one life of its process has them open.
pub(crate) struct SimLogStore {
    disk: NodeDisk,
    logs: SegmentLogStore<SimDisk>,
    watch: Watch,
}

/// A change that failed: it may have happened or not, which shows when the disk is opened.
#[derive(Clone)]
pub(crate) enum Doubt {
    Creates(Vec<GroupRecord>),
    Destroys(Vec<Life>),
    Writes(Vec<Persist>),
    Forgets(GroupId),
}

impl Doubt {
    /// What happened, if it did.
    pub(crate) fn events(&self) -> Vec<Event<'_>> {
        match self {
            Self::Creates(records) => records.iter().map(Event::Creates).collect(),
            Self::Destroys(lives) => lives.iter().map(|life| Event::Destroys(*life)).collect(),
            Self::Writes(batch) => batch.iter().map(Event::Writes).collect(),
            Self::Forgets(group) => vec![Event::Forgets(*group)],
        }
    }
}

impl SimLogStore {
    /// # Errors
    ///
    /// As [`SegmentLogStore::on`].
    pub(crate) fn open(disk: NodeDisk, vital: Vital, watch: Watch) -> Result<Self, StoreError> {
        let identity = StoreIdentity {
            cluster: "simulated".to_owned(),
            node: vital.node(),
        };
        let logs = SegmentLogStore::on(SimDisk::open(disk.clone(), vital), &identity)?;
        Ok(Self { disk, logs, watch })
    }

    /// Tells of a change that is durable, or notes one that is in doubt.
    fn tell<T>(&self, outcome: Result<T, StoreError>, what: impl FnOnce() -> Doubt) -> Result<T, StoreError> {
        match &outcome {
            Ok(_) => what().events().iter().for_each(|event| self.watch.see(event)),
            Err(
                StoreError::Refused { .. }
                | StoreError::Corrupt { .. }
                | StoreError::Unread { .. }
                | StoreError::Full { .. }
                | StoreError::Poisoned,
            ) => {}
            Err(_) => self.disk.0.lock().doubt = Some(what()),
        }
        outcome
    }
}

impl LogStore for SimLogStore {
    fn boot(&mut self, promise_ms: u64) -> Result<Boot, StoreError> {
        self.logs.boot(promise_ms)
    }

    fn recover(&mut self) -> Result<StoreContents, StoreError> {
        let contents = self.logs.recover()?;
        for finding in &contents.findings {
            let disk = self.disk.0.lock();
            disk.trace.line(format!("{} finds {finding}", disk.node));
        }
        let doubt = self.disk.0.lock().doubt.take();
        if let Some(doubt) = doubt
            && self.watch.would_explain(&doubt.events(), &contents)
        {
            doubt.events().iter().for_each(|event| self.watch.see(event));
        }
        self.watch.see(&Event::Opens(&contents));
        Ok(contents)
    }

    fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.logs.inspect(group)
    }

    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        let outcome = self.logs.create(records);
        self.tell(outcome, || Doubt::Creates(records.to_vec()))
    }

    fn import(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError> {
        let outcome = self.logs.import(record, base);
        self.tell(outcome, || Doubt::Creates(vec![record.clone()]))
    }

    fn destroy(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError> {
        let lives = groups.iter().filter_map(|group| self.watch.life_of(*group)).collect();
        let outcome = self.logs.destroy(groups);
        self.tell(outcome, || Doubt::Destroys(lives))
    }

    fn rebuild(&mut self, record: &GroupRecord) -> Result<(), StoreError> {
        let outcome = self.logs.rebuild(record);
        self.tell(outcome, || Doubt::Creates(vec![record.clone()]))
    }

    fn forget(&mut self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        let outcome = self.logs.forget(group);
        self.tell(outcome, || Doubt::Forgets(group))
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        let outcome = self.logs.write(batch);
        self.tell(outcome, || Doubt::Writes(batch.to_vec()))
    }

    fn read(
        &self,
        group: GroupId,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.logs.read(group, from, through, bytes_max)
    }
}
