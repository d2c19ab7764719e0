//! Snapshots that are carried from one group to another: exported to a file of the user's, imported from one, or
//! taken over by the next incarnation.

use super::actor::{Import, SnapshotActor};
use super::format::{Reader, Stamp, Writer};
use super::name::{Name, SnapshotId};
use super::take::run;
use super::{Decode, Encode, SnapshotError};
use crate::error::ExportError;
use crate::life::{Life, branch};
use crate::store::{DirectorySnapshotStore, GroupRecord, SnapshotStore};
use raftyard_groups::{LogId, Membership, Recovered};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// What the log of an imported group begins after: an entry that nobody ever appended, in the place of all that
/// made the state. Not 0: a peer that holds nothing has to be sent the snapshot, not the first entry.
pub(crate) const IMPORTED: LogId = LogId {
    term: raftyard_groups::Term(1),
    index: raftyard_groups::LogIndex(1),
};

impl SnapshotActor {
    pub(super) fn export(
        &mut self,
        life: Life,
        last: LogId,
        membership: Arc<Membership>,
        encode: Encode,
        path: &Path,
    ) -> Result<LogId, ExportError> {
        let hosted = self.hosted(life).ok_or(ExportError::Closed)?;
        let failed = |source| SnapshotError::Io {
            name: path.display().to_string(),
            source,
        };
        let (mut directory, name) = directory_of(path).map_err(failed)?;
        let new = format!("{name}.new");
        let write = || {
            let id = SnapshotId::of(life, last);
            let stamp = Stamp {
                membership,
                is_witness: hosted.is_witness,
            };
            let mut writer = Writer::start(&mut directory, &new, id, &stamp)?;
            run(encode, &mut writer)?;
            writer.finish()
        };
        let written = write();
        match written.and_then(|_| directory.publish(&new, &name)) {
            Ok(()) => Ok(last),
            Err(error) => {
                // What can't be removed either is described where it is left.
                directory.remove(&new).ok();
                Err(failed(error).into())
            }
        }
    }

    pub(super) fn import(&mut self, import: Import) {
        let imported = self.import_file(&import);
        // Who gave up waiting has dropped the other end.
        import.reply.send(imported).ok();
    }

    fn import_file(&mut self, import: &Import) -> Result<GroupRecord, SnapshotError> {
        let name = import.path.display().to_string();
        let failed = |source| SnapshotError::Io {
            name: name.clone(),
            source,
        };
        let (directory, file) = directory_of(&import.path).map_err(failed)?;
        let mut reader = Reader::open_any(&directory, &file)?;
        // Asked before anything is noted: a group that can't start is of no use.
        let decoded = catch_unwind(AssertUnwindSafe(|| (import.decode)(&mut reader)));
        let seal = reader.finish()?;
        match decoded {
            Ok(Ok(_)) => {}
            decoded => {
                let what = match decoded {
                    Ok(Err(error)) => format!("its state can't be decoded: {error}"),
                    _ => "decoding its state panicked".to_owned(),
                };
                return Err(SnapshotError::Undecodable { name, what });
            }
        }
        let record = GroupRecord {
            group: import.group,
            // Replicas that were not made from the same file never meet.
            incarnation: branch(import.next, seal.crc),
            membership: import.membership.clone(),
            is_witness: false,
        };
        let id = SnapshotId::of(Life::from(&record), IMPORTED);
        let mut state = Reader::open_any(&directory, &file)?;
        let mut is_replaced = false;
        let written = self.write(&stamp_of(&record), id, |writer| {
            io::copy(&mut state, writer)?;
            // By then it may be another file than the one that was checked, and that names the incarnation.
            is_replaced = match state.finish() {
                Ok(copied) => copied != seal,
                Err(SnapshotError::Damaged { .. }) => true,
                Err(error) => return Err(io::Error::other(error)),
            };
            if is_replaced {
                Err(io::Error::other("it was replaced"))
            } else {
                Ok(())
            }
        });
        written.map_err(|source| {
            if is_replaced {
                return SnapshotError::Replaced { name };
            }
            let name = Name::Taking(id).text();
            SnapshotError::Io { name, source }
        })?;
        Ok(record)
    }

    /// Its log goes on from none of those, but its damaged log may have held it.
    pub(super) fn beyond(&mut self, record: &GroupRecord, last: LogId) -> Option<LogId> {
        let skim: Decode = Box::new(|from| Ok(Box::new(io::copy(from, &mut io::sink())?)));
        let complete = self.names(record.group).into_iter().filter_map(|name| match name {
            Name::Complete(id) if id.incarnation == record.incarnation => Some(id),
            _ => None,
        });
        let mut beyond: Vec<SnapshotId> = complete.filter(|id| id.last.index > last.index).collect();
        beyond.sort_unstable_by_key(|id| std::cmp::Reverse(id.last.index));
        let mut intact = beyond
            .into_iter()
            .filter(|id| self.read_back(record.is_witness, *id, &skim).is_ok());
        intact.next().map(|id| id.last)
    }

    /// What is there under `to` already is left from an attempt that did not get to its end.
    pub(super) fn relabel(
        &mut self,
        from: &GroupRecord,
        recovered: &Recovered,
        to: &GroupRecord,
        is_on_disk: bool,
    ) -> Result<(), SnapshotError> {
        let decode: Decode = Box::new(|from| {
            let mut state = Vec::new();
            from.read_to_end(&mut state)?;
            Ok(Box::new(state))
        });
        let (last, state) = match self.newest(from, recovered, &decode) {
            Ok(Some(newest)) => newest,
            Ok(None) => return Ok(()),
            Err(SnapshotError::Missing { damaged, .. }) if is_on_disk && damaged.is_empty() => return Ok(()),
            Err(error) => return Err(error),
        };
        let id = SnapshotId::of(Life::from(to), last);
        let state = state.downcast::<Vec<u8>>().unwrap_or_default();
        let written = self.write(&stamp_of(to), id, |writer| writer.write_all(&state));
        written.map_err(|source| {
            let name = Name::Taking(id).text();
            SnapshotError::Io { name, source }
        })?;
        Ok(())
    }
}

/// Of the snapshot that a group begins with.
fn stamp_of(record: &GroupRecord) -> Stamp {
    Stamp {
        membership: Arc::new(record.membership.clone()),
        is_witness: record.is_witness,
    }
}

/// The directory that a file of the user's lies in, and its name there.
fn directory_of(path: &Path) -> io::Result<(DirectorySnapshotStore, String)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = DirectorySnapshotStore::open(directory.unwrap_or(Path::new("."))).map_err(io::Error::other)?;
    Ok((directory, name.to_owned()))
}
