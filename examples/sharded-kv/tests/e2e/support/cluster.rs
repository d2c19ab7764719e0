//! A client of the whole cluster: it follows `MOVED` and tells a refusal from an unknown outcome.

use std::collections::HashMap;

use super::{Connection, Value};

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done(Value),
    /// It was not carried out, nor will be.
    Refused(String),
    /// It may have been carried out, or may yet be.
    Unknown(String),
}

/// Redirections followed for one command.
const REDIRECTIONS_MAX: usize = 5;

/// Connections to all nodes, opened as needed.
pub(crate) struct ClusterClient {
    nodes: Vec<String>,
    connections: HashMap<String, Connection>,
    /// The node that answered for a key last.
    homes: HashMap<String, String>,
    /// The node to ask about a key of which nothing is known.
    first: usize,
}

impl ClusterClient {
    pub(crate) fn new(nodes: &[String]) -> Self {
        Self {
            nodes: nodes.to_vec(),
            connections: HashMap::new(),
            homes: HashMap::new(),
            first: 0,
        }
    }

    /// Carries out `words` on the node that leads the group of `key`.
    pub(crate) fn command(&mut self, key: &str, words: &[&str]) -> Outcome {
        let mut address = match self.homes.get(key) {
            Some(home) => home.clone(),
            None => self.nodes[self.first % self.nodes.len()].clone(),
        };
        for _ in 0..REDIRECTIONS_MAX {
            match self.command_at(&address, words) {
                Outcome::Done(Value::Error(error)) => {
                    let Some(moved) = error.strip_prefix("MOVED ") else {
                        return self.sort(key, error);
                    };
                    address = moved.split_once(' ').unwrap().1.to_owned();
                    self.homes.insert(key.into(), address.clone());
                }
                Outcome::Done(value) => return Outcome::Done(value),
                failed => {
                    self.forget(key);
                    return failed;
                }
            }
        }
        self.forget(key);
        Outcome::Refused("too many redirections".into())
    }

    fn command_at(&mut self, address: &str, words: &[&str]) -> Outcome {
        let mut connection = match self.connections.remove(address) {
            Some(connection) => connection,
            None => match Connection::open(address) {
                Ok(connection) => connection,
                Err(error) => return Outcome::Refused(format!("{address}: {error}")),
            },
        };
        match connection.command(words) {
            Ok(value) => {
                self.connections.insert(address.to_owned(), connection);
                Outcome::Done(value)
            }
            Err(error) => Outcome::Unknown(format!("{address}: {error}")),
        }
    }

    /// An error is a refusal unless it says that the outcome is not known.
    fn sort(&mut self, key: &str, error: String) -> Outcome {
        let transient = ["CLUSTERDOWN", "TRYAGAIN", "BUSY", "UNKNOWN"];
        if transient.iter().any(|code| error.starts_with(code)) {
            self.forget(key);
        }
        if error.starts_with("UNKNOWN") {
            Outcome::Unknown(error)
        } else {
            Outcome::Refused(error)
        }
    }

    /// Asks another node about `key` next time.
    fn forget(&mut self, key: &str) {
        self.homes.remove(key);
        self.first += 1;
    }
}
