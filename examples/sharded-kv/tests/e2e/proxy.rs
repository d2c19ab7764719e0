//! Clients that know nothing of clusters, at nodes that forward their commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Connection, Process, STEADY_MS, ServerCluster, Value, eventually, free_dev_port};

const NODES: u16 = 3;
const GROUPS: &str = "8";

/// A cluster of three nodes in one process, which all forward, and whose leaders stay.
struct Dev {
    _process: Process,
    nodes: Vec<String>,
    _data: tempfile::TempDir,
}

fn steady() -> Dev {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(NODES);
    let mut process = Process::spawn(&[
        "dev",
        "--groups",
        GROUPS,
        "--port",
        &port.to_string(),
        "--data",
        data.path().to_str().unwrap(),
        "--proxy",
        "--election-timeout-ms",
        &STEADY_MS.to_string(),
    ]);
    process.line("cluster ready");
    Dev {
        _process: process,
        nodes: (0..NODES).map(|i| format!("127.0.0.1:{}", port + i)).collect(),
        _data: data,
    }
}

impl Dev {
    fn node(&self, place: usize) -> Connection {
        Connection::open(&self.nodes[place]).unwrap()
    }

    /// A connection on which commands are not forwarded.
    fn direct(&self, place: usize) -> Connection {
        let mut connection = self.node(place);
        let reply = connection.command(&["RAFTYARD", "DIRECT"]).unwrap();
        assert_eq!(reply, Value::ok());
        connection
    }

    /// A node that does not lead the group of `key`.
    fn follower_of(&self, key: &str) -> usize {
        let is_moved = |place: &usize| is_error(&self.direct(*place).command(&["GET", key]).unwrap(), "MOVED ");
        (0..self.nodes.len()).find(is_moved).expect("two nodes do not lead it")
    }
}

fn is_error(value: &Value, beginning: &str) -> bool {
    matches!(value, Value::Error(error) if error.starts_with(beginning))
}

#[test]
fn a_plain_client_uses_any_node() {
    let dev = steady();
    let mut client = dev.node(1);
    let keys: Vec<String> = (0..200).map(|number| format!("key-{number}")).collect();
    for key in &keys {
        assert_eq!(
            client.command(&["SET", key, &format!("{key}\r\n")]).unwrap(),
            Value::ok()
        );
    }
    for place in 0..dev.nodes.len() {
        let mut client = dev.node(place);
        for key in &keys {
            assert_eq!(
                client.command(&["GET", key]).unwrap(),
                Value::bulk(&format!("{key}\r\n"))
            );
        }
    }
    // Each node counts all keys; those of the groups that it leads, if nothing is forwarded.
    let size = |mut connection: Connection| match connection.command(&["DBSIZE"]).unwrap() {
        Value::Integer(size) => size,
        other => panic!("{other:?}"),
    };
    assert_eq!([0, 1, 2].map(|place| size(dev.node(place))), [200, 200, 200]);
    assert_eq!([0, 1, 2].map(|place| size(dev.direct(place))).iter().sum::<i64>(), 200);
}

#[test]
fn replies_are_those_of_the_leader_in_both_versions() {
    let dev = steady();
    let far = dev.follower_of("{t}");
    for (place, version) in [(far, "2"), (far, "3")] {
        let mut client = dev.node(place);
        client.command(&["HELLO", version]).unwrap();
        let null = if version == "2" { Value::Null2 } else { Value::Null3 };
        let integer = Value::Integer;
        let cases: Vec<(&[&str], Value)> = vec![
            (
                &["DEL", "{t}a", "{t}b", "{t}n"],
                integer(if version == "2" { 0 } else { 2 }),
            ),
            (&["GET", "{t}a"], null.clone()),
            (&["SET", "{t}a", "x", "XX"], null.clone()),
            (&["SET", "{t}a", "x", "GET"], null.clone()),
            (&["SET", "{t}a", "", "GET"], Value::bulk("x")),
            (
                &["MGET", "{t}a", "{t}b"],
                Value::Array(vec![Value::bulk(""), null.clone()]),
            ),
            (&["DECRBY", "{t}n", "7"], integer(-7)),
            (
                &["INCR", "{t}a"],
                Value::Error("ERR value is not an integer or out of range".into()),
            ),
            (&["EXISTS", "{t}a", "{t}n", "{t}a"], integer(3)),
        ];
        for (words, reply) in cases {
            assert_eq!(client.command(words).unwrap(), reply, "HELLO {version}, {words:?}");
        }
    }
}

