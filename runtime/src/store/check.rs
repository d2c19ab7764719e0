//! What a node's data directory holds, looked at while the node is down. Nothing is changed.

use super::boot::{boot_is_gone, read_boot};
use super::dir_lock::DirLock;
use super::disk::{Directory, Disk};
use super::identity::read_identity;
use super::peer_book::PeerBook;
use super::{DirectorySnapshotStore, Finding, LostGroups, SegmentLogStore, SnapshotStore, StoreContents, StoreError};
use crate::snapshot::{SnapshotError, check_complete};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// How whole a data directory is, and what a start of its node would make of it. Its text says so, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreCheck {
    /// Whose it is, as it says itself.
    pub owner: String,
    /// The logs: what is damaged of them, and what each group would go on from.
    pub contents: StoreContents,
    /// What keeps the node from starting.
    pub refusals: Vec<Finding>,
    /// Snapshots that can't be used. Their groups are repaired by their peers, if they need them and have others that hold the
    /// state; else they can't be opened.
    pub snapshots: Vec<Finding>,
}

impl StoreCheck {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let contents = &self.contents;
        let is_damaged = contents.groups.iter().any(|found| found.damage.is_some());
        let is_uncertain = contents.tombstones.iter().any(|tombstone| tombstone.is_uncertain);
        let files = [&contents.findings, &self.refusals, &self.snapshots];
        !is_damaged && !is_uncertain && contents.lost.is_none() && files.iter().all(|findings| findings.is_empty())
    }
}

impl fmt::Display for StoreCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = &self.contents;
        writeln!(f, "of {}", self.owner)?;
        for finding in &contents.findings {
            writeln!(f, "damaged: {finding}")?;
        }
        for finding in &self.snapshots {
            writeln!(f, "damaged: {finding}")?;
        }
        let mut whole = 0;
        for found in &contents.groups {
            let (record, state) = (&found.record, &found.state);
            match &found.damage {
                None if state.must_catch_up() => {
                    writeln!(
                        f,
                        "{}: not repaired yet since it was damaged, or destroyed",
                        record.group
                    )?;
                }
                None => whole += 1,
                Some(damage) if damage.is_lost => {
                    let next = "at the next start it is halted; destroy it, and have it join again";
                    writeln!(f, "{}: lost: {}; {next}", record.group, damage.what)?;
                }
                Some(damage) => writeln!(
                    f,
                    "{}: damaged: {}; at the next start it goes on from {} in term {}, and is repaired by its peers",
                    record.group,
                    damage.what,
                    state.last_id(),
                    state.hard_state.term
                )?,
            }
        }
        for tombstone in contents.tombstones.iter().filter(|tombstone| tombstone.is_uncertain) {
            writeln!(f, "{}: what became of it here is not certain", tombstone.group)?;
        }
        match contents.lost {
            None => {}
            Some(LostGroups::Since(_)) => {
                let next = "one that is created is taken for one of them, and waits for its peers";
                writeln!(f, "groups are lost, and nobody knows which: {next}")?;
            }
            Some(LostGroups::Unknown) => {
                let next = "none can be created but those that were destroyed here; the node has to be replaced";
                writeln!(f, "groups may be lost, and nobody knows how many: {next}")?;
            }
        }
        for finding in &self.refusals {
            writeln!(f, "the node will not start: {finding}")?;
        }
        let groups = contents.groups.len();
        match self.is_whole() {
            true => write!(f, "whole: {groups} groups, {} destroyed", contents.tombstones.len()),
            false => write!(f, "damaged: {whole} of {groups} groups are whole"),
        }
    }
}

/// Looks at the data directory of a node that is down.
///
/// # Errors
///
/// [`StoreError::InUse`] if it is not; [`StoreError::NotOurs`] if it is of another format; [`StoreError::Damaged`] if
/// not even whose it is can be read, or nothing of its logs; [`StoreError::Io`], naming the path.
pub fn check(dir: &Path) -> Result<StoreCheck, StoreError> {
    let _lock = DirLock::take_existing(dir)?;
    let (owner, seed) = read_identity(dir)?;
    let log = dir.join("log");
    let disk = Directory::open_to_read(&log)?;
    let mut refusals = Vec::new();
    let mut refuse = |outcome: Result<(), StoreError>| match outcome {
        Err(StoreError::Damaged { path, what }) => {
            refusals.push(Finding { path, at: None, what });
            Ok(())
        }
        outcome => outcome,
    };
    let boot = read_boot(&disk);
    let is_uncounted = matches!(boot, Ok(None));
    let had_peers = boot
        .as_ref()
        .is_ok_and(|noted| noted.as_ref().is_some_and(|noted| noted.has_peers));
    let note = boot_is_gone(&disk);
    refuse(PeerBook::check(dir, had_peers))?;
    refuse(boot.map(drop))?;
    if disk.list().is_ok_and(|segments| segments.is_empty()) {
        let what = "its segments are gone".to_owned();
        return Err(StoreError::Damaged { path: log, what });
    }
    let (contents, is_blank) = SegmentLogStore::look_at(disk, seed)?;
    if is_uncounted && !is_blank {
        refuse(Err(note))?;
    }
    Ok(StoreCheck {
        owner,
        contents,
        refusals,
        snapshots: check_snapshots(&dir.join("snapshots"))?,
    })
}

/// Snapshots that are not what was written.
fn check_snapshots(dir: &Path) -> Result<Vec<Finding>, StoreError> {
    let failed = |path: &Path, source| StoreError::io(format!("read {}", path.display()), source);
    let store = DirectorySnapshotStore::at(dir);
    let mut names = match store.list() {
        Ok(names) => names,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(dir, e)),
    };
    names.sort_unstable();
    let mut findings = Vec::new();
    for name in names {
        match check_complete(&store, &name) {
            Ok(()) => {}
            Err(SnapshotError::Io { source, .. }) => return Err(failed(&dir.join(name), source)),
            Err(error) => {
                let what = match error {
                    SnapshotError::Damaged { what, .. } | SnapshotError::Undecodable { what, .. } => what,
                    other => other.to_string(),
                };
                let path = dir.join(name);
                findings.push(Finding { path, at: None, what });
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::StoreIdentity;
    use super::*;
    use raftyard_groups::NodeId;
    use std::fs;
    use tempfile::TempDir;

    /// The checksum of nothing is four zeros.
    #[test]
    fn a_snapshot_of_nothing_is_none() {
        let dir = TempDir::new().unwrap();
        let identity = StoreIdentity {
            cluster: "test".to_owned(),
            node: NodeId(1),
        };
        drop(SegmentLogStore::open(dir.path(), &identity).unwrap());
        let snapshots = dir.path().join("snapshots");
        fs::create_dir(&snapshots).unwrap();
        for bytes in [&[][..], &[0; 4], &[0; 5]] {
            let path = snapshots.join("1-1-5-1.snapshot");
            fs::write(&path, bytes).unwrap();
            let found = check(dir.path()).unwrap();
            let paths: Vec<_> = found.snapshots.iter().map(|finding| &finding.path).collect();
            assert_eq!(paths, [&path], "{bytes:?}");
            assert!(!found.is_whole());
        }
    }
}
