//! The binary as a child process, which never outlives its test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use super::{DEADLINE, eventually};

/// A running `raftyard-kv`.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    stderr: PathBuf,
    _stderr_dir: tempfile::TempDir,
}

impl Process {
    pub(crate) fn spawn(arguments: &[&str]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_raftyard-kv")).args(arguments))
    }

    /// The same with so many open files at most.
    pub(crate) fn spawn_with_files(files: usize, arguments: &[&str]) -> Self {
        let script = format!("ulimit -n {files} && exec \"$@\"");
        let binary = env!("CARGO_BIN_EXE_raftyard-kv");
        Self::run(Command::new("sh").args(["-c", &script, "sh", binary]).args(arguments))
    }

    fn run(command: &mut Command) -> Self {
        let stderr_dir = tempfile::tempdir().unwrap();
        let stderr = stderr_dir.path().join("stderr");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            stderr,
            _stderr_dir: stderr_dir,
        }
    }

    /// The next line of standard output that begins with `beginning`.
    pub(crate) fn line(&mut self, beginning: &str) -> String {
        let start = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(start.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(beginning) => return line,
                Ok(_) => {}
                Err(_) => panic!("no line {beginning:?}, standard error:\n{}", self.stderr()),
            }
        }
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Memory that the process has in use, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Files that the process has open, sockets too.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// Ends the process without a warning (SIGKILL).
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops the process where it is (SIGSTOP).
    pub(crate) fn freeze(&mut self) {
        self.signal("-STOP");
    }

    /// Asks the process to end (SIGTERM) and returns how it did.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        eventually("the process ends after SIGTERM", || self.child.try_wait().unwrap())
    }

    fn signal(&self, signal: &str) {
        let kill = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- standard error of the process:\n{}", self.stderr());
        }
    }
}

/// Runs the binary with arguments that it must refuse, and returns what it said.
pub(crate) fn run_to_end(arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_raftyard-kv"))
        .args(arguments)
        .env("RUST_LOG", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("{arguments:?} is still running: {:?}", child.wait_with_output());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}