#[test]
fn a_pipeline_over_many_groups_is_answered_in_order() {
    let dev = steady();
    // Several clients at one node at once, each with keys of its own: replies must not cross between them either.
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let mut connection = dev.node(0);
            thread::spawn(move || pipeline(client, &mut connection))
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

fn pipeline(client: usize, connection: &mut Connection) {
    let (keys, rounds) = (40, 30);
    let key = |number: usize| format!("c{client}-{number}");
    let mut bytes = Vec::new();
    for round in 0..rounds {
        for number in 0..keys {
            let key = key(number);
            let line = format!("SET {key} {key}:{round}\r\nGET {key}\r\nINCR {key}:n\r\nPING {key}\r\n");
            bytes.extend_from_slice(line.as_bytes());
        }
    }
    connection.send(&bytes).unwrap();
    for round in 0..rounds {
        for number in 0..keys {
            let key = key(number);
            let mut next = || connection.receive().unwrap();
            assert_eq!(next(), Value::ok());
            assert_eq!(next(), Value::bulk(&format!("{key}:{round}")));
            assert_eq!(next(), Value::Integer(round + 1));
            assert_eq!(next(), Value::bulk(&key));
        }
    }
}

#[test]
fn large_values_are_forwarded_and_too_large_replies_refused() {
    let dev = steady();
    let mut client = dev.node(dev.follower_of("{l}"));
    let value = "v".repeat(7 * 1024 * 1024);
    assert_eq!(client.command(&["SET", "{l}", &value]).unwrap(), Value::ok());
    let key = ["{l}"; 20];
    let get = |count: usize| [&["MGET"], &key[..count]].concat();
    let Value::Array(values) = client.command(&get(8)).unwrap() else {
        panic!("MGET answers an array")
    };
    assert!(values.iter().all(|found| *found == Value::bulk(&value)));
    let refused = client.command(&get(20)).unwrap();
    assert_eq!(
        refused,
        Value::Error("ERR the leader's reply: reply larger than 67108864 bytes".into())
    );
    let length = Value::Integer(7 * 1024 * 1024);
    assert_eq!(client.command(&["STRLEN", "{l}"]).unwrap(), length);
}

#[test]
fn what_was_forwarded_is_not_forwarded_again() {
    let dev = steady();
    let place = dev.follower_of("k");
    let mut client = dev.node(place);
    let mut say = |words: &[&str]| client.command(words).unwrap();
    assert_eq!(say(&["SET", "k", "v"]), Value::ok());
    assert_eq!(say(&["RAFTYARD", "DIRECT"]), Value::ok());
    assert!(is_error(&say(&["GET", "k"]), "MOVED "));
    assert!(is_error(&say(&["SET", "k", "w"]), "MOVED "));
    assert_eq!(say(&["RESET"]), Value::Status("RESET".into()));
    assert_eq!(say(&["GET", "k"]), Value::bulk("v"));
}

/// What a plain client knows of its writes.
#[derive(Default)]
struct Written {
    keys: Vec<String>,
    counted: i64,
    /// Increments that may have happened.
    unknown: i64,
    /// Increments that did not.
    refused: i64,
}

/// Increments that a client sends at once.
const BURST: usize = 5;

/// Whether the cluster may answer so while a leader is replaced.
fn may_pass(value: &Value) -> bool {
    ["UNKNOWN ", "CLUSTERDOWN ", "TRYAGAIN "]
        .iter()
        .any(|code| is_error(value, code))
}

fn write(client: usize, address: &str, acknowledged: &AtomicU64, stop: &AtomicBool) -> Written {
    let mut connection = Connection::open(address).unwrap();
    let mut written = Written::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, counter) = (format!("w{client}-{number}"), format!("n{client}-{}", number % 20));
        // The connection lasts, whatever happens to other nodes.
        match connection.command(&["SET", &key, &key]).unwrap() {
            reply if reply == Value::ok() => {
                written.keys.push(key);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            reply => assert!(may_pass(&reply), "{reply:?}"),
        }
        connection
            .send(format!("INCR {counter}\r\n").repeat(BURST).as_bytes())
            .unwrap();
        let mut last = 0;
        for _ in 0..BURST {
            match connection.receive().unwrap() {
                Value::Integer(count) => {
                    assert!(
                        count > last,
                        "{counter}: {count} after {last}, one has overtaken the other"
                    );
                    last = count;
                    written.counted += 1;
                }
                reply if is_error(&reply, "UNKNOWN ") => written.unknown += 1,
                reply => {
                    assert!(may_pass(&reply), "{reply:?}");
                    written.refused += 1;
                }
            }
        }
    }
    written
}

