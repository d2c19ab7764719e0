//! A cluster of three nodes in one process.

use super::{Connection, Process, STEADY_MS, Value, eventually, free_dev_port};

/// Both versions of the protocol, with the null of each.
pub(crate) const VERSIONS: [(&str, Value); 2] = [("2", Value::Null2), ("3", Value::Null3)];

/// A running cluster.
pub(crate) struct Dev {
    _process: Process,
    pub(crate) nodes: Vec<String>,
    _data: tempfile::TempDir,
}

impl Dev {
    /// Starts it with 6 groups and further options.
    pub(crate) fn start(options: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = free_dev_port(3);
        let (port_text, path) = (port.to_string(), data.path().to_str().unwrap());
        let arguments = ["dev", "--groups", "6", "--port", &port_text, "--data", path];
        let mut process = Process::spawn(&[&arguments, options].concat());
        process.line("cluster ready");
        Self {
            _process: process,
            nodes: (0..3).map(|node| format!("127.0.0.1:{}", port + node)).collect(),
            _data: data,
        }
    }

    /// The same with leaders that stay.
    pub(crate) fn steady(options: &[&str]) -> Self {
        let timeout = STEADY_MS.to_string();
        Self::start(&[&["--election-timeout-ms", &timeout], options].concat())
    }

    pub(crate) fn node(&self, place: usize) -> Connection {
        Connection::open(&self.nodes[place]).unwrap()
    }

    /// The place of the node that leads the group of `key`.
    pub(crate) fn leader_of(&self, key: &str) -> usize {
        let leads = |place: &usize| {
            let mut connection = self.node(*place);
            connection.command(&["RAFTYARD", "DIRECT"]).unwrap();
            !matches!(connection.command(&["GET", key]).unwrap(), Value::Error(_))
        };
        eventually("a node leads the group", || (0..self.nodes.len()).find(leads))
    }
}
