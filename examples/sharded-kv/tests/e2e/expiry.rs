//! Keys expire when they should, whoever leads, and none comes back.

use std::thread;
use std::time::Duration;

use crate::support::{
    ClusterClient, Connection, Dev, ON_DISK, Outcome, STATES, ServerCluster, VERSIONS, Value, eventually,
};

fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        other => panic!("{other:?}"),
    }
}

fn set(client: &mut ClusterClient, key: &str, words: &[&str]) {
    eventually("a key is set", || {
        (client.command(key, words) == Outcome::Done(Value::ok())).then_some(())
    });
}

#[test]
fn replies_of_the_expiry_commands() {
    STATES.into_iter().for_each(check_replies);
}

fn check_replies(options: &[&str]) {
    let dev = Dev::steady(options);
    let mut client = dev.node(dev.leader_of("{t}"));
    for (version, null) in VERSIONS {
        client.command(&["HELLO", version]).unwrap();
        let error = |text: &str| Value::Error(text.into());
        let cases: Vec<(&str, Value)> = vec![
            ("DEL {t}a {t}b", Value::Integer(0)),
            ("TTL {t}a", Value::Integer(-2)),
            ("EXPIRE {t}a 10", Value::Integer(0)),
            ("SET {t}a 1", Value::ok()),
            ("PTTL {t}a", Value::Integer(-1)),
            ("EXPIRE {t}a 10 XX", Value::Integer(0)),
            ("PEXPIREAT {t}a 32503680000000 NX", Value::Integer(1)),
            ("EXPIRETIME {t}a", Value::Integer(32_503_680_000)),
            ("PEXPIRETIME {t}a", Value::Integer(32_503_680_000_000)),
            ("EXPIREAT {t}a 32503680001 LT", Value::Integer(0)),
            ("EXPIREAT {t}a 32503680001 GT", Value::Integer(1)),
            ("INCR {t}a", Value::Integer(2)),
            ("SET {t}a 3 XX KEEPTTL GET", Value::bulk("2")),
            ("EXPIRETIME {t}a", Value::Integer(32_503_680_001)),
            ("RENAME {t}a {t}b", Value::ok()),
            ("PERSIST {t}b", Value::Integer(1)),
            ("PERSIST {t}b", Value::Integer(0)),
            ("GETEX {t}b EXAT 32503680000", Value::bulk("3")),
            ("EXPIRETIME {t}b", Value::Integer(32_503_680_000)),
            ("GETEX {t}b PERSIST", Value::bulk("3")),
            ("TTL {t}b", Value::Integer(-1)),
            ("EXPIRE {t}b -1", Value::Integer(1)),
            ("EXISTS {t}b", Value::Integer(0)),
            ("SETEX {t}a 100 x", Value::ok()),
            ("SET {t}a 1", Value::ok()),
            ("TTL {t}a", Value::Integer(-1)),
            ("GETDEL {t}a", Value::bulk("1")),
            ("GETDEL {t}a", null),
            ("SETEX {t}a 0 x", error("ERR invalid expire time in 'setex' command")),
        ];
        for (line, reply) in cases {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(client.command(&words).unwrap(), reply, "HELLO {version}, {line}");
        }
        client.command(&["SET", "{t}a", "v", "EX", "1000"]).unwrap();
        assert!((990..=1_000).contains(&integer(&client.command(&["TTL", "{t}a"]).unwrap())));
        let first = integer(&client.command(&["PTTL", "{t}a"]).unwrap());
        eventually("what is left gets less although nobody writes", || {
            (integer(&client.command(&["PTTL", "{t}a"]).unwrap()) < first).then_some(())
        });
        client.command(&["DEL", "{t}a"]).unwrap();
    }
}

/// Nobody writes: the leaders move the time on, and every replica has the keys gone.
#[test]
fn keys_expire_by_themselves() {
    STATES.into_iter().for_each(await_expiry);
}