fn read(connection: &mut Connection, key: &str) -> Value {
    eventually(&format!("{key} is read"), || {
        let value = connection.command(&["GET", key]).unwrap();
        (!may_pass(&value)).then_some(value)
    })
}

#[test]
fn plain_clients_go_on_when_another_node_is_killed() {
    let mut cluster = ServerCluster::with_proxy(NODES.into(), 12, true);
    cluster.start_all();
    let victim = cluster.leader_of("n0-0");
    let (near, far) = (victim % 3 + 1, (victim + 1) % 3 + 1);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|client| {
            let (address, acknowledged) = (cluster.resp(near), Arc::clone(&acknowledged));
            let stop = Arc::clone(&stop);
            thread::spawn(move || write(client, &address, &acknowledged, &stop))
        })
        .collect();
    let progress = |writes: u64| {
        let wanted = acknowledged.load(Ordering::Relaxed) + writes;
        eventually("writes are acknowledged", || {
            (acknowledged.load(Ordering::Relaxed) >= wanted).then_some(())
        });
    };
    progress(150);
    cluster.kill(victim);
    progress(300);
    stop.store(true, Ordering::Relaxed);
    let written: Vec<Written> = clients.into_iter().map(|client| client.join().unwrap()).collect();

    for written in &written {
        let Written {
            counted,
            unknown,
            refused,
            ..
        } = written;
        println!("increments: {counted} done, {unknown} unknown, {refused} refused");
    }
    let mut connection = Connection::open(&cluster.resp(far)).unwrap();
    for (client, written) in written.iter().enumerate() {
        for key in &written.keys {
            assert_eq!(read(&mut connection, key), Value::bulk(key), "acknowledged and gone");
        }
        let counts = (0..20).map(|counter| match read(&mut connection, &format!("n{client}-{counter}")) {
            Value::Null2 => 0,
            value => value.text().parse::<i64>().unwrap(),
        });
        let (count, most) = (counts.sum::<i64>(), written.counted + written.unknown);
        assert!(
            (written.counted..=most).contains(&count),
            "client {client}: {count} is not between {} and {most}",
            written.counted
        );
    }
}

#[test]
fn a_write_that_a_hung_leader_took_is_unknown() {
    let mut cluster = ServerCluster::with_proxy(NODES.into(), 6, true);
    // Nobody else leads before the write is on its way.
    cluster.configure("election_timeout_ms = 5000");
    cluster.start_all();
    let key = "k";
    let leader = cluster.leader_of(key);
    let near = cluster.resp(leader % 3 + 1);
    let mut client = Connection::open(&near).unwrap();
    let mut other = Connection::open(&near).unwrap();
    assert_eq!(client.command(&["INCR", key]).unwrap(), Value::Integer(1));

    cluster.freeze(leader);
    let reply = client.command(&["INCR", key]).unwrap();
    assert!(is_error(&reply, "UNKNOWN "), "{reply:?}");
    // Neither this connection nor another is the worse for it.
    for connection in [&mut client, &mut other] {
        assert_eq!(connection.command(&["PING"]).unwrap(), Value::Status("PONG".into()));
        let count: i64 = read(connection, key).text().parse().unwrap();
        assert!((1..=2).contains(&count), "{count}");
        eventually("writes go on", || {
            let reply = connection.command(&["SET", key, "1"]).unwrap();
            thread::sleep(Duration::from_millis(10));
            (reply == Value::ok()).then_some(())
        });
    }
}
