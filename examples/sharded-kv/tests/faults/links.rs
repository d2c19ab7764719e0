//! A client's connections to all nodes, which tell a refusal from an outcome that nobody knows.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

use crate::random::Random;
use crate::resp::{Connection, Value, encode};

/// Clients are always near: a node that does not take a connection in this time is not there.
const CONNECT: Duration = Duration::from_secs(1);

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Told(Value),
    /// Another node is to be asked; this one did nothing.
    Moved(String),
    /// It was not carried out, nor will be.
    Refused(String),
    /// It may have been carried out, or may yet be.
    Unknown,
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Error(error) => match error.strip_prefix("MOVED ").and_then(|moved| moved.split_once(' ')) {
                Some((_, address)) => Self::Moved(address.to_owned()),
                None if error.starts_with("UNKNOWN") => Self::Unknown,
                None => Self::Refused(error),
            },
            value => Self::Told(value),
        }
    }
}

pub(crate) struct Links {
    nodes: Vec<String>,
    open: HashMap<String, Connection>,
    /// Where each unit was answered last.
    homes: HashMap<usize, String>,
    /// How long a reply is waited for.
    patience: Duration,
    /// Whether followers are asked for reads.
    readonly: bool,
}

impl Links {
    pub(crate) fn new(nodes: &[String], patience: Duration, readonly: bool) -> Self {
        Self {
            nodes: nodes.to_vec(),
            open: HashMap::new(),
            homes: HashMap::new(),
            patience,
            readonly,
        }
    }

    /// The node that answered for the unit last, or any.
    pub(crate) fn home(&self, unit: usize, random: &mut Random) -> String {
        match self.homes.get(&unit) {
            Some(home) => home.clone(),
            None => self.any(random),
        }
    }

    pub(crate) fn any(&self, random: &mut Random) -> String {
        self.nodes[random.place(self.nodes.len())].clone()
    }

    /// Notes where a unit was said to be, or that it is not where it was thought to be.
    pub(crate) fn learn(&mut self, unit: usize, address: &str, reply: &Reply) {
        match reply {
            Reply::Told(_) => self.homes.insert(unit, address.to_owned()),
            Reply::Moved(elsewhere) => self.homes.insert(unit, elsewhere.clone()),
            Reply::Refused(_) | Reply::Unknown => self.homes.remove(&unit),
        };
    }

    /// Sends commands to one node, all at once, and hands out each reply as it comes. If there is no connection, nothing
    /// was sent, and all are refused.
    pub(crate) fn exchange(&mut self, address: &str, commands: &[Vec<String>], mut reply: impl FnMut(Reply)) {
        let mut connection = match self.open.remove(address).map_or_else(|| self.connect(address), Ok) {
            Ok(connection) => connection,
            Err(error) => {
                let refused = Reply::Refused(format!("{address}: {error}"));
                commands.iter().for_each(|_| reply(refused.clone()));
                return;
            }
        };
        let words = |command: &Vec<String>| encode(&command.iter().map(String::as_str).collect::<Vec<_>>());
        let bytes: Vec<u8> = commands.iter().flat_map(words).collect();
        let mut is_open = connection.send(&bytes).is_ok();
        for _ in commands {
            let received = if is_open { connection.receive().ok() } else { None };
            is_open = received.is_some();
            reply(received.map_or(Reply::Unknown, Reply::from));
        }
        if is_open {
            self.open.insert(address.to_owned(), connection);
        }
    }

    fn connect(&self, address: &str) -> io::Result<Connection> {
        let target = address.parse().map_err(io::Error::other)?;
        let stream = TcpStream::connect_timeout(&target, CONNECT)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        let mut connection = Connection::over(Box::new(stream));
        if self.readonly {
            connection.command(&["READONLY"])?;
        }
        Ok(connection)
    }
}
