//! What clients and strangers may make a node hold, and that none of them keeps others out.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{
    Connection, DEADLINE, ON_DISK, Process, STATES, ServerCluster, Value, encode, eventually, free_dev_port,
};

const MIB: u64 = 1 << 20;

/// A running node that leads all groups.
fn start() -> ServerCluster {
    start_with(STATES[0])
}

/// The same with keys in memory or on disk.
fn start_with(state: &[&str]) -> ServerCluster {
    let mut cluster = ServerCluster::new(1, 2);
    if state == STATES[1] {
        cluster.configure(ON_DISK);
    }
    cluster.start_all();
    cluster
}

/// Writes `bytes` again and again until nobody takes any more; says how many were taken.
fn flood(stream: &mut TcpStream, bytes: &[u8], most: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut taken = 0;
    while taken < most {
        match stream.write(bytes) {
            // A part of a request would be no request; what is sent next begins where this ended.
            Ok(written) if written == bytes.len() => taken += written,
            Ok(written) => return taken + written,
            Err(error) => {
                let is_full = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(is_full, "the node closed the connection: {error}");
                return taken;
            }
        }
    }
    taken
}

/// A request of eight arguments of 8 MiB, of which almost nothing comes: 300 of them, 19 GiB by what they declare.
#[test]
fn memory_goes_by_what_came_and_not_by_what_was_declared() {
    let cluster = start();
    let mut client = Connection::open(&cluster.resp(1)).unwrap();
    assert_eq!(client.command(&["SET", "k", "v"]).unwrap(), Value::ok());
    let before = cluster.memory_bytes(1);
    let declared = b"*8\r\n$3\r\nDEL\r\n$8388608\r\na few bytes";
    let held: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(cluster.resp(1)).unwrap();
            stream.write_all(declared).unwrap();
            stream
        })
        .collect();
    let clients = || client_count(&mut Connection::open(&cluster.resp(1)).unwrap());
    eventually("all are connected", || (clients() > held.len()).then_some(()));
    assert_eq!(client.command(&["GET", "k"]).unwrap(), Value::bulk("v"));
    let grown = cluster.memory_bytes(1).saturating_sub(before);
    assert!(
        grown < 64 * MIB,
        "{} MiB more for {} connections",
        grown / MIB,
        held.len()
    );
}

fn client_count(connection: &mut Connection) -> usize {
    let info = connection.command(&["INFO", "clients"]).unwrap().text();
    let line = info.lines().find_map(|line| line.strip_prefix("connected_clients:"));
    line.unwrap().trim().parse().unwrap()
}

/// Ten clients ask for a gigabyte each and take nothing of it.
#[test]
fn clients_that_never_read_hold_little_and_keep_nobody_waiting() {
    STATES.into_iter().for_each(ask_for_much);
}

