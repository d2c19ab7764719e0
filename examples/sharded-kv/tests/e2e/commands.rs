//! What clients see of a healthy cluster, with both versions of the protocol.

use crate::support::{ClusterClient, Connection, Outcome, Process, STEADY_MS, Value, eventually, free_dev_port};

/// A cluster in one process.
struct Dev {
    process: Process,
    nodes: Vec<String>,
    data: tempfile::TempDir,
}

/// Three nodes.
fn start() -> Dev {
    start_nodes(3, &[])
}

/// The same with leaders that stay.
fn steady() -> Dev {
    start_nodes(3, &["--election-timeout-ms", &STEADY_MS.to_string()])
}

fn start_nodes(count: u16, options: &[&str]) -> Dev {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(count);
    let (count_text, port_text) = (count.to_string(), port.to_string());
    let path = data.path().to_str().unwrap();
    let arguments = [
        "dev",
        "--nodes",
        &count_text,
        "--groups",
        "6",
        "--port",
        &port_text,
        "--data",
        path,
    ];
    let mut process = Process::spawn(&[&arguments, options].concat());
    let nodes: Vec<String> = (0..count).map(|i| format!("127.0.0.1:{}", port + i)).collect();
    for (place, address) in nodes.iter().enumerate() {
        let line = process.line("node ");
        let node = place + 1;
        let expected = format!(
            "node {node} ready resp={address} peer=127.0.0.1:{} data={}",
            usize::from(port) + 1000 + place,
            data.path().join(format!("node-{node}")).display()
        );
        assert_eq!(line, expected);
    }
    process.line(&format!("cluster ready nodes={count} groups=6"));
    Dev { process, nodes, data }
}

impl Dev {
    /// A connection to the node that leads the group of `key`.
    fn leader_of(&self, key: &str) -> Connection {
        let leads = |address: &&String| {
            let mut connection = Connection::open(address).unwrap();
            !matches!(connection.command(&["GET", key]).unwrap(), Value::Error(_))
        };
        let address = eventually("a node leads the group", || self.nodes.iter().find(leads));
        Connection::open(address).unwrap()
    }

    fn any(&self) -> Connection {
        Connection::open(&self.nodes[0]).unwrap()
    }
}