fn await_expiry(options: &[&str]) {
    let dev = Dev::steady(options);
    let mut client = ClusterClient::new(&dev.nodes);
    let keys: Vec<String> = (0..30).map(|number| format!("key-{number}")).collect();
    for (number, key) in keys.iter().enumerate() {
        let millis = (200 + number * 10).to_string();
        set(&mut client, key, &["SET", key, "v", "PX", &millis]);
    }
    set(&mut client, "stays", &["SET", "stays", "v"]);
    // Of what it leads; none while it can't tell.
    let size = |node: &mut Connection| match node.command(&["DBSIZE"]).unwrap() {
        Value::Error(_) => None,
        size => Some(integer(&size)),
    };
    let mut nodes: Vec<Connection> = (0..3).map(|place| dev.node(place)).collect();
    eventually("all but one are gone", || {
        (nodes.iter_mut().map(size).sum::<Option<i64>>() == Some(1)).then_some(())
    });
    for node in &mut nodes {
        node.command(&["READONLY"]).unwrap();
    }
    let mut get = |place: usize, key: &str| {
        eventually("the read is served", || {
            let value = nodes[place].command(&["GET", key]).unwrap();
            (!matches!(value, Value::Error(_))).then_some(value)
        })
    };
    // Once it is gone at one node, no other one has it.
    for key in &keys {
        eventually("the key is gone", || (get(0, key) == Value::Null2).then_some(()));
        for place in [1, 2, 0] {
            assert_eq!(get(place, key), Value::Null2, "{key} at {place}");
        }
    }
    for place in 0..3 {
        assert_eq!(get(place, "stays"), Value::bulk("v"));
    }
}

const KEYS: usize = 24;

/// Sets keys that expire soon, one of every three late, and returns the deadlines of the late ones.
fn set_keys(client: &mut ClusterClient, millis: u64) -> Vec<(String, Value)> {
    let mut late = Vec::new();
    for number in 0..KEYS {
        let key = format!("k{number}");
        let px = if number % 3 == 0 { 100_000_000 } else { millis }.to_string();
        set(client, &key, &["SET", &key, "v", "PX", &px]);
        if number % 3 == 0 {
            let deadline = eventually("its deadline is read", || {
                match client.command(&key, &["PEXPIRETIME", &key]) {
                    Outcome::Done(deadline) => Some(deadline),
                    Outcome::Refused(_) | Outcome::Unknown(_) => None,
                }
            });
            late.push((key, deadline));
        }
    }
    late
}

/// Reads until all keys that are due are gone; fails if one comes back.
fn watch_them_go(client: &mut ClusterClient) {
    let mut gone = [false; KEYS];
    eventually("what is due has expired", || {
        for (number, gone) in gone.iter_mut().enumerate() {
            let key = format!("k{number}");
            match client.command(&key, &["GET", &key]) {
                Outcome::Done(Value::Null2) => *gone = true,
                Outcome::Done(value) => {
                    assert_eq!(value, Value::bulk("v"));
                    assert!(!*gone, "{key} was gone and is there again");
                }
                Outcome::Refused(_) | Outcome::Unknown(_) => {}
            }
        }
        (gone.iter().filter(|gone| **gone).count() == KEYS - KEYS / 3).then_some(())
    });
    for (number, gone) in gone.into_iter().enumerate() {
        assert_eq!(gone, number % 3 != 0, "k{number}");
    }
}

fn check_late(cluster: &ServerCluster, nodes: &[usize], late: &[(String, Value)]) {
    for node in nodes {
        let mut connection = Connection::open(&cluster.resp(*node)).unwrap();
        connection.command(&["READONLY"]).unwrap();
        for (key, deadline) in late {
            let same = || (connection.command(&["PEXPIRETIME", key]).unwrap() == *deadline).then_some(());
            eventually("every replica has the same deadline", same);
        }
    }
}

#[test]
fn expiry_goes_on_at_the_next_leader_and_after_a_restart() {
    expire_across_a_restart(ServerCluster::new(3, 6));
}

#[test]
fn expiry_goes_on_with_keys_on_disk() {
    let cluster = ServerCluster::new(3, 6);
    cluster.configure(ON_DISK);
    expire_across_a_restart(cluster);
}

fn expire_across_a_restart(mut cluster: ServerCluster) {
    cluster.start_all();
    let mut client = ClusterClient::new(&cluster.all_resp());
    let late = set_keys(&mut client, 1_500);
    let victim = cluster.leader_of("k1");
    cluster.kill(victim);
    watch_them_go(&mut client);
    check_late(&cluster, &[victim % 3 + 1, (victim + 1) % 3 + 1], &late);
    cluster.start(victim);
    cluster.wait_ready(victim);

    let late = set_keys(&mut client, 1_500);
    for node in 1..=3 {
        cluster.kill(node);
    }
    // They expire while nobody is there to see it.
    thread::sleep(Duration::from_millis(1_500));
    cluster.start_all();
    let mut client = ClusterClient::new(&cluster.all_resp());
    watch_them_go(&mut client);
    check_late(&cluster, &[1, 2, 3], &late);
}
