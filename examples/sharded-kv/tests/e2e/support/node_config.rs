//! A cluster of `server` processes.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::{Connection, Process, STEADY_MS, Value, eventually, free_ports, run_to_end};

/// Configurations and processes of a cluster; the nodes are numbered from 1.
pub(crate) struct ServerCluster {
    dir: tempfile::TempDir,
    groups: u16,
    proxy: bool,
    is_steady: bool,
    resp: Vec<u16>,
    peer: Vec<u16>,
    processes: Vec<Option<Process>>,
}

impl ServerCluster {
    /// Writes the configurations; nothing runs yet.
    pub(crate) fn new(nodes: usize, groups: u16) -> Self {
        Self::write(nodes, groups, false, false)
    }

    /// The same with nodes that forward commands.
    pub(crate) fn with_proxy(nodes: usize, groups: u16, proxy: bool) -> Self {
        Self::write(nodes, groups, proxy, false)
    }

    /// One whose leaders stay, for tests in which no leader is killed.
    pub(crate) fn steady(nodes: usize, groups: u16) -> Self {
        Self::write(nodes, groups, false, true)
    }

    /// The same with nodes that forward commands.
    pub(crate) fn steady_with_proxy(nodes: usize, groups: u16, proxy: bool) -> Self {
        Self::write(nodes, groups, proxy, true)
    }

    fn write(nodes: usize, groups: u16, proxy: bool, is_steady: bool) -> Self {
        let mut resp = free_ports(nodes * 2);
        let peer = resp.split_off(nodes);
        let cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            groups,
            proxy,
            is_steady,
            resp,
            peer,
            processes: (0..nodes).map(|_| None).collect(),
        };
        for node in 1..=nodes {
            std::fs::write(cluster.config_path(node), cluster.config(node)).unwrap();
        }
        cluster
    }

    pub(crate) fn config_path(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}.toml"))
    }

    pub(crate) fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("data-{node}"))
    }

    /// The text of a node's configuration.
    pub(crate) fn config(&self, node: usize) -> String {
        let mut text = format!(
            "cluster = \"test\"\nnode = {node}\nlisten_resp = \"{}\"\nlisten_peer = \"127.0.0.1:{}\"\ndata = {:?}\n\
             groups = {}\nworkers = 1\nproxy = {}\n",
            self.resp(node),
            self.peer[node - 1],
            self.data_dir(node),
            self.groups,
            self.proxy,
        );
        if self.is_steady {
            writeln!(text, "election_timeout_ms = {STEADY_MS}").unwrap();
        }
        for other in (1..=self.processes.len()).filter(|other| *other != node) {
            write!(
                text,
                "[[peers]]\nnode = {other}\npeer = \"127.0.0.1:{}\"\nresp = \"{}\"\n",
                self.peer[other - 1],
                self.resp(other),
            )
            .unwrap();
        }
        text
    }

    /// Adds a line to the configuration of every node.
    pub(crate) fn configure(&self, line: &str) {
        for node in 1..=self.processes.len() {
            self.configure_node(node, line);
        }
    }

    /// Adds lines to the configuration of one node, before its peers.
    pub(crate) fn configure_node(&self, node: usize, lines: &str) {
        let path = self.config_path(node);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{lines}\n{text}")).unwrap();
    }

    /// Adds a node that joins the cluster, and is told of nobody; returns its number. Nothing runs yet.
    pub(crate) fn add_joining(&mut self) -> usize {
        let ports = free_ports(2);
        self.resp.push(ports[0]);
        self.peer.push(ports[1]);
        self.processes.push(None);
        let node = self.processes.len();
        let text = self.config(node);
        let (own, _) = text.split_once("[[peers]]").unwrap();
        std::fs::write(self.config_path(node), format!("{own}join = true\n")).unwrap();
        node
    }

    /// Where the other nodes reach the node.
    pub(crate) fn peer(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.peer[node - 1])
    }

    /// Runs `ctl` against a node and returns what it printed.
    pub(crate) fn ctl(&self, node: usize, words: &[&str]) -> String {
        self.ctl_with(node, &[], words)
    }

    /// The same with options.
    pub(crate) fn ctl_with(&self, node: usize, options: &[&str], words: &[&str]) -> String {
        let at = self.resp(node);
        let output = run_to_end(&[&["ctl", "--node", &at], options, words].concat());
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{words:?}: {out}{err}");
        out.into_owned()
    }

    /// Where clients find the node.
    pub(crate) fn resp(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.resp[node - 1])
    }

    pub(crate) fn all_resp(&self) -> Vec<String> {
        (1..=self.processes.len()).map(|node| self.resp(node)).collect()
    }

    /// The node that leads the group of `key`, as it says itself.
    pub(crate) fn leader_of(&self, key: &str) -> usize {
        let leads = |node: &usize| {
            let mut connection = Connection::open(&self.resp(*node)).unwrap();
            connection.command(&["RAFTYARD", "DIRECT"]).unwrap();
            !matches!(connection.command(&["GET", key]).unwrap(), Value::Error(_))
        };
        eventually("a node leads the group", || (1..=self.processes.len()).find(leads))
    }

    pub(crate) fn start(&mut self, node: usize) {
        let config = self.config_path(node);
        let process = Process::spawn(&["server", "--config", config.to_str().unwrap()]);
        self.processes[node - 1] = Some(process);
    }

    /// Starts the node with so many open files at most.
    pub(crate) fn start_with_files(&mut self, node: usize, files: usize) {
        let config = self.config_path(node);
        let arguments = ["server", "--config", config.to_str().unwrap()];
        self.processes[node - 1] = Some(Process::spawn_with_files(files, &arguments));
    }

    pub(crate) fn start_all(&mut self) {
        for node in 1..=self.processes.len() {
            self.start(node);
        }
        for node in 1..=self.processes.len() {
            self.wait_ready(node);
        }
    }

    /// Waits until the node knows a leader of every group.
    pub(crate) fn wait_ready(&mut self, node: usize) -> String {
        let process = self.processes[node - 1].as_mut().expect("it runs");
        process.line(&format!("node {node} ready"))
    }

    /// Asks the node to end and returns how it did.
    pub(crate) fn terminate(&mut self, node: usize) -> ExitStatus {
        self.processes[node - 1].take().expect("it runs").terminate()
    }

    /// Stops the node as if its machine hung: its connections stay open.
    pub(crate) fn freeze(&mut self, node: usize) {
        self.processes[node - 1].as_mut().expect("it runs").freeze();
    }

    /// What the node has logged.
    pub(crate) fn stderr(&self, node: usize) -> String {
        self.processes[node - 1].as_ref().expect("it runs").stderr()
    }

    /// Memory that the node has in use, in bytes.
    pub(crate) fn memory_bytes(&self, node: usize) -> u64 {
        self.processes[node - 1].as_ref().expect("it runs").memory_bytes()
    }

    /// Files that the node has open, sockets too.
    pub(crate) fn open_files(&self, node: usize) -> usize {
        self.processes[node - 1].as_ref().expect("it runs").open_files()
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.processes[node - 1].take().expect("it runs").kill();
    }
}
