//! Real processes, killed while they write to real files.

use crate::harness::{append, entries, identity, record};
use crate::steps::Rng;
use crate::support::settings::{number, seed};
use raftyard::store::{LogStore, SegmentLogStore};
use raftyard_groups::{GroupId, LogIndex};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const DIR: &str = "RAFTYARD_TORTURE_DIR";
const KILLS: u64 = 20;
const GROUPS: u64 = 4;

/// Runs only as a child: writes, and says what is acknowledged, until it is killed.
#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut store = SegmentLogStore::open(Path::new(&dir), &identity()).unwrap();
    let found = store.recover().unwrap();
    if found.groups.is_empty() {
        let records: Vec<_> = (1..=GROUPS).map(record).collect();
        store.create(&records).unwrap();
    }
    let first = store.inspect(GroupId(1)).unwrap().state.last.0 + 1;
    let mut out = std::io::stdout();
    for index in first.. {
        let batch: Vec<_> = (1..=GROUPS).map(|group| append(group, entries(index, 1, 1))).collect();
        store.write(&batch).unwrap();
        writeln!(out, "acknowledged {index}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn killed_processes() {
    if std::env::var_os(DIR).is_some() {
        return;
    }
    let mut rng = Rng(seed());
    let kills = number("RAFTYARD_KILLS").unwrap_or(KILLS);
    let dir = TempDir::new().unwrap();
    let mut acknowledged = 0;
    for _ in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::writes_until_it_is_killed", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let patience = 1 + rng.below(60);
        let mut heard = 0;
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(index) = line.split("acknowledged ").nth(1) {
                acknowledged = index.trim().parse().unwrap();
                heard += 1;
            }
            if heard == patience {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it was killed counts too.
        for line in lines.map_while(Result::ok) {
            if let Some(Ok(index)) = line.split("acknowledged ").nth(1).map(|index| index.trim().parse()) {
                acknowledged = index;
            }
        }
        let mut store = SegmentLogStore::open(dir.path(), &identity()).unwrap();
        let found = store.recover().unwrap();
        assert_eq!((found.findings, found.lost), (Vec::new(), None));
        for found in found.groups {
            assert_eq!(found.damage, None);
            let last = found.state.last.0;
            assert!(
                (acknowledged..=acknowledged + 1).contains(&last),
                "{last}, not {acknowledged}"
            );
            let read = store.read(found.record.group, LogIndex(1), LogIndex(u64::MAX), usize::MAX);
            assert_eq!(read.unwrap(), entries(1, last, 1));
        }
    }
    println!("killed processes: {kills}, {acknowledged} batches, nothing lost");
}
