//! System calls of a real process on real files: which there are, and what comes of it if one of them fails, or if the
//! process is killed in its place. By strace, from outside: so what runs is what ships.
//!
//! A call is known by its name, its file, and how many of this name on this file the thread made before: that is how
//! strace counts. Two threads that make the same calls on the same file are not told apart.

use super::child::{Child, End};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Calls that change something. Of `openat` those that may create a file.
const CHANGES: &str = "write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate,fallocate,rename,renameat,renameat2,unlink,\
                       unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,copy_file_range";
/// Calls that can fail beside them.
const OTHERS: &str = "openat,read,pread64,getdents64";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Below the directory of the child; empty if it is that directory.
    pub(crate) path: PathBuf,
    /// From 1 on.
    pub(crate) number: u64,
    /// Whether it changes something, or may.
    pub(crate) is_change: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The process is killed instead.
    Kill,
    /// It fails with this error. What it was to do is not done.
    Fails(&'static str),
    /// And so do all of its name on this file from then on.
    FailsFromThenOn(&'static str),
}

/// Whether calls can be made to fail here. If not, says so.
pub(crate) fn can_fail() -> bool {
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .output();
    let why = match traced {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    println!("strace can't trace here: NO CALL FAILS, NOBODY IS KILLED AT ONE ({why})");
    false
}

impl Child {
    /// All calls that it makes if nothing goes wrong, each once, in the order of their first threads. It works in `dir`.
    pub(crate) fn calls(&self, dir: &Path) -> Vec<Call> {
        let (end, trace) = self.run_traced(dir, &["-y"], &format!("{CHANGES},{OTHERS}"));
        assert!(end.is_well, "without a fault: {}", end.output);
        let (mut counts, mut calls) = (BTreeMap::new(), Vec::new());
        for line in trace.lines() {
            let Some((thread, name, path)) = parse(line) else {
                continue;
            };
            // What has another name each time is not found again.
            let Ok(path) = path.strip_prefix(dir) else { continue };
            if path.to_string_lossy().contains("/.tmp") {
                continue;
            }
            let count: &mut u64 = counts.entry((thread, name, path)).or_default();
            *count += 1;
            let call = Call {
                name: name.to_owned(),
                path: path.to_owned(),
                number: *count,
                is_change: !OTHERS.split(',').any(|other| other == name) || line.contains("O_CREAT"),
            };
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
        calls
    }

    /// Runs it in `dir` with a fault at a call, and these that fail beside it: by their names, on the same file.
    pub(crate) fn run(&self, dir: &Path, call: &Call, fault: Fault, beside: Option<(&str, &str)>) -> End {
        let Call { name, path, number, .. } = call;
        let what = match fault {
            Fault::Kill => format!("signal=KILL:when={number}"),
            Fault::Fails(error) => format!("error={error}:when={number}"),
            Fault::FailsFromThenOn(error) => format!("error={error}:when={number}+"),
        };
        let path = if path.as_os_str().is_empty() {
            dir.to_owned()
        } else {
            dir.join(path)
        };
        let what = format!("inject={name}:{what}");
        let mut words = vec!["-P", path.to_str().unwrap(), "-e", &what];
        let beside = beside.map(|(name, error)| (name, format!("inject={name}:error={error}")));
        let mut names = name.clone();
        if let Some((name, what)) = &beside {
            words.extend(["-e", what]);
            names = format!("{names},{name}");
        }
        let (mut end, trace) = self.run_traced(dir, &words, &names);
        end.is_hit = match fault {
            Fault::Kill => trace.contains("+++ killed by SIGKILL"),
            _ => trace.contains("(INJECTED)"),
        };
        end
    }

    fn run_traced(&self, dir: &Path, words: &[&str], names: &str) -> (End, String) {
        let own = TempDir::new().unwrap();
        let (trace, names) = (own.path().join("trace"), format!("trace={names}"));
        // Of what calls are given only paths are printed.
        let strace = [
            "strace",
            "-f",
            "-qq",
            "-s",
            "0",
            "-o",
            trace.to_str().unwrap(),
            "-e",
            &names,
        ];
        let end = self.run_by(&[&strace, words].concat(), dir);
        (
            end,
            String::from_utf8_lossy(&fs::read(&trace).unwrap_or_default()).into_owned(),
        )
    }
}

/// Of a line of a trace: thread, name of the call, file. A call that is resumed was seen before.
fn parse(line: &str) -> Option<(&str, &str, &Path)> {
    let (thread, rest) = line.split_once(' ')?;
    let (name, arguments) = rest.trim_start().split_once('(')?;
    // Of a file that is open its name follows in angle brackets; else it is the first text.
    let path = if arguments.starts_with(|first: char| first.is_ascii_digit()) {
        arguments.split_once('<')?.1.split_once('>')?.0
    } else {
        arguments.split_once('"')?.1.split_once('"')?.0
    };
    (!name.contains(' ')).then_some((thread, name, Path::new(path)))
}

/// These, in another order: first one of each kind, then the others. Who takes only some takes of all kinds.
pub(crate) fn mixed<T, K: Ord>(mut all: Vec<T>, kind: impl Fn(&T) -> K, mut below: impl FnMut(u64) -> u64) -> Vec<T> {
    for at in (1..all.len()).rev() {
        all.swap(at, usize::try_from(below(at as u64 + 1)).unwrap());
    }
    let mut kinds = BTreeSet::new();
    let (mut first, rest): (Vec<T>, Vec<T>) = all.into_iter().partition(|one| kinds.insert(kind(one)));
    first.extend(rest);
    first
}
