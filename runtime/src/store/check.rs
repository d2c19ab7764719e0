//! What a node's data directory holds, looked at while the node is down. Nothing is changed.

use super::boot::read_boot;
use super::dir_lock::DirLock;
use super::disk::{Directory, Disk};
use super::identity::{read_identity, read_sealed};
use super::{Finding, LostGroups, SegmentLogStore, StoreContents, StoreError};
use std::fmt;
use std::fs;
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
    /// Snapshots that can't be used. Their groups are repaired by their peers, if they need them.
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
                let next = "none can be created; the node has to be replaced";
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
    refuse(read_boot(&disk).map(drop))?;
    refuse(read_sealed(dir, "peers").map(drop))?;
    if disk.list().is_ok_and(|segments| segments.is_empty()) {
        let what = "its segments are gone".to_owned();
        return Err(StoreError::Damaged { path: log, what });
    }
    let contents = SegmentLogStore::look_at(disk, seed)?;
    Ok(StoreCheck {
        owner,
        contents,
        refusals,
        snapshots: check_snapshots(&dir.join("snapshots"))?,
    })
}

/// Snapshots whose checksum fails.
fn check_snapshots(dir: &Path) -> Result<Vec<Finding>, StoreError> {
    let failed = |path: &Path, e| StoreError::io(format!("read {}", path.display()), e);
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(dir, e)),
    };
    let mut findings = Vec::new();
    for entry in listed {
        let path = entry.map_err(|e| failed(dir, e))?.path();
        if path.extension().is_none_or(|extension| extension != "snapshot") {
            continue;
        }
        let bytes = fs::read(&path).map_err(|e| failed(&path, e))?;
        let seal = bytes.split_last_chunk();
        if seal.is_none_or(|(body, seal)| *seal != crc32fast::hash(body).to_le_bytes()) {
            let what = "its checksum fails".to_owned();
            findings.push(Finding { path, at: None, what });
        }
    }
    findings.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(findings)
}
