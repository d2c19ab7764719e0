//! A node that forwards, and a leader that does what leaders rarely do: the test answers in its place.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::{Connection, DEADLINE, ServerCluster, Value, eventually};

const WELCOME: &str = "%0\r\n+OK\r\n";

/// The key of all commands here.
const KEY: &str = "k";

const GROUPS: u16 = 6;

/// A cluster in which the test is taken for the client port of every node.
struct Stage {
    _cluster: ServerCluster,
    leader: TcpListener,
    /// At a node that does not lead the group of [`KEY`].
    client: Connection,
}

fn stage() -> Stage {
    let mut cluster = ServerCluster::steady_with_proxy(3, GROUPS, true);
    let leader = TcpListener::bind("127.0.0.1:0").unwrap();
    leader.set_nonblocking(true).unwrap();
    let played = format!("resp = \"{}\"\n", leader.local_addr().unwrap());
    for node in 1..=3 {
        let mut config = cluster.config(node);
        for other in (1..=3).filter(|other| *other != node) {
            let real = format!("\nresp = \"{}\"\n", cluster.resp(other));
            assert!(config.contains(&real));
            config = config.replace(&real, &format!("\n{played}"));
        }
        std::fs::write(cluster.config_path(node), config).unwrap();
    }
    cluster.start_all();
    let other = cluster.leader_of(KEY) % 3 + 1;
    Stage {
        client: Connection::open(&cluster.resp(other)).unwrap(),
        _cluster: cluster,
        leader,
    }
}

/// The leader's end of a connection over which commands are forwarded.
struct Leader {
    reader: BufReader<TcpStream>,
}

