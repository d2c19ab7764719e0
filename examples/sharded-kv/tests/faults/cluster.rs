//! Machines, each with a disk and a node, and their network. One machine more than there are nodes: a new node comes
//! there in the place of one that is wiped.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::Disk;
use crate::network::Network;
use crate::node::Node;
use crate::plan::Fault;
use crate::random::Random;
use crate::system::poll;

pub(crate) const GROUPS: u16 = 16;

/// For one command of the operator.
const OPERATOR: Duration = Duration::from_secs(30);

/// For so long after its disk was full a process may end because of that: a shutdown takes its time, and may be paused.
const EXCUSED: Duration = Duration::from_secs(20);

/// How a cluster is set up: drawn from the seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    /// Whether keys are on disk.
    pub(crate) on_disk: bool,
    /// Whether nodes forward commands.
    pub(crate) proxy: bool,
    /// Whether nodes answer reads after `READONLY` with what they have.
    pub(crate) stale: bool,
    /// Writes to a group after which its log is compacted.
    pub(crate) snapshot_entries: u64,
    /// Whether a node that is wiped is started again, as if nothing had happened.
    pub(crate) wiped_starts: bool,
}

impl Setup {
    pub(crate) fn draw(random: &mut Random) -> Self {
        Self {
            nodes: if random.one_in(5) { 5 } else { 3 },
            on_disk: random.one_in(3),
            proxy: random.one_in(4),
            stale: false,
            snapshot_entries: 20 + random.below(400),
            wiped_starts: random.one_in(2),
        }
    }

    /// The machine where a new node may come.
    pub(crate) fn spare(self) -> usize {
        self.nodes + 1
    }
}

pub(crate) struct Cluster {
    setup: Setup,
    dir: PathBuf,
    // Processes end before what they use goes.
    nodes: Vec<Node>,
    disks: Vec<Disk>,
    pub(crate) network: Arc<Network>,
    /// How many faults cut each direction.
    cuts: HashMap<(usize, usize), usize>,
    full: Vec<bool>,
    /// When each disk was full last.
    was_full: Vec<Option<Instant>>,
}

impl Cluster {
    /// Starts its nodes. `name` tells it from other clusters of this process.
    pub(crate) fn start(setup: Setup, name: &str, dir: &Path, loopback: bool) -> Self {
        let machines = setup.spare();
        let network = Arc::new(Network::new(name, machines, loopback));
        let disks = (1..=machines).map(|machine| Disk::new(dir.join(format!("disk-{machine}"))));
        let node = |machine: usize| {
            let (config, log) = (format!("node-{machine}.toml"), format!("node-{machine}.log"));
            Node::new(machine, dir.join(config), dir.join(log))
        };
        let mut cluster = Self {
            setup,
            dir: dir.to_owned(),
            nodes: (1..=machines).map(node).collect(),
            disks: disks.collect(),
            network,
            cuts: HashMap::new(),
            full: vec![false; machines],
            was_full: vec![None; machines],
        };
        for machine in 1..=machines {
            let path = dir.join(format!("node-{machine}.toml"));
            fs::write(path, cluster.config(machine)).unwrap();
        }
        cluster.nodes[..setup.nodes].iter_mut().for_each(Node::want);
        cluster
    }

    fn config(&self, node: usize) -> String {
        let (resp, peer) = (self.network.resp(node), self.network.peer(node));
        let setup = self.setup;
        let mut text = format!(
            "cluster = \"faults\"\nnode = {node}\nlisten_resp = {resp:?}\nlisten_peer = {peer:?}\ndata = {:?}\n\
             groups = {GROUPS}\nworkers = 1\nproxy = {}\nstate = {:?}\nsnapshot_entries = {}\n",
            self.disks[node - 1].data(),
            setup.proxy,
            if setup.on_disk { "disk" } else { "memory" },
            setup.snapshot_entries,
        );
        if setup.stale {
            text.push_str("reads = \"stale\"\n");
        }
        if node == setup.spare() {
            text.push_str("join = true\n");
            return text;
        }
        for other in (1..=setup.nodes).filter(|other| *other != node) {
            let (resp, peer) = (self.network.resp(other), self.network.peer(other));
            write!(text, "[[peers]]\nnode = {other}\npeer = {peer:?}\nresp = {resp:?}\n").unwrap();
        }
        text
    }

    /// Where clients find all machines, the spare one too.
    pub(crate) fn all_resp(&self) -> Vec<String> {
        (1..=self.setup.spare())
            .map(|machine| self.network.resp(machine))
            .collect()
    }

