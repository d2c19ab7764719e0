//! A node's process, which is started again whenever it is not meant to be down.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::network::Network;
use crate::system::{making, run};

const SIGTERM: i32 = 15;

/// Until a process that ended by itself is started again.
const RESTART: Duration = Duration::from_millis(300);

/// Longer than a node may take to end after SIGTERM: it answers clients for 5 s, hands over, and closes its logs.
const TERMINATE: Duration = Duration::from_secs(40);

pub(crate) struct Node {
    number: usize,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// Whether it is meant to run.
    wanted: bool,
    /// Since when it was asked to end.
    ending: Option<Instant>,
    /// Whether it had asked for the signal by then: one that was started just before is ended by it.
    catches: bool,
    ended: Option<Instant>,
}

impl Node {
    pub(crate) fn new(number: usize, config: PathBuf, log: PathBuf) -> Self {
        Self {
            number,
            config,
            log,
            child: None,
            wanted: false,
            ending: None,
            catches: false,
            ended: None,
        }
    }

    /// It is to run from now on: [`Self::tend`] sees to it.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    fn start(&mut self, network: &Network) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_raftyard-kv"));
        command
            .args(["server", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let _making = making();
        self.child = Some(network.on(self.number, || command.spawn()).unwrap());
        self.ending = None;
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) {
        self.wanted = false;
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&mut self) {
        self.wanted = false;
        self.ending = Some(Instant::now());
        let pid = self.child.as_ref().map(Child::id);
        let status = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
        self.catches = status.is_some_and(|status| catches(SIGTERM, &status));
        self.signal("-TERM");
    }

    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        if let Some(child) = &self.child {
            // It may have ended: then there is nothing to do.
            let _ = run(&["kill", signal, &child.id().to_string()]);
        }
    }

    /// Starts it if it is meant to run and does not. Returns what it should not have done; `may_fail` says that its disk lets it
    /// end with status 1.
    pub(crate) fn tend(&mut self, network: &Network, may_fail: bool) -> Option<String> {
        let number = self.number;
        let complaint = match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => {
                self.child = None;
                self.ended = Some(Instant::now());
                self.judge(status, may_fail)
            }
            Some(Ok(None)) if self.ending.is_some_and(|since| since.elapsed() > TERMINATE) => {
                self.ending = None;
                Some(format!("node {number} did not end within {TERMINATE:?} of SIGTERM"))
            }
            _ => None,
        };
        let is_due = self.ended.is_none_or(|ended| ended.elapsed() > RESTART);
        if self.wanted && self.child.is_none() && is_due {
            self.start(network);
        }
        complaint
    }

    /// Whether its process ever ended without being killed.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    fn judge(&mut self, status: ExitStatus, may_fail: bool) -> Option<String> {
        let number = self.number;
        match self.ending.take() {
            _ if may_fail && status.code() == Some(1) => None,
            Some(_) if status.success() => None,
            Some(_) if !self.catches && status.signal() == Some(SIGTERM) => None,
            Some(_) => Some(format!("node {number} ended after SIGTERM with {status}")),
            None => Some(format!("node {number} ended by itself with {status}")),
        }
    }
}

/// Whether a process has a handler for the signal, by what `/proc/PID/status` says of it.
fn catches(signal: i32, status: &str) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn a_process_says_which_signals_it_catches() {
    let status = "SigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\nCapInh:\t0000000000000000\n";
    assert!(catches(SIGTERM, status) && catches(2, status));
    assert!(!catches(14, status) && !catches(16, status));
    assert!(
        !catches(SIGTERM, "SigIgn:\t0000000000004000\n"),
        "what is ignored is not caught"
    );
}
