//! What lies in a store, looked at while nobody uses it. Nothing is changed.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use fjall::Keyspace;
use raftyard::{GroupId, LogId, store};

use super::contents::Contents;
use super::journals::Flaw;
use super::store::{open_database, records};

/// How whole the keys of a node are. Its text says so, line by line.
#[derive(Debug, Default)]
pub(crate) struct KeysCheck {
    /// What is damaged, and what the next start makes of it.
    findings: Vec<String>,
    groups: usize,
    damaged: usize,
}

impl KeysCheck {
    pub(crate) fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    /// Opens the `copy` of what is in `dir`, as a start would.
    fn open(&mut self, copy: &Path, dir: &Path, logs: &[(GroupId, LogId)]) -> io::Result<()> {
        let (_database, rows, flaw) = open_database(copy, 0)?;
        if let Some(Flaw { journal, at, what, .. }) = flaw {
            let journal = dir.join(journal.file_name().unwrap_or_default());
            let next = "at the next start it is cut there, with all that came later";
            let journal = journal.display();
            self.findings
                .push(format!("damaged: {journal} at {at}: {what}; {next}"));
        }
        self.read(&rows, logs)
    }

    fn read(&mut self, rows: &Keyspace, logs: &[(GroupId, LogId)]) -> io::Result<()> {
        let contents = Contents::read(rows)?;
        let damaged = contents.damaged();
        self.groups = logs.len();
        for (group, base) in logs {
            if let Some(what) = damaged.get(group) {
                let next = "at the next start it begins anew, from its log or its peers";
                self.damaged(format!("{group}: its keys are damaged: {what}; {next}"));
                continue;
            }
            let applied = store::applied(&records(rows, *group)?).unwrap_or(LogId::ZERO);
            if applied.index < base.index {
                let next = "at the next start it takes them from a snapshot, or from its peers";
                self.damaged(format!(
                    "{group}: its keys end with {applied}, and its log begins after {base}; {next}"
                ));
            }
        }
        Ok(())
    }

    fn damaged(&mut self, finding: String) {
        self.findings.push(finding);
        self.damaged += 1;
    }
}

impl fmt::Display for KeysCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let all = self.groups;
        match self.is_whole() {
            true => write!(f, "keys whole: {all} groups"),
            false => write!(f, "keys damaged: {} of {all} groups are whole", all - self.damaged),
        }
    }
}

/// Looks at the store in `dir`, to which logs belong that begin after these entries.
///
/// # Errors
///
/// The disk's: what is there can't be told.
pub(crate) fn check(dir: &Path, logs: &[(GroupId, LogId)]) -> io::Result<KeysCheck> {
    let mut check = KeysCheck::default();
    // To open it is to change it: journals are cut, tables that are not needed removed.
    let copy = tempfile::tempdir()?;
    lay_out(dir, copy.path())?;
    if let Err(error) = check.open(copy.path(), dir, logs) {
        let dir = dir.display();
        check.findings.push(format!("the node will not start: {dir}: {error}"));
    }
    Ok(check)
}

/// Makes a copy of a store. Tables are never written to: links to them do.
fn lay_out(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            fs::create_dir(&copy)?;
            lay_out(&path, &copy)?;
        } else if from.ends_with("tables") {
            symlink(fs::canonicalize(&path)?, copy)?;
        } else {
            fs::copy(&path, copy)?;
        }
    }
    Ok(())
}
