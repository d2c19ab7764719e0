//! `MULTI` and `WATCH`, at the leader and through nodes that forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use crate::support::{Connection, Dev, STATES, ServerCluster, VERSIONS, Value, eventually};

fn say(connection: &mut Connection, line: &str) -> Value {
    let words: Vec<&str> = line.split(' ').collect();
    connection.command(&words).unwrap()
}

fn queued() -> Value {
    Value::Status("QUEUED".into())
}

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// The nodes to try things at: the leader's, and one that forwards to it.
fn places(dev: &Dev, proxy: bool) -> Vec<usize> {
    let leader = dev.leader_of("{t}");
    if proxy {
        vec![leader, (leader + 1) % 3]
    } else {
        vec![leader]
    }
}

#[test]
fn a_transaction_is_answered_as_a_whole() {
    for (proxy, options) in [
        (false, &[][..]),
        (true, &["--proxy"]),
        (true, &["--proxy", "--state", "disk"]),
    ] {
        let dev = Dev::steady(options);
        for place in places(&dev, proxy) {
            for (version, null) in VERSIONS {
                let mut client = dev.node(place);
                say(&mut client, &format!("HELLO {version}"));
                say(&mut client, "DEL {t}n {t}text");
                assert_eq!(say(&mut client, "MULTI"), Value::ok());
                let lines = [
                    "SET {t}text x",
                    "INCR {t}n",
                    "PING",
                    "INCR {t}text",
                    "MGET {t}n {t}none",
                    "TTL {t}n",
                ];
                for line in lines {
                    assert_eq!(say(&mut client, line), queued());
                }
                let mut other = dev.node(place);
                assert_eq!(
                    say(&mut other, "EXISTS {t}n {t}text"),
                    Value::Integer(0),
                    "nothing is done before EXEC"
                );
                assert_eq!(
                    say(&mut client, "EXEC"),
                    Value::Array(vec![
                        Value::ok(),
                        Value::Integer(1),
                        Value::Status("PONG".into()),
                        Value::Error("ERR value is not an integer or out of range".into()),
                        Value::Array(vec![Value::bulk("1"), null.clone()]),
                        Value::Integer(-1),
                    ]),
                    "HELLO {version}, proxy {proxy}, node {place}"
                );
                // A key that is watched and changed by another.
                assert_eq!(say(&mut client, "WATCH {t}n {t}none"), Value::ok());
                say(&mut other, "INCR {t}n");
                say(&mut client, "MULTI");
                say(&mut client, "SET {t}n 100");
                assert_eq!(say(&mut client, "EXEC"), null);
                assert_eq!(say(&mut client, "GET {t}n"), Value::bulk("2"));
                // One that expired meanwhile was changed too: it was there when it was watched.
                eventually("it is watched in time", || {
                    say(&mut client, "SET {t}n 2 PX 300");
                    assert_eq!(say(&mut client, "WATCH {t}n"), Value::ok());
                    if say(&mut client, "GET {t}n") == null {
                        assert_eq!(say(&mut client, "UNWATCH"), Value::ok());
                        return None;
                    }
                    Some(())
                });
                eventually("it expires", || (say(&mut client, "GET {t}n") == null).then_some(()));
                say(&mut client, "MULTI");
                say(&mut client, "SET {t}n 100");
                assert_eq!(say(&mut client, "EXEC"), null);
                // Nothing is watched any more.
                say(&mut client, "MULTI");
                say(&mut client, "SET {t}n 5");
                assert_eq!(say(&mut client, "EXEC"), Value::Array(vec![Value::ok()]));
            }
        }
    }
}

#[test]
fn a_transaction_that_fails_is_over() {
    let dev = Dev::steady(&[]);
    let leader = dev.leader_of("{t}");
    let crossed = Value::Error("CROSSSLOT Keys in request don't hash to the same slot".into());
    let over = Value::Error("ERR EXEC without MULTI".into());
    let mut client = dev.node(leader);
    let other = (0..)
        .map(|number| format!("o{number}"))
        .find(|key| dev.leader_of(key) == leader);
    let other = other.unwrap();
    say(&mut client, "MULTI");
    assert_eq!(say(&mut client, "SET {t} 1"), queued());
    assert_eq!(say(&mut client, &format!("SET {other} 1")), queued());
    assert_eq!(say(&mut client, "EXEC"), crossed);
    assert_eq!(say(&mut client, "EXEC"), over);
    assert_eq!(say(&mut client, "GET {t}"), Value::Null2);

    // Elsewhere it is refused as soon as it is seen.
    let mut client = dev.node((leader + 1) % 3);
    say(&mut client, "MULTI");
    assert!(say(&mut client, "SET {t} 1").is_error("MOVED "));
    assert_eq!(say(&mut client, "EXEC"), Value::Error(ABORTED.into()));
    assert_eq!(say(&mut client, "EXEC"), over);
    assert_eq!(say(&mut client, "PING"), Value::Status("PONG".into()));
    assert!(say(&mut client, "WATCH {t}").is_error("MOVED "));

    // A pipeline of transactions.
    let mut client = dev.node(leader);
    let lines = "MULTI\r\nINCR {t}n\r\nINCR {t}n\r\nEXEC\r\nGET {t}n\r\nMULTI\r\nFLY\r\nEXEC\r\nGET {t}n\r\n";
    client.send(lines.repeat(50).as_bytes()).unwrap();
    for round in 1..=50 {
        let mut next = || client.receive().unwrap();
        let integer = |number: i64| Value::Integer(number);
        assert_eq!([next(), next(), next()], [Value::ok(), queued(), queued()]);
        assert_eq!(next(), Value::Array(vec![integer(round * 2 - 1), integer(round * 2)]));
        assert_eq!(next(), Value::bulk(&(round * 2).to_string()));
        assert_eq!(next(), Value::ok());
        assert!(next().is_error("ERR unknown command"));
        assert!(next().is_error("EXECABORT "));
        assert_eq!(next(), Value::bulk(&(round * 2).to_string()));
    }
}

