//! Commands of the system, and what a run must leave nothing behind of: processes, namespaces and mounts. All of them
//! carry the number of the process that made them, so that those of a killed run are known.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What the names of namespaces begin with, before the number of the process.
const NAMESPACES: &str = "raftyard-faults-";

/// Held while something is made that has to be removed again. Once the test was interrupted it is never free again.
static MAKING: Mutex<()> = Mutex::new(());

pub(crate) fn making() -> MutexGuard<'static, ()> {
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command; its standard error if it fails.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let failed = |why: &str| format!("{}: {}", words.join(" "), why.trim());
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(&error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(&String::from_utf8_lossy(&output.stderr)))
    }
}

fn output(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// The name of a namespace of this process.
pub(crate) fn namespace(name: &str) -> String {
    format!("{NAMESPACES}{}-{name}", std::process::id())
}

/// Where all runs of all processes keep what they write.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults")
}

/// Where the runs of this process do.
pub(crate) fn own_dir() -> PathBuf {
    root().join(std::process::id().to_string())
}

/// Removes what runs left behind that were killed.
pub(crate) fn sweep_leftovers() {
    let dirs = names_in(&root()).into_iter().filter_map(|name| name.parse().ok());
    let spaces = names_in(Path::new("/run/netns"));
    let spaces = spaces.iter().filter_map(|name| owner(name));
    let mut pids: Vec<u32> = dirs.chain(spaces).collect();
    pids.sort_unstable();
    pids.dedup();
    for pid in pids.into_iter().filter(|pid| !is_run(*pid)) {
        println!("removing what run {pid} left behind");
        sweep(pid);
    }
}

/// Removes everything that process `pid` made. Each step may fail because there is nothing to do.
fn sweep(pid: u32) {
    let dir = root().join(pid.to_string());
    for node in nodes_of(&dir) {
        let _ = run(&["kill", "-KILL", &node]);
    }
    for space in names_in(Path::new("/run/netns")) {
        if owner(&space) == Some(pid) {
            // What an operator's command is about.
            for process in output(&["ip", "netns", "pids", &space]).lines() {
                let _ = run(&["kill", "-KILL", process]);
            }
            let _ = run(&["ip", "netns", "delete", &space]);
        }
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| Path::new(point).starts_with(&dir)) {
        let _ = run(&["umount", "--lazy", point]);
    }
    let _ = fs::remove_dir_all(dir);
}

/// The processes whose configuration is in `dir`.
fn nodes_of(dir: &Path) -> Vec<String> {
    let is_node = |pid: &String| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words.any(|word| std::str::from_utf8(word).is_ok_and(|word| Path::new(word).starts_with(dir)))
    };
    let pids = names_in(Path::new("/proc")).into_iter();
    pids.filter(|name| name.parse::<u32>().is_ok())
        .filter(is_node)
        .collect()
}

/// The process that made a namespace, if it is one of these tests.
fn owner(space: &str) -> Option<u32> {
    space.strip_prefix(NAMESPACES)?.split('-').next()?.parse().ok()
}

/// Whether `pid` is alive and, as far as can be seen, this test.
fn is_run(pid: u32) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.starts_with("faults-")
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// From now on SIGINT and SIGTERM remove everything before they end the process.
pub(crate) fn clean_up_when_interrupted() {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut interrupt = signal(SignalKind::interrupt()).unwrap();
            let mut terminate = signal(SignalKind::terminate()).unwrap();
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        let _nothing_more = making();
        eprintln!("interrupted: removing processes, namespaces and mounts");
        sweep(std::process::id());
        std::process::exit(130);
    });
}

/// Looks until `condition` gives something, for as long as `deadline`.
pub(crate) fn poll<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let start = std::time::Instant::now();
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if start.elapsed() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