impl Leader {
    /// Takes a connection and its introduction.
    fn accept(listener: &TcpListener) -> Self {
        let stream = eventually("the node connects to the leader", || match listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut leader = Self {
            reader: BufReader::new(stream),
        };
        assert_eq!(leader.line(), "HELLO 3");
        assert_eq!(leader.line(), format!("RAFTYARD DIRECT {GROUPS}"));
        leader.say(WELCOME);
        leader
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits for the next command.
    fn command(&mut self) -> String {
        let header = self.line();
        let count: usize = header.strip_prefix('*').expect("a command").parse().unwrap();
        let words = (0..count).map(|_| {
            self.line();
            self.line()
        });
        words.collect::<Vec<_>>().join(" ")
    }

    fn say(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }
}

fn error_code(value: &Value) -> &str {
    match value {
        Value::Error(error) => error.split(' ').next().unwrap(),
        other => panic!("no error: {other:?}"),
    }
}

#[test]
fn a_refused_write_is_tried_again_and_a_lost_one_never() {
    let mut stage = stage();
    let client = &mut stage.client;
    let set = |client: &mut Connection, value: &str| {
        client.send(format!("SET {KEY} {value}\r\n").as_bytes()).unwrap();
        format!("SET {KEY} {value}")
    };

    let refused = set(client, "refused");
    let mut leader = Leader::accept(&stage.leader);
    for refusal in ["MOVED 1 127.0.0.1:1", "CLUSTERDOWN no", "TRYAGAIN no"] {
        assert_eq!(leader.command(), refused);
        leader.say(&format!("-{refusal}\r\n"));
    }
    assert_eq!(leader.command(), refused);
    leader.say("+OK\r\n");
    assert_eq!(client.receive().unwrap(), Value::ok());

    let lost = set(client, "lost");
    assert_eq!(leader.command(), lost);
    drop(leader);
    assert_eq!(error_code(&client.receive().unwrap()), "UNKNOWN");

    // What comes over the next connection is the next command, not the lost one; and these answers are final.
    let mut sent = set(client, "next");
    let mut leader = Leader::accept(&stage.leader);
    for code in ["UNKNOWN", "BUSY", "ERR"] {
        assert_eq!(leader.command(), sent);
        leader.say(&format!("-{code} text\r\n"));
        assert_eq!(client.receive().unwrap(), Value::Error(format!("{code} text")));
        sent = set(client, &format!("after-{code}"));
    }
    assert_eq!(leader.command(), sent);
}

#[test]
fn a_refused_read_or_a_lost_one_is_tried_again() {
    let mut stage = stage();
    let words = ["GET", KEY];
    let get = format!("GET {KEY}\r\n");
    stage.client.send(get.as_bytes()).unwrap();
    let mut leader = Leader::accept(&stage.leader);
    assert_eq!(leader.command(), words.join(" "));
    drop(leader);
    let mut leader = Leader::accept(&stage.leader);
    assert_eq!(leader.command(), words.join(" "));
    leader.say("$1\r\nv\r\n");
    assert_eq!(stage.client.receive().unwrap(), Value::bulk("v"));
}

#[test]
fn a_transaction_goes_as_one_command_and_is_over_whatever_comes_back() {
    let mut stage = stage();
    let client = &mut stage.client;
    let transaction = format!("MULTI\r\nSET {KEY} v\r\nPING\r\nGET {KEY}\r\n");
    let sent = format!("RAFTYARD EXEC 0 3 SET {KEY} v 2 GET {KEY}");
    let begin = |client: &mut Connection| {
        client.send(transaction.as_bytes()).unwrap();
        let queued = Value::Status("QUEUED".into());
        let expected = [Value::ok(), queued.clone(), queued.clone(), queued];
        assert_eq!([(); 4].map(|()| client.receive().unwrap()), expected);
        client.send(b"EXEC\r\n").unwrap();
    };
    begin(client);
    let mut leader = Leader::accept(&stage.leader);
    for reply in [
        "-MOVED 1 127.0.0.1:1\r\n",
        "-CLUSTERDOWN no\r\n",
        "*2\r\n+OK\r\n$1\r\nv\r\n",
    ] {
        assert_eq!(leader.command(), sent, "it is tried again until it is not refused");
        leader.say(reply);
    }
    let pong = Value::Status("PONG".into());
    assert_eq!(
        client.receive().unwrap(),
        Value::Array(vec![Value::ok(), pong.clone(), Value::bulk("v")])
    );

    begin(client);
    assert_eq!(leader.command(), sent);
    leader.say("_\r\n");
    assert_eq!(client.receive().unwrap(), Value::Null2, "a conflict");

    begin(client);
    assert_eq!(leader.command(), sent);
    drop(leader);
    assert_eq!(error_code(&client.receive().unwrap()), "UNKNOWN");
    let over = Value::Error("ERR EXEC without MULTI".into());
    assert_eq!(client.command(&["EXEC"]).unwrap(), over);
    assert_eq!(client.command(&["PING"]).unwrap(), pong);
    client.send(format!("SET {KEY} next\r\n").as_bytes()).unwrap();
    let mut leader = Leader::accept(&stage.leader);
    assert_eq!(
        leader.command(),
        format!("SET {KEY} next"),
        "what was lost is not sent again"
    );
}

#[test]
fn no_command_overtakes_another_on_its_group() {
    let mut stage = stage();
    let lines = format!("SET {KEY} 1\r\nSET {KEY} 2\r\nSET {KEY} 3\r\nGET {KEY}\r\n");
    stage.client.send(lines.as_bytes()).unwrap();
    let mut leader = Leader::accept(&stage.leader);
    for number in 1..=3 {
        assert_eq!(leader.command(), format!("SET {KEY} {number}"));
    }
    // To try the first again now would put it after the second.
    leader.say("-MOVED 1 127.0.0.1:1\r\n+OK\r\n-MOVED 1 127.0.0.1:1\r\n");
    assert_eq!(error_code(&stage.client.receive().unwrap()), "TRYAGAIN");
    assert_eq!(stage.client.receive().unwrap(), Value::ok());
    // The third was the last, and the read waits for it.
    assert_eq!(leader.command(), format!("SET {KEY} 3"));
    leader.say("+OK\r\n");
    assert_eq!(leader.command(), format!("GET {KEY}"));
    leader.say("$1\r\n3\r\n");
    assert_eq!(stage.client.receive().unwrap(), Value::ok());
    assert_eq!(stage.client.receive().unwrap(), Value::bulk("3"));
}

#[test]
fn attempts_end() {
    let mut stage = stage();
    stage.client.send(format!("SET {KEY} v\r\n").as_bytes()).unwrap();
    let mut leader = Leader::accept(&stage.leader);
    let mut attempts = 0;
    let client = &mut stage.client;
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| client.receive().unwrap());
        leader
            .reader
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        while !answer.is_finished() {
            let mut bytes = [0; 4096];
            // The whole command comes in one piece: it is sent in one.
            if leader.reader.read(&mut bytes).is_ok_and(|count| count > 0) {
                attempts += 1;
                leader.say("-MOVED 1 127.0.0.1:1\r\n");
            }
        }
        assert_eq!(error_code(&answer.join().unwrap()), "TRYAGAIN");
    });
    assert!((2..=30).contains(&attempts), "{attempts}");
    assert_eq!(stage.client.command(&["PING"]).unwrap(), Value::Status("PONG".into()));
}
