//! A client of servers that speak RESP: redis, and raftyard-kv, which answers as a Redis Cluster. Each connection sends
//! `depth` writes at once, waits for all their answers, and goes on.

use crate::Failure;
use crate::tally::Tally;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Keys that are written, of 8 bytes each.
const KEYS: u32 = 10_000;

/// How long to wait before asking again who takes a key.
const RETRY: Duration = Duration::from_millis(20);

/// How often a connection that learns where to go looks whether it is to stop.
const LOOK: Duration = Duration::from_secs(2);

/// Which server takes which keys, learnt by writing each key to each server: who does not lead a key's group refuses.
#[derive(Clone)]
pub(super) struct Map(Arc<[Home]>);

/// A server that takes keys, and those that it takes.
#[derive(Clone)]
struct Home {
    server: SocketAddr,
    keys: Arc<[Vec<u8>]>,
}

impl Map {
    /// Asks until every key has a server that takes it.
    ///
    /// # Errors
    ///
    /// If a server can't be reached.
    pub(super) async fn learn(servers: &[SocketAddr]) -> Result<Self, Failure> {
        loop {
            let mut homes = Vec::new();
            for server in servers {
                homes.push(Home {
                    server: *server,
                    keys: taken(*server).await?.into(),
                });
            }
            let taken: usize = homes.iter().map(|home| home.keys.len()).sum();
            if taken == KEYS as usize {
                return Ok(Self(homes.into()));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Where one of `connections` connections goes: as many go to a server as its share of the keys.
    fn home(&self, connection: usize, connections: usize) -> Option<Home> {
        let mut place = (KEYS as usize) * connection / connections.max(1);
        for home in self.0.iter() {
            if place < home.keys.len() {
                return Some(home.clone());
            }
            place -= home.keys.len();
        }
        None
    }
}

/// All keys that a server takes.
async fn taken(server: SocketAddr) -> Result<Vec<Vec<u8>>, Error> {
    let mut connection = Connection::open(server).await?;
    let mut taken = Vec::new();
    let all: Vec<Vec<u8>> = (0..KEYS).map(|number| format!("k{number:07}").into_bytes()).collect();
    for keys in all.chunks(500) {
        for key in keys {
            connection.put(key, b"v");
        }
        connection.flush().await?;
        for key in keys {
            if connection.answer().await? == Answer::Ok {
                taken.push(key.clone());
            }
        }
    }
    Ok(taken)
}

/// A connection's writes, until the round is over.
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) connections: usize,
    pub(super) depth: usize,
    pub(super) value: Vec<u8>,
    pub(super) servers: Vec<SocketAddr>,
    pub(super) map: Map,
    pub(super) tally: Arc<Tally>,
}

impl Client {
    pub(super) async fn run(mut self) {
        while !self.tally.is_stopped() {
            if let Err(error) = self.write().await {
                self.tally.fail(format!("connection {}: {error}", self.number));
            }
        }
    }

    /// Writes until it is told to stop, or to go elsewhere.
    async fn write(&mut self) -> Result<(), Failure> {
        let home = self.map.home(self.number, self.connections);
        let Home { server, keys } = home.ok_or("no server takes any key")?;
        let mut connection = Connection::open(server).await?;
        // Each begins elsewhere, so that the connections of a server don't all write the same key.
        let mut keys = keys.iter().cycle().skip(self.number * 97);
        let mut moved = false;
        while !moved && !self.tally.is_stopped() {
            let asked = Instant::now();
            for key in keys.by_ref().take(self.depth) {
                connection.put(key, &self.value);
            }
            connection.flush().await?;
            for _ in 0..self.depth {
                match connection.answer().await? {
                    Answer::Ok => self.tally.answered(self.number, asked, 1),
                    Answer::Error(error) => {
                        self.tally.refused();
                        moved |= error.starts_with("MOVED");
                    }
                }
            }
        }
        while moved && !self.tally.is_stopped() {
            tokio::select! {
                map = Map::learn(&self.servers) => {
                    self.map = map?;
                    moved = false;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Ok,
    Error(String),
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
    /// How much of `input` was taken.
    at: usize,
}

impl Connection {
    async fn open(server: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            input: Vec::new(),
            at: 0,
        })
    }

    /// Queues `SET key value`.
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
        for part in [key, value] {
            self.out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            self.out.extend_from_slice(part);
            self.out.extend_from_slice(b"\r\n");
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// The next answer to a `SET`, which is always one line.
    async fn answer(&mut self) -> Result<Answer, Error> {
        loop {
            if let Some((answer, len)) = self.input.get(self.at..).and_then(parse) {
                self.at += len;
                if self.at == self.input.len() {
                    self.input.clear();
                    self.at = 0;
                }
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The first line, and its length with its end; `None` if it is not all there yet.
fn parse(input: &[u8]) -> Option<(Answer, usize)> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    let line = input.get(..end)?;
    let answer = match line.strip_prefix(b"-") {
        None => Answer::Ok,
        Some(error) => Answer::Error(String::from_utf8_lossy(error).into_owned()),
    };
    Some((answer, end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_whole_line() {
        assert_eq!(parse(b"+OK"), None);
        assert_eq!(parse(b"+OK\r"), None);
        assert_eq!(parse(b"+OK\r\n+OK\r\n"), Some((Answer::Ok, 5)));
        let moved = Answer::Error("MOVED 7 127.0.0.1:7002".to_owned());
        assert_eq!(parse(b"-MOVED 7 127.0.0.1:7002\r\n"), Some((moved, 25)));
    }

    #[test]
    fn connections_go_where_the_keys_are() {
        let home = |port: u16, count: usize| Home {
            server: SocketAddr::from(([127, 0, 0, 1], port)),
            keys: vec![b"k".to_vec(); count].into(),
        };
        let map = Map([home(1, 7_500), home(2, 0), home(3, 2_500)].into());
        let ports = (0..8).map(|number| map.home(number, 8).map(|home| home.server.port()));
        let ports: Option<Vec<u16>> = ports.collect();
        assert_eq!(ports, Some(vec![1, 1, 1, 1, 1, 1, 3, 3]));
    }
}
