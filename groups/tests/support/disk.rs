//! A replica's simulated disk: what is on it survives a crash, what is only queued does not.

use raftyard_groups::{Entry, HardState, Load, LogId, LogIndex, Persist, Recovered, Term};

/// Term, vote and entries that are durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard: HardState,
    /// Entry `i` stands at position `i - 1`.
    pub(crate) entries: Vec<Entry>,
}

impl Disk {
    /// What [`Persist`] says: the hard state if it changed; entries replace all from their first on.
    pub(crate) fn write(&mut self, write: &Persist) {
        if let Some(hard) = write.hard_state {
            assert!(hard.term >= self.hard.term, "the term on disk went back");
            self.hard = hard;
        }
        if let Some(first) = write.entries.first() {
            let kept = position(first.index);
            assert!(kept <= self.entries.len(), "a write leaves a gap in the log: {write}");
            self.entries.truncate(kept);
            self.entries.extend_from_slice(&write.entries);
        }
    }

    pub(crate) fn load(&self, load: &Load) -> Vec<Entry> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        let wanted = self.entries.iter().skip(position(load.from));
        for entry in wanted.take_while(|entry| entry.index <= load.through) {
            bytes += entry.size();
            if bytes > load.bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }

    pub(crate) fn recover(&self) -> Recovered {
        let mut runs: Vec<LogId> = Vec::new();
        for entry in &self.entries {
            if runs.last().is_none_or(|run| run.term != entry.term) {
                runs.push(entry.id());
            }
        }
        Recovered {
            hard_state: self.hard,
            runs,
            last: LogIndex(self.entries.len() as u64),
        }
    }

    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == LogIndex::ZERO {
            return Some(Term(0));
        }
        self.entries.get(position(index)).map(|entry| entry.term)
    }
}

fn position(index: LogIndex) -> usize {
    usize::try_from(index.prev().0).expect("an index fits")
}