    pub(crate) fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(node) => self.nodes[node - 1].kill(),
            Fault::KillAll => self.nodes.iter_mut().for_each(Node::kill),
            Fault::Pause(node) => self.nodes[node - 1].pause(),
            Fault::Restart(node) => self.nodes[node - 1].terminate(),
            Fault::Wipe(node) => {
                self.nodes[node - 1].kill();
                self.disks[node - 1].wipe();
                if self.setup.wiped_starts {
                    self.nodes[node - 1].want();
                }
                self.nodes[self.setup.nodes].want();
            }
            Fault::Loss(node, percent) => self.network.set_loss(node, percent),
            Fault::Delay(node, millis) => self.network.set_delay(node, millis),
            Fault::FullDisk(node) => {
                self.full[node - 1] = true;
                self.disks[node - 1].fill();
            }
            _ => {}
        }
        for (from, to) in fault.cuts(self.setup.spare()) {
            let count = self.cuts.entry((from, to)).or_default();
            *count += 1;
            if *count == 1 {
                self.network.cut(from, to);
            }
        }
    }

    pub(crate) fn end(&mut self, fault: Fault, wiped: Option<usize>) {
        match fault {
            Fault::Kill(node) | Fault::Restart(node) => self.nodes[node - 1].want(),
            Fault::KillAll => {
                let spare = self.setup.spare();
                let is_wanted = |node: &usize| match wiped {
                    Some(wiped) => *node != wiped || self.setup.wiped_starts,
                    None => *node != spare,
                };
                let wanted = (1..=spare).filter(is_wanted);
                wanted.for_each(|node| self.nodes[node - 1].want());
            }
            Fault::Pause(node) => self.nodes[node - 1].go_on(),
            Fault::Loss(node, _) => self.network.set_loss(node, 0),
            Fault::Delay(node, _) => self.network.set_delay(node, 0),
            Fault::FullDisk(node) => {
                self.full[node - 1] = false;
                self.was_full[node - 1] = Some(Instant::now());
                self.disks[node - 1].free();
            }
            _ => {}
        }
        for (from, to) in fault.cuts(self.setup.spare()) {
            let count = self.cuts.entry((from, to)).or_default();
            *count -= 1;
            if *count == 0 {
                self.network.mend(from, to);
            }
        }
    }

    /// Starts what is meant to run. Returns what processes should not have done: one whose disk is full may end.
    pub(crate) fn tend(&mut self) -> Vec<String> {
        for (was_full, _) in self
            .was_full
            .iter_mut()
            .zip(&self.full)
            .filter(|(_, is_full)| **is_full)
        {
            *was_full = Some(Instant::now());
        }
        let mut complaints = Vec::new();
        for (node, was_full) in self.nodes.iter_mut().zip(&self.was_full) {
            let may_fail = was_full.is_some_and(|at| at.elapsed() < EXCUSED);
            complaints.extend(node.tend(&self.network, may_fail));
        }
        complaints
    }

    /// Whether a machine's node ever ended without being killed.
    pub(crate) fn has_ended(&self, machine: usize) -> bool {
        self.nodes.get(machine - 1).is_some_and(Node::has_ended)
    }

    /// Whether a machine's node said this in its log.
    pub(crate) fn has_said(&self, machine: usize, text: &str) -> bool {
        let said = fs::read_to_string(self.dir.join(format!("node-{machine}.log")));
        said.is_ok_and(|said| said.contains(text))
    }

    /// What a node said in its log that it never should.
    pub(crate) fn panics(&self) -> Vec<String> {
        let text = |node| fs::read_to_string(self.dir.join(format!("node-{node}.log"))).unwrap_or_default();
        let found = (1..=self.setup.spare()).filter_map(|node| {
            let text = text(node);
            let line = text.lines().find(|line| line.contains("panicked at"))?;
            Some(format!("node {node}: {line}"))
        });
        found.collect()
    }

    pub(crate) fn operator(&self) -> Operator {
        Operator {
            resp: self.all_resp(),
            peer: self.network.peer(self.setup.spare()),
            log: self.dir.join("operator.log"),
        }
    }
}

/// Replaces nodes as an operator does.
pub(crate) struct Operator {
    resp: Vec<String>,
    peer: String,
    log: PathBuf,
}

impl Operator {
    /// Tries once to let the spare node take the place of the wiped one, in a thread that is where clients are; whether
    /// it is done.
    pub(crate) fn replace(&self, wiped: usize, random: &mut Random) -> bool {
        let new = self.resp.len();
        let at = loop {
            let node = random.place(new - 1) + 1;
            if node != wiped {
                break &self.resp[node - 1];
            }
        };
        let (wiped, new_number, resp) = (wiped.to_string(), new.to_string(), &self.resp[new - 1]);
        self.ctl(at, &["add-node", &new_number, "--peer", &self.peer, "--resp", resp]);
        self.ctl(at, &["replace", &wiped, &new_number])
    }

    fn ctl(&self, at: &str, words: &[&str]) -> bool {
        let mut log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        std::io::Write::write_all(&mut log, format!("--- at {at}: {words:?}\n").as_bytes()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_raftyard-kv"));
        command.args(["ctl", "--node", at]).args(words).stdin(Stdio::null());
        let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let status = poll(OPERATOR, || child.try_wait().unwrap());
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        status.is_some_and(|status| status.success())
    }
}
