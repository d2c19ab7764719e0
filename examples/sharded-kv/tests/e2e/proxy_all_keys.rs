//! Commands on all keys at nodes that forward: of all groups, or refused.

use std::time::Instant;

use crate::support::{Connection, DEADLINE, ServerCluster, Value};

const KEYS: i64 = 100;

fn set_all(address: &str) {
    let mut client = Connection::open(address).unwrap();
    for number in 0..KEYS {
        let set = client.command(&["SET", &format!("key-{number}"), "v"]).unwrap();
        assert_eq!(set, Value::ok());
    }
}

fn is_error(value: &Value, beginning: &str) -> bool {
    matches!(value, Value::Error(error) if error.starts_with(beginning))
}

/// Until its groups have other leaders nobody can say how many keys are in them.
#[test]
fn keys_are_counted_in_all_groups_or_not_at_all() {
    let mut cluster = ServerCluster::with_proxy(3, 12, true);
    cluster.start_all();
    set_all(&cluster.resp(1));
    let victim = cluster.leader_of("key-0");
    let near = cluster.resp(victim % 3 + 1);
    let mut client = Connection::open(&near).unwrap();
    cluster.kill(victim);
    let (start, mut refused) = (Instant::now(), 0);
    loop {
        match client.command(&["DBSIZE"]).unwrap() {
            // Those that were counted before it was noticed that the leader is gone.
            Value::Integer(KEYS) if refused > 0 => break,
            Value::Integer(KEYS) => {}
            reply => {
                assert!(is_error(&reply, "TRYAGAIN "), "{reply:?}");
                refused += 1;
            }
        }
        assert!(start.elapsed() < DEADLINE, "{refused} were refused");
    }
}