fn done(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Done(value) => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_key_has_one_home() {
    let dev = steady();
    let mut client = ClusterClient::new(&dev.nodes);
    for number in 0..100 {
        let (key, value) = (format!("key-{number}"), number.to_string());
        assert_eq!(done(client.command(&key, &["SET", &key, &value])), Value::ok());
    }
    for key in (0..100).map(|number| format!("key-{number}")) {
        let replies: Vec<Value> = dev
            .nodes
            .iter()
            .map(|node| Connection::open(node).unwrap().command(&["GET", &key]).unwrap())
            .collect();
        let homes = replies.iter().filter(|r| matches!(r, Value::Bulk(_))).count();
        let moved = replies
            .iter()
            .filter(|r| matches!(r, Value::Error(e) if e.starts_with("MOVED ")))
            .count();
        assert_eq!((homes, moved), (1, 2), "{key}: {replies:?}");
    }
    let sizes = dev.nodes.iter().map(|node| {
        let size = Connection::open(node).unwrap().command(&["DBSIZE"]);
        match size.unwrap() {
            Value::Integer(size) => size,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(sizes.sum::<i64>(), 100);
}

/// Every node serves every key, and no answer is older than what was acknowledged before.
#[test]
fn followers_serve_reads_that_are_current() {
    let dev = steady();
    let mut client = ClusterClient::new(&dev.nodes);
    let mut readers: Vec<Connection> = dev.nodes.iter().map(|node| Connection::open(node).unwrap()).collect();
    for reader in &mut readers {
        assert_eq!(reader.command(&["READONLY"]).unwrap(), Value::ok());
    }
    for number in 0..60 {
        let (key, value) = (format!("key-{}", number % 12), number.to_string());
        assert_eq!(done(client.command(&key, &["SET", &key, &value])), Value::ok());
        for reader in &mut readers {
            assert_eq!(reader.command(&["GET", &key]).unwrap(), Value::bulk(&value));
        }
    }
    let mut moved = |command: &[&str]| {
        let replies = readers.iter_mut().map(|reader| reader.command(command).unwrap());
        let is_moved = |reply: &Value| matches!(reply, Value::Error(error) if error.starts_with("MOVED "));
        replies.filter(is_moved).count()
    };
    assert_eq!(moved(&["SET", "key-0", "x"]), 2, "writes still go to the leader");
    assert_eq!(moved(&["GET", "key-0"]), 0);
    assert_eq!(moved(&["READWRITE"]), 0);
    assert_eq!(moved(&["GET", "key-0"]), 2);
}

#[test]
fn values_and_counters() {
    let dev = steady();
    let mut client = dev.leader_of("{t}");
    let integer = Value::Integer;
    let error = |text: &str| Value::Error(text.into());
    let cases: Vec<(&[&str], Value)> = vec![
        (&["GET", "{t}a"], Value::Null2),
        (&["SET", "{t}a", "1", "NX"], Value::ok()),
        (&["SET", "{t}a", "2", "NX"], Value::Null2),
        (&["SET", "{t}a", "3", "XX", "GET"], Value::bulk("1")),
        (&["GET", "{t}a"], Value::bulk("3")),
        (&["INCR", "{t}a"], integer(4)),
        (&["DECRBY", "{t}a", "10"], integer(-6)),
        (&["APPEND", "{t}a", "x"], integer(3)),
        (&["STRLEN", "{t}a"], integer(3)),
        (&["INCR", "{t}a"], error("ERR value is not an integer or out of range")),
        (&["MSET", "{t}b", "1", "{t}c", ""], Value::ok()),
        (
            &["MGET", "{t}c", "{t}d", "{t}b"],
            Value::Array(vec![Value::bulk(""), Value::Null2, Value::bulk("1")]),
        ),
        (&["EXISTS", "{t}a", "{t}b", "{t}b", "{t}x"], integer(3)),
        (&["DEL", "{t}a", "{t}b", "{t}b", "{t}x"], integer(2)),
        (
            &["MGET", "{t}a", "other"],
            error("CROSSSLOT Keys in request don't hash to the same slot"),
        ),
    ];
    for (words, reply) in cases {
        assert_eq!(client.command(words).unwrap(), reply, "{words:?}");
    }
}

#[test]
fn protocol_3_from_hello_on() {
    let dev = steady();
    let mut client = dev.leader_of("k");
    client
        .send(b"GET k\r\nHELLO 3\r\nGET k\r\nCONFIG GET save\r\nCLUSTER INFO\r\n")
        .unwrap();
    assert_eq!(client.receive().unwrap(), Value::Null2);
    let Value::Map(greeting) = client.receive().unwrap() else {
        panic!("HELLO 3 answers a map")
    };
    assert!(greeting.contains(&(Value::bulk("proto"), Value::Integer(3))));
    assert!(greeting.contains(&(Value::bulk("mode"), Value::bulk("cluster"))));
    assert_eq!(client.receive().unwrap(), Value::Null3);
    let save = (Value::bulk("save"), Value::bulk(""));
    assert_eq!(client.receive().unwrap(), Value::Map(vec![save]));
    let Value::Verbatim(info) = client.receive().unwrap() else {
        panic!("CLUSTER INFO answers a text")
    };
    assert!(info.contains("cluster_state:ok\r\n"), "{info}");
}

#[test]
fn a_pipeline_is_answered_in_order_and_reads_its_own_writes() {
    // Its leader stays, however busy it is: what is not answered `MOVED` needs not be asked again.
    let dev = start_nodes(1, &[]);
    let mut client = dev.leader_of("{p}");
    let mut bytes = Vec::new();
    let rounds = 1500;
    for round in 0..rounds {
        let line = format!("SET {{p}} {round}\r\nINCR {{p}}n\r\nGET {{p}}\r\nPING {round}\r\n");
        bytes.extend_from_slice(line.as_bytes());
    }
    bytes.extend_from_slice(b"DBSIZE\r\nQUIT\r\nSET {p} never\r\n");
    client.send(&bytes).unwrap();
    for round in 0..rounds {
        let text = round.to_string();
        assert_eq!(client.receive().unwrap(), Value::ok());
        assert_eq!(client.receive().unwrap(), Value::Integer(round + 1));
        assert_eq!(client.receive().unwrap(), Value::bulk(&text));
        assert_eq!(client.receive().unwrap(), Value::bulk(&text));
    }
    assert_eq!(client.receive().unwrap(), Value::Integer(2));
    assert_eq!(client.receive().unwrap(), Value::ok());
    assert_eq!(client.rest(), "", "nothing is done after QUIT");
    let last = dev.leader_of("{p}").command(&["GET", "{p}"]).unwrap();
    assert_eq!(last, Value::bulk(&(rounds - 1).to_string()));
}

#[test]
fn large_values_go_through_and_too_large_ones_are_refused() {
    let dev = steady();
    let mut client = dev.leader_of("k");
    let mib = 1024 * 1024;
    // A leader that is busy with so much may lose its place; what was surely not applied is tried again, as clients do.
    let mut set = |length: usize| {
        let value = "v".repeat(length);
        eventually("a write that is not dropped", || {
            let reply = client.command(&["SET", "k", &value]).unwrap();
            let was_not_applied = ["TRYAGAIN ", "MOVED ", "CLUSTERDOWN "]
                .iter()
                .any(|code| reply.is_error(code));
            if was_not_applied {
                client = dev.leader_of("k");
            }
            (!was_not_applied).then_some(reply)
        })
    };
    assert_eq!(set(7 * mib), Value::ok());
    // A value that fits by itself, but not with its key in one log entry.
    let refused = set(8 * mib);
    assert!(
        matches!(&refused, Value::Error(e) if e.starts_with("ERR ") && e.contains("exceed the limit")),
        "{refused:?}"
    );
    assert_eq!(
        client.command(&["STRLEN", "k"]).unwrap(),
        Value::Integer(7 * 1024 * 1024)
    );
    let Value::Bulk(value) = client.command(&["GET", "k"]).unwrap() else {
        panic!("no value")
    };
    assert!(value.len() == 7 * mib && value.iter().all(|byte| *byte == b'v'));
}

#[test]
fn a_client_that_reads_late_is_answered_in_full() {
    let dev = start();
    let mut client = dev.any();
    let word = "w".repeat(100_000);
    let count = 40;
    for _ in 0..count {
        client
            .send(format!("*2\r\n$4\r\nECHO\r\n${}\r\n{word}\r\n", word.len()).as_bytes())
            .unwrap();
    }
    for _ in 0..count {
        assert_eq!(client.receive().unwrap(), Value::bulk(&word));
    }
}

#[test]
fn slots_name_nodes_that_serve_them() {
    let dev = steady();
    let Value::Array(ranges) = dev.any().command(&["CLUSTER", "SLOTS"]).unwrap() else {
        panic!("CLUSTER SLOTS answers an array")
    };
    let mut next = 0;
    for range in ranges {
        let Value::Array(fields) = range else {
            panic!("{range:?}")
        };
        let [Value::Integer(first), Value::Integer(last), Value::Array(leader), ..] = &fields[..] else {
            panic!("{fields:?}")
        };
        assert_eq!(*first, next, "every slot is listed");
        next = last + 1;
        let [host, Value::Integer(port), name] = &leader[..] else {
            panic!("{leader:?}")
        };
        let mut owner = Connection::open(&format!("{}:{port}", host.text())).unwrap();
        assert_eq!(owner.command(&["CLUSTER", "MYID"]).unwrap(), *name);
    }
    assert_eq!(next, 16_384);
}

#[test]
fn sigterm_ends_it_cleanly_and_data_stays() {
    let mut dev = start();
    let mut client = ClusterClient::new(&dev.nodes);
    assert_eq!(done(client.command("k", &["SET", "k", "v"])), Value::ok());
    let mut idle = dev.any();
    // The server has taken it on: one that still waits to be accepted is reset.
    assert_eq!(idle.command(&["PING"]).unwrap(), Value::Status("PONG".into()));
    let status = dev.process.terminate();
    assert_eq!(status.code(), Some(0), "{}", dev.process.stderr());
    assert_eq!(idle.rest(), "", "connections are closed in an orderly way");

    let port = dev.nodes[0].rsplit_once(':').unwrap().1;
    let data = dev.data.path().to_str().unwrap();
    let mut again = Process::spawn(&["dev", "--groups", "6", "--port", port, "--data", data]);
    again.line("cluster ready");
    let mut client = ClusterClient::new(&dev.nodes);
    assert_eq!(done(client.command("k", &["GET", "k"])), Value::bulk("v"));
}