fn ask_for_much(state: &[&str]) {
    let cluster = start_with(state);
    let mut client = Connection::open(&cluster.resp(1)).unwrap();
    let large = "x".repeat(1 << 20);
    assert_eq!(client.command(&["SET", "large", &large]).unwrap(), Value::ok());
    let before = cluster.memory_bytes(1);
    let request = encode(&["GET", "large"]).repeat(1_000);
    let held: Vec<TcpStream> = (0..10)
        .map(|_| {
            let mut stream = TcpStream::connect(cluster.resp(1)).unwrap();
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    for number in 0..200 {
        let value = number.to_string();
        assert_eq!(client.command(&["SET", "k", &value]).unwrap(), Value::ok());
        assert_eq!(client.command(&["GET", "k"]).unwrap(), Value::bulk(&value));
        assert_eq!(client.command(&["GET", "large"]).unwrap(), Value::bulk(&large));
    }
    let grown = cluster.memory_bytes(1).saturating_sub(before);
    assert!(
        grown < 300 * MIB,
        "{} MiB for {} clients that don't read",
        grown / MIB,
        held.len()
    );
}

/// Replies come in their order and are those to what was asked, however many of them find no room at first.
#[test]
fn long_replies_are_all_given_and_in_their_order() {
    for state in STATES {
        let cluster = start_with(state);
        let mut client = Connection::open(&cluster.resp(1)).unwrap();
        let lengths = [3 << 20, 10, 7 << 20, 5_000];
        for (number, length) in lengths.into_iter().enumerate() {
            let value = number.to_string().repeat(length);
            let key = format!("k{number}");
            assert_eq!(client.command(&["SET", &key, &value]).unwrap(), Value::ok());
        }
        let turn = (0..lengths.len()).flat_map(|number| {
            let key = format!("k{number}");
            let write = encode(&["SET", &key, &number.to_string().repeat(lengths[number]), "GET"]);
            let write = if number == 2 { write } else { vec![] };
            [encode(&["GET", &key]), write, encode(&["GETRANGE", &key, "0", "2"])].concat()
        });
        let turn: Vec<u8> = turn.collect();
        const TURNS: usize = 15;
        let requests = turn.repeat(TURNS);
        let mut writer = Connection::socket(&cluster.resp(1)).unwrap();
        let mut reader = Connection::over(Box::new(writer.try_clone().unwrap()));
        let sent = std::thread::spawn(move || writer.write_all(&requests).unwrap());
        for turn in 0..TURNS {
            for (number, length) in lengths.into_iter().enumerate() {
                let whole = number.to_string().repeat(length);
                let times = if number == 2 { 2 } else { 1 };
                for _ in 0..times {
                    let reply = reader.receive().unwrap();
                    assert!(reply == Value::bulk(&whole), "{turn}: not the value of k{number}");
                }
                assert_eq!(reader.receive().unwrap(), Value::bulk(&whole[..3]), "{turn}: k{number}");
            }
        }
        sent.join().unwrap();
    }
}

/// What writes return is held no more than what reads do, and no replica keeps it: others are not refused for that.
#[test]
fn writes_that_return_much_are_in_nobodys_way() {
    let cluster = start();
    let mut client = Connection::open(&cluster.resp(1)).unwrap();
    let large = "x".repeat(4 << 20);
    // All in one group.
    assert_eq!(client.command(&["SET", "{k}large", &large]).unwrap(), Value::ok());
    let before = cluster.memory_bytes(1);
    let request = [
        encode(&["GETEX", "{k}large", "PERSIST"]),
        encode(&["SET", "{k}s", "v", "GET"]),
    ]
    .concat();
    let mut held = TcpStream::connect(cluster.resp(1)).unwrap();
    held.write_all(&request.repeat(200)).unwrap();
    // One that does the same and takes what it gets is refused nothing.
    let request = [encode(&["GETEX", "{k}large", "PERSIST"]), encode(&["INCR", "{k}n"])].concat();
    let times = 60;
    client.send(&request.repeat(times)).unwrap();
    for number in 1..=times {
        let reply = client.receive().unwrap();
        assert!(reply == Value::bulk(&large), "{number}: {:.80}", format!("{reply:?}"));
        assert_eq!(client.receive().unwrap(), Value::Integer(number.try_into().unwrap()));
    }
    let grown = cluster.memory_bytes(1).saturating_sub(before);
    assert!(grown < 300 * MIB, "{} MiB", grown / MIB);
}

/// One command that would have to read more than a node may hold.
#[test]
fn keys_on_disk_are_not_all_read_at_once() {
    let cluster = start_with(STATES[1]);
    let mut client = Connection::open(&cluster.resp(1)).unwrap();
    let large = "x".repeat((8 << 20) - 1_000);
    let keys: Vec<String> = (0..10).map(|number| format!("{{k}}{number}")).collect();
    for key in &keys {
        assert_eq!(client.command(&["SET", key, &large]).unwrap(), Value::ok());
    }
    let mut ask = |command: &str, count: usize| {
        let words: Vec<&str> = [command].into_iter().chain(keys.iter().map(String::as_str)).collect();
        client.command(&words[..=count]).unwrap()
    };
    let refused = "ERR the values have more than 64 MiB together, ask for fewer keys at a time";
    assert_eq!(ask("MGET", 10), Value::Error(refused.into()));
    assert_eq!(ask("EXISTS", 10), Value::Integer(10));
    let Value::Array(values) = ask("MGET", 7) else {
        panic!("no array")
    };
    assert!(values.iter().all(|value| *value == Value::bulk(&large)) && values.len() == 7);
}

/// A client that writes without end and reads nothing is made to wait, not buffered.
#[test]
fn a_flood_of_requests_waits_in_the_network() {
    let cluster = start();
    let mut client = Connection::open(&cluster.resp(1)).unwrap();
    let before = cluster.memory_bytes(1);
    // With replies of that size too: short ones of a gigabyte may all find room in the network.
    let requests = [encode(&["SET", "k", &"x".repeat(1_000)]), encode(&["GET", "k"])]
        .concat()
        .repeat(100);
    let most = 1 << 30;
    let mut stream = TcpStream::connect(cluster.resp(1)).unwrap();
    let taken = flood(&mut stream, &requests, most);
    assert!(taken < most, "a gigabyte was taken from a client that reads no reply");
    assert_eq!(client.command(&["SET", "other", "v"]).unwrap(), Value::ok());
    let grown = cluster.memory_bytes(1).saturating_sub(before);
    assert!(grown < 200 * MIB, "{} MiB for one client", grown / MIB);
}

/// Clients take descriptors, and so does the log, for each 8 MiB of it.
#[test]
fn clients_leave_the_log_its_descriptors() {
    let mut cluster = ServerCluster::new(1, 2);
    cluster.start_with_files(1, 256);
    cluster.wait_ready(1);
    let mut client = Connection::open(&cluster.resp(1)).unwrap();
    assert_eq!(client.command(&["SET", "k", "v"]).unwrap(), Value::ok());
    let held: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(cluster.resp(1)).unwrap()).collect();
    eventually("all were accepted, or refused", || {
        let info = client.command(&["INFO", "stats"]).unwrap().text();
        let count = |name: &str| -> usize {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().parse().unwrap()
        };
        let seen = count("total_connections_received:") + count("rejected_connections:");
        (seen > held.len()).then_some(())
    });
    let large = "x".repeat(1 << 20);
    for number in 0..20 {
        assert_eq!(client.command(&["SET", "k", &large]).unwrap(), Value::ok(), "{number}");
    }
    let log = cluster.stderr(1);
    assert!(log.contains("RLIMIT_NOFILE"), "{log}");
}

/// One that joined is told of the others while it runs, so it does not know at its start how many connections it may need.
#[test]
fn clients_leave_a_node_that_joined_its_descriptors() {
    let mut cluster = ServerCluster::with_proxy(3, 6, true);
    cluster.start_all();
    let fourth = cluster.add_joining();
    cluster.start_with_files(fourth, 256);
    cluster.wait_ready(fourth);
    let (peer, resp) = (cluster.peer(fourth), cluster.resp(fourth));
    cluster.ctl(1, &["add-node", "4", "--peer", &peer, "--resp", &resp]);
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&resp).unwrap();
        let gets: String = keys.iter().map(|key| format!("GET {key}\r\n")).collect();
        // Who is refused may be gone.
        let _ = stream.write_all(gets.as_bytes());
        held.push(stream);
    }
    let start = Instant::now();
    for stream in &mut held {
        let left = DEADLINE.saturating_sub(start.elapsed());
        stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .unwrap();
        // A reply, or that there is no room.
        let _ = stream.read(&mut [0; 16]);
    }
    let log = cluster.stderr(fourth);
    assert!(log.contains("RLIMIT_NOFILE"), "{log}");
    assert!(!log.contains("os error 24"), "{log}");
    let open = cluster.open_files(fourth);
    assert!(open < 240, "{open} files are open");
}