/// Increments of each client in the race.
const INCREMENTS: usize = 40;

#[test]
fn increments_by_watch_are_all_counted() {
    STATES.into_iter().for_each(count_increments);
}

fn count_increments(state: &[&str]) {
    let dev = Dev::steady(&[&["--proxy"], state].concat());
    let conflicts = Arc::new(AtomicI64::new(0));
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let (mut connection, conflicts) = (dev.node(client % 3), Arc::clone(&conflicts));
            thread::spawn(move || {
                for _ in 0..INCREMENTS {
                    loop {
                        assert_eq!(say(&mut connection, "WATCH counter"), Value::ok());
                        let count: i64 = match say(&mut connection, "GET counter") {
                            Value::Null2 => 0,
                            value => value.text().parse().unwrap(),
                        };
                        say(&mut connection, "MULTI");
                        say(&mut connection, &format!("SET counter {}", count + 1));
                        match say(&mut connection, "EXEC") {
                            Value::Null2 => conflicts.fetch_add(1, Ordering::SeqCst),
                            reply => {
                                assert_eq!(reply, Value::Array(vec![Value::ok()]));
                                break;
                            }
                        };
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    println!("{} conflicts", conflicts.load(Ordering::SeqCst));
    let total = (6 * INCREMENTS).to_string();
    assert_eq!(say(&mut dev.node(0), "GET counter"), Value::bulk(&total));
}

/// What a client knows of its transactions.
#[derive(Default)]
struct Done {
    counted: i64,
    unknown: i64,
}

/// Writes the same number to two keys, in transactions that also count.
fn transact(client: usize, address: &str, progress: &AtomicI64, stop: &AtomicBool) -> Done {
    let mut connection = Connection::open(address).unwrap();
    let mut done = Done::default();
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let lines = format!(
            "MULTI\r\nSET {{t}}a {client}-{number}\r\nINCR {{t}}n{client}\r\nSET {{t}}b {client}-{number}\r\n\
             MGET {{t}}a {{t}}b\r\nEXEC\r\n"
        );
        connection.send(lines.as_bytes()).unwrap();
        for _ in 0..5 {
            let reply = connection.receive().unwrap();
            assert!(
                matches!(reply, Value::Status(_)),
                "nothing is refused before EXEC: {reply:?}"
            );
        }
        match connection.receive().unwrap() {
            Value::Array(replies) => {
                let written = Value::bulk(&format!("{client}-{number}"));
                assert_eq!(replies[3], Value::Array(vec![written.clone(), written]));
                done.counted += 1;
                progress.fetch_add(1, Ordering::SeqCst);
            }
            reply if reply.is_error("UNKNOWN ") => done.unknown += 1,
            reply => assert!(
                reply.is_error("CLUSTERDOWN ") || reply.is_error("TRYAGAIN "),
                "{reply:?}"
            ),
        }
    }
    done
}

#[test]
fn transactions_are_whole_when_a_leader_is_killed() {
    let mut cluster = ServerCluster::with_proxy(3, 4, true);
    cluster.start_all();
    let victim = cluster.leader_of("{t}");
    let near = cluster.resp(victim % 3 + 1);
    let (progress, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..3)
        .map(|client| {
            let (near, progress, stop) = (near.clone(), Arc::clone(&progress), Arc::clone(&stop));
            thread::spawn(move || transact(client, &near, &progress, &stop))
        })
        .collect();
    let reader = {
        let (near, stop) = (cluster.resp((victim + 1) % 3 + 1), Arc::clone(&stop));
        thread::spawn(move || {
            let mut connection = Connection::open(&near).unwrap();
            while !stop.load(Ordering::SeqCst) {
                if let Value::Array(values) = say(&mut connection, "MGET {t}a {t}b") {
                    assert_eq!(values[0], values[1], "half a transaction");
                }
            }
        })
    };
    let more = |count: i64| {
        let wanted = progress.load(Ordering::SeqCst) + count;
        eventually("transactions are carried out", || {
            (progress.load(Ordering::SeqCst) >= wanted).then_some(())
        });
    };
    more(60);
    cluster.kill(victim);
    more(120);
    stop.store(true, Ordering::SeqCst);
    reader.join().unwrap();
    let mut connection = Connection::open(&near).unwrap();
    for (client, done) in clients.into_iter().map(|client| client.join().unwrap()).enumerate() {
        println!("client {client}: {} done, {} unknown", done.counted, done.unknown);
        let value = eventually("the count is read", || {
            let value = say(&mut connection, &format!("GET {{t}}n{client}"));
            (!matches!(value, Value::Error(_))).then_some(value)
        });
        let count: i64 = value.text().parse().unwrap();
        assert!((done.counted..=done.counted + done.unknown).contains(&count), "{count}");
    }
}
