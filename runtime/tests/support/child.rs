//! Children: processes of this test's own program that run one of its tests, each in a directory of its own.

use super::settings::seed;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What a child knows by that it is one: where it works.
const DIR: &str = "RAFTYARD_CHILD_DIR";

/// Files in memory.
const MEMORY: &str = "/dev/shm";
/// A child writes some 40 MB; containers often give all of them 64 MB.
const MEGABYTES_MIN: u64 = 500;

/// A child that takes longer has hung: it is killed, and did not end well.
const SECONDS_MAX: &str = "60";

/// A child: a test of the program that this is called in.
pub(crate) struct Child {
    pub(crate) test: &'static str,
    pub(crate) seed: u64,
}

/// What became of a child.
pub(crate) struct End {
    /// Whether what was to happen to it did.
    pub(crate) is_hit: bool,
    /// Whether it came to its end, and nothing that it asserts was wrong.
    pub(crate) is_well: bool,
    /// What it said by [`say`].
    pub(crate) said: Vec<String>,
    /// All that it wrote.
    pub(crate) output: String,
}

/// Where a child works, and its seed; none in what is no child.
pub(crate) fn as_child() -> Option<(PathBuf, u64)> {
    let dir = std::env::var_os(DIR)?;
    Some((dir.into(), seed()))
}

/// Tells the parent. It counts from when this returns.
pub(crate) fn say(what: &str) {
    println!("said: {what}");
}

/// A directory for a child: where `RAFTYARD_CALLS_IN` says, or in memory, where a sync costs nothing, if there is such a
/// place, and room for several.
pub(crate) fn scratch() -> TempDir {
    match std::env::var_os("RAFTYARD_CALLS_IN") {
        Some(dir) => TempDir::new_in(dir).unwrap(),
        None if megabytes_left(MEMORY) > MEGABYTES_MIN => TempDir::new_in(MEMORY).unwrap(),
        None => TempDir::new().unwrap(),
    }
}

/// None where there is no such place, or nothing that says it.
fn megabytes_left(place: &str) -> u64 {
    let output = Command::new("df")
        .args(["--block-size=1M", "--output=avail", place])
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let last = text.ok().and_then(|text| text.lines().last()?.trim().parse().ok());
    last.unwrap_or(0)
}

impl Child {
    /// Runs it by these words, in `dir`.
    pub(crate) fn run_by(&self, words: &[&str], dir: &Path) -> End {
        let output = Command::new("timeout")
            .args(["--kill-after=5", SECONDS_MAX])
            .args(words)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", self.test, "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .env("RAFTYARD_SEED", self.seed.to_string())
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let out = text(&output.stdout);
        let said = out.lines().filter_map(|line| line.split("said: ").nth(1));
        End {
            is_hit: false,
            is_well: output.status.success() && out.contains("1 passed"),
            said: said.map(str::to_owned).collect(),
            output: out.clone() + &text(&output.stderr),
        }
    }
}