/// Each port is called in every wrong way, hundreds of times, while others come and are served.
#[test]
fn a_flood_of_bad_callers_ends_no_accept_loop() {
    let data = tempfile::tempdir().unwrap();
    let port = free_dev_port(3);
    let mut process = Process::spawn(&[
        "dev",
        "--groups",
        "3",
        "--port",
        &port.to_string(),
        "--data",
        data.path().to_str().unwrap(),
        "--tls",
    ]);
    process.line("cluster ready");
    let ca = data.path().join("certs/ca.pem");
    let address = format!("127.0.0.1:{port}");
    // A TLS record that says that a client's hello of 512 bytes follows, and none does.
    let beginning = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut held = Vec::new();
    for round in 0..100 {
        for bytes in [
            &b""[..],
            b"PING\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            &beginning,
            &[0xff; 600],
        ] {
            let mut stream = TcpStream::connect(&address).unwrap();
            // The node may have closed it already.
            let _ = stream.write_all(bytes);
            match round % 3 {
                0 => drop(stream),
                1 => drop(stream.shutdown(Shutdown::Write)),
                _ => held.push(stream),
            }
        }
        if round % 20 == 0 {
            let mut client = Connection::open_tls(&address, &ca).unwrap();
            assert_eq!(client.command(&["PING"]).unwrap(), Value::Status("PONG".into()));
        }
    }
    // Those that say nothing more are closed in time.
    for mut stream in held {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // An end or a reset; not that it is still open after a minute.
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert!(
                !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "{error}"
            );
        }
    }
    let mut client = Connection::open_tls(&address, &ca).unwrap();
    assert_eq!(client.command(&["PING"]).unwrap(), Value::Status("PONG".into()));
}

/// The port between nodes, without TLS: garbage, silence, and lengths that nothing follows.
#[test]
fn a_flood_of_strangers_at_the_peer_port_disturbs_no_cluster() {
    let mut cluster = ServerCluster::steady(3, 2);
    cluster.start_all();
    // It goes on leading both groups when the others are killed.
    let leader = 1;
    for group in ["1", "2"] {
        cluster.ctl(leader, &["transfer", group, &leader.to_string()]);
    }
    let mut client = Connection::open(&cluster.resp(leader)).unwrap();
    let before = cluster.memory_bytes(leader);
    let declared = (32_u32 << 20).to_be_bytes();
    let mut held = Vec::new();
    for number in 0..200 {
        for bytes in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &declared, &[0; 5_000]] {
            let mut stream = TcpStream::connect(cluster.peer(leader)).unwrap();
            let _ = stream.write_all(bytes);
            held.push(stream);
        }
        let value = number.to_string();
        assert_eq!(client.command(&["SET", "k", &value]).unwrap(), Value::ok());
    }
    let grown = cluster.memory_bytes(leader).saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB for {} strangers", grown / MIB, held.len());
    // The others come back through the same port.
    for node in (1..=3).filter(|node| *node != leader) {
        cluster.kill(node);
        cluster.start(node);
        cluster.wait_ready(node);
    }
    eventually("a write after the others restarted", || {
        let written = Connection::open(&cluster.resp(cluster.leader_of("k")))
            .ok()?
            .command(&["SET", "k", "last"]);
        (written.ok()? == Value::ok()).then_some(())
    });
}
