#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod expiry;
mod keyspace;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use raftyard::NodeId;

use super::*;
use crate::machine::{Condition, Expiry};
use crate::resp::Protocol;
use crate::slots::{ShardMap, slot_of};
use crate::topology::{Member, Topology};

fn session() -> Session {
    let address = "127.0.0.1:1".parse().unwrap();
    Session::new(7, address, address, Arc::default())
}

/// The words of `line`, parted by single blanks (`""` is an empty word).
fn words(line: &str) -> Vec<Bytes> {
    line.split(' ')
        .map(|word| Bytes::copy_from_slice(word.trim_matches('"').as_bytes()))
        .collect()
}

/// Three nodes, four groups: node 1 leads the first two, node 2 the third, the fourth has no leader.
fn status() -> Status {
    let member = |node: u64| {
        let resp = format!("10.0.0.{node}:7001").parse().unwrap();
        Member::new("test", NodeId(node), resp, 8001)
    };
    let members = [2, 1, 3].map(member).to_vec();
    let map = ShardMap::new(4).unwrap();
    let leaders = vec![Some(NodeId(1)), Some(NodeId(1)), Some(NodeId(2)), None];
    Status {
        topology: Arc::new(Topology::new(NodeId(1), map, members)),
        leaders,
        uptime: Duration::from_secs(5),
        clients: 2,
        clients_max: 100,
        connections: 3,
        commands: 4,
        rejected: 5,
        tls_failures: 6,
        access_refusals: 7,
        peers_refused: 8,
    }
}

fn reply_in(session: &mut Session, line: &str) -> Reply {
    match parse(session, &words(line)) {
        Action::Reply(reply) | Action::Close(reply) => reply,
        Action::Describe(describe) => describe(&status()),
        Action::Count(describe) => describe(&status(), Some(12)),
        _ => panic!("{line}: no reply of its own"),
    }
}

fn reply(line: &str) -> Reply {
    reply_in(&mut session(), line)
}

fn error(line: &str) -> String {
    match reply(line) {
        Reply::Error(text) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn verbatim(line: &str) -> String {
    match reply(line) {
        Reply::Verbatim(text) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn write(line: &str) -> (u16, Command) {
    match parse(&mut session(), &words(line)) {
        Action::Write { slot, command } => (slot, command),
        _ => panic!("{line}: no write"),
    }
}

fn read(line: &str) -> (u16, Query) {
    match parse(&mut session(), &words(line)) {
        Action::Read { slot, query } => (slot, query),
        _ => panic!("{line}: no read"),
    }
}

fn encoded(reply: &Reply, protocol: Protocol) -> String {
    let mut out = BytesMut::new();
    reply.encode(protocol, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn set_options() {
    for (line, condition, get) in [
        ("SET k v", Condition::Always, false),
        ("set k v nx", Condition::Absent, false),
        ("SET k v XX", Condition::Present, false),
        ("SET k v GET", Condition::Always, true),
        ("SET k v NX GET", Condition::Absent, true),
        ("SET k v get xx", Condition::Present, true),
        ("SET k v NX NX", Condition::Absent, false),
    ] {
        let (slot, command) = write(line);
        assert_eq!(slot, slot_of(b"k"));
        let expected = Command::Set {
            key: b"k"[..].into(),
            value: b"v"[..].into(),
            condition,
            get,
            expiry: Expiry::Never,
        };
        assert_eq!(command, expected, "{line}");
    }
    for line in ["SET k v NX XX", "SET k v XX NX", "SET k v what", "SET k v \"\""] {
        assert_eq!(error(line), "ERR syntax error", "{line}");
    }
}

#[test]
fn counting_commands() {
    for (line, delta) in [
        ("INCR n", 1),
        ("DECR n", -1),
        ("INCRBY n -5", -5),
        ("DECRBY n 5", -5),
        ("DECRBY n -9223372036854775807", i64::MAX),
    ] {
        let key = Bytes::from_static(b"n");
        assert_eq!(write(line), (slot_of(b"n"), Command::Add { key, delta }));
    }
    for line in [
        "INCRBY n x",
        "INCRBY n 1.5",
        "DECRBY n \"\"",
        "INCRBY n 9223372036854775808",
    ] {
        assert_eq!(error(line), "ERR value is not an integer or out of range");
    }
    assert_eq!(error("DECRBY n -9223372036854775808"), "ERR decrement would overflow");
}

#[test]
fn many_keys_share_a_slot() {
    let keys = words("{a}1 {a}2");
    let slot = slot_of(b"a");
    assert_eq!(read("MGET {a}1 {a}2"), (slot, Query::GetMany(keys.clone())));
    assert_eq!(read("EXISTS {a}1 {a}2"), (slot, Query::Exists(keys.clone())));
    assert_eq!(write("DEL {a}1 {a}2"), (slot, Command::Delete { keys }));
    let pairs = vec![
        (Bytes::from_static(b"{a}1"), Bytes::from_static(b"b")),
        (Bytes::from_static(b"{a}2"), Bytes::from_static(b"c")),
    ];
    assert_eq!(
        write("MSET {a}1 b {a}2 c"),
        (slot, Command::SetMany { pairs }),
        "values have no slot"
    );
    for line in ["MGET a b", "EXISTS a b", "DEL a b", "MSET a 1 b 2"] {
        assert_eq!(error(line), "CROSSSLOT Keys in request don't hash to the same slot");
    }
}

#[test]
fn wrong_numbers_of_arguments() {
    for (line, name) in [
        ("GET", "get"),
        ("get a b", "get"),
        ("SET a", "set"),
        ("MSET a", "mset"),
        ("MSET a 1 a", "mset"),
        ("DEL", "del"),
        ("PING a b", "ping"),
        ("CLIENT", "client"),
        ("CLIENT SETNAME", "client|setname"),
        ("CLUSTER KEYSLOT", "cluster|keyslot"),
        ("CONFIG GET", "config|get"),
    ] {
        assert_eq!(
            error(line),
            format!("ERR wrong number of arguments for '{name}' command")
        );
    }
}

#[test]
fn unknown_commands_are_quoted() {
    assert_eq!(
        error("Foo a b"),
        "ERR unknown command 'Foo', with args beginning with: 'a' 'b' "
    );
    assert_eq!(error("foo"), "ERR unknown command 'foo', with args beginning with: ");
    let long = "x".repeat(1000);
    assert!(error(&format!("{long} {long} {long}")).len() < 400);
    for line in ["CLIENT foo", "CLUSTER foo", "CONFIG foo", "COMMAND foo"] {
        let name = line.split(' ').next().unwrap();
        assert_eq!(error(line), format!("ERR unknown subcommand 'foo'. Try {name} HELP."));
    }
}

#[test]
fn http_is_hung_up_on() {
    for line in ["POST / HTTP/1.1", "Host: localhost"] {
        assert!(matches!(parse(&mut session(), &words(line)), Action::Hang));
    }
}

#[test]
fn hello_chooses_the_protocol() {
    let mut session = session();
    let greeting = reply_in(&mut session, "HELLO 3 SETNAME me");
    assert_eq!(session.protocol, Protocol::Resp3);
    assert_eq!(session.name.as_ref(), b"me");
    let text = encoded(&greeting, Protocol::Resp3);
    assert!(text.starts_with("%7\r\n$6\r\nserver\r\n"), "{text}");
    assert!(text.contains("$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n"), "{text}");
    reply_in(&mut session, "HELLO");
    assert_eq!(session.protocol, Protocol::Resp3, "HELLO alone changes nothing");
    reply_in(&mut session, "HELLO 2");
    assert_eq!(session.protocol, Protocol::Resp2);
}

#[test]
fn hello_that_fails_changes_nothing() {
    let mut session = session();
    for (line, beginning) in [
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO x", "ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 AUTH user secret", "WRONGPASS invalid username-password pair"),
        ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
        ("HELLO 3 FOO bar", "ERR Syntax error in HELLO option 'FOO'"),
    ] {
        match reply_in(&mut session, line) {
            Reply::Error(text) => assert!(text.starts_with(beginning), "{text}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(session.protocol, Protocol::Resp2);
    }
}

#[test]
fn connection_commands() {
    assert_eq!(reply("PING"), Reply::status("PONG"));
    assert_eq!(reply("PING hi"), Reply::text("hi"));
    assert_eq!(reply("ECHO hi"), Reply::text("hi"));
    assert_eq!(reply("SELECT 0"), Reply::OK);
    assert_eq!(error("SELECT 1"), "ERR SELECT is not allowed in cluster mode");
    assert_eq!(reply("READONLY"), Reply::OK);
    assert!(matches!(
        parse(&mut session(), &words("QUIT")),
        Action::Close(reply) if reply == Reply::OK
    ));
    let mut session = session();
    reply_in(&mut session, "HELLO 3 SETNAME me");
    assert_eq!(reply_in(&mut session, "raftyard direct"), Reply::OK);
    assert!(session.direct);
    assert_eq!(reply_in(&mut session, "RAFTYARD DIRECT 4"), Reply::OK);
    let other = "ERR this node has groups = 4, the cluster has 16";
    assert_eq!(reply_in(&mut session, "RAFTYARD DIRECT 16"), Reply::error(other));
    assert_eq!(
        error("RAFTYARD DIRECT x"),
        "ERR value is not an integer or out of range"
    );
    assert_eq!(reply_in(&mut session, "RESET"), Reply::status("RESET"));
    assert_eq!(session.protocol, Protocol::Resp2);
    assert!(session.name.is_empty() && !session.direct);
}

#[test]
fn clients_introduce_themselves() {
    let mut session = session();
    let mut say = |line: &str| reply_in(&mut session, line);
    assert_eq!(say("CLIENT ID"), Reply::Integer(7));
    assert_eq!(say("CLIENT GETNAME"), Reply::Null);
    assert_eq!(say("CLIENT SETNAME app"), Reply::OK);
    assert_eq!(say("CLIENT GETNAME"), Reply::text("app"));
    assert_eq!(say("CLIENT SETINFO LIB-NAME redis-py"), Reply::OK);
    assert_eq!(say("CLIENT SETINFO lib-ver 5.0.1"), Reply::OK);
    assert_eq!(say("CLIENT NO-TOUCH ON"), Reply::OK);
    assert_eq!(say("CLIENT NO-EVICT off"), Reply::OK);
    let Reply::Verbatim(info) = say("CLIENT INFO") else {
        panic!("no text")
    };
    for field in [
        "id=7",
        "name=app",
        "resp=2",
        "psub=0",
        "lib-name=redis-py",
        "lib-ver=5.0.1",
    ] {
        assert!(info.split_whitespace().any(|f| f == field), "{field} in {info}");
    }
    for (line, text) in [
        ("CLIENT NO-TOUCH maybe", "ERR syntax error"),
        (
            "CLIENT SETNAME a\nb",
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ),
        ("CLIENT SETINFO lib-foo x", "ERR Unrecognized option 'lib-foo'"),
    ] {
        assert_eq!(say(line), Reply::error(text));
    }
    let long = format!("CLIENT SETNAME {}", "n".repeat(1_025));
    assert_eq!(
        say(&long),
        Reply::error("ERR Client names cannot be longer than 1024 bytes")
    );
    assert_eq!(say("CLIENT GETNAME"), Reply::text("app"), "it keeps its name");
}

#[test]
fn commands_describe_themselves() {
    let Reply::Array(all) = reply("COMMAND") else {
        panic!("no array")
    };
    assert_eq!(
        reply("COMMAND COUNT"),
        Reply::Integer(i64::try_from(all.len()).unwrap())
    );
    for entry in &all {
        let Reply::Array(fields) = entry else {
            panic!("{entry:?}")
        };
        assert_eq!(fields.len(), 10);
    }
    let entry = encoded(&reply("COMMAND INFO mset nosuch"), Protocol::Resp2);
    let expected = "*2\r\n*10\r\n$4\r\nmset\r\n:-3\r\n*2\r\n+write\r\n+denyoom\r\n:1\r\n:-1\r\n:2\r\n";
    assert!(entry.starts_with(expected), "{entry}");
    assert!(entry.ends_with("*0\r\n*0\r\n*0\r\n$-1\r\n"), "{entry}");
    assert_eq!(reply("COMMAND DOCS get"), Reply::Map(vec![]));
}

#[test]
fn names_of_commands_are_unique() {
    let mut names: Vec<_> = specs().map(|spec| spec.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(names.iter().all(|name| *name == name.to_ascii_lowercase()));
}

#[test]
fn config_get_answers_a_map() {
    assert_eq!(
        encoded(&reply("CONFIG GET save nosuch maxclients"), Protocol::Resp2),
        "*4\r\n$4\r\nsave\r\n$0\r\n\r\n$10\r\nmaxclients\r\n$3\r\n100\r\n"
    );
    assert_eq!(encoded(&reply("CONFIG GET nosuch"), Protocol::Resp3), "%0\r\n");
    let Reply::Map(all) = reply("CONFIG GET *") else {
        panic!("no map")
    };
    assert_eq!(all.len(), 7);
}

#[test]
fn info_has_sections() {
    let all = verbatim("INFO");
    for line in [
        "# Server\r\nredis_version:",
        "\r\n\r\n# Cluster\r\ncluster_enabled:1\r\n",
        "\r\ntcp_port:7001\r\n",
        "\r\nconnected_clients:2\r\n",
        "\r\nraft_groups_led:2\r\n",
        "# Keyspace\r\ndb0:keys=12,",
    ] {
        assert!(all.contains(line), "{line:?} in {all}");
    }
    assert_eq!(verbatim("INFO cluster"), "# Cluster\r\ncluster_enabled:1\r\n");
    assert_eq!(verbatim("INFO nosuch"), "");
}

#[test]
fn cluster_keyslot_and_myid() {
    assert_eq!(reply("CLUSTER KEYSLOT foo{hello}"), Reply::Integer(866));
    let Reply::Bulk(name) = reply("CLUSTER MYID") else {
        panic!("no name")
    };
    assert_eq!(name.len(), 40);
}

#[test]
fn cluster_slots_lists_leaders_first_and_leaves_out_what_nobody_leads() {
    let Reply::Array(ranges) = reply("CLUSTER SLOTS") else {
        panic!("no array")
    };
    let shown: Vec<String> = ranges
        .iter()
        .map(|range| {
            let Reply::Array(fields) = range else {
                panic!("{range:?}")
            };
            let words: Vec<String> = fields
                .iter()
                .map(|field| match field {
                    Reply::Integer(slot) => slot.to_string(),
                    Reply::Array(node) => match &node[..] {
                        [Reply::Bulk(host), Reply::Integer(port), Reply::Bulk(name)] => {
                            assert_eq!(name.len(), 40);
                            format!("{}:{port}", String::from_utf8_lossy(host))
                        }
                        other => panic!("{other:?}"),
                    },
                    other => panic!("{other:?}"),
                })
                .collect();
            words.join(" ")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "0 8191 10.0.0.1:7001 10.0.0.3:7001",
            "8192 12287 10.0.0.2:7001 10.0.0.3:7001",
        ],
        "a node that leads is not shown as a replica as well"
    );
}

#[test]
fn cluster_nodes_has_a_line_per_node() {
    let lines = |text: &str| -> Vec<String> { text.lines().map(|line| line.split_at(40).1.to_owned()).collect() };
    let text = verbatim("CLUSTER NODES");
    let first = text.split(' ').next().unwrap();
    assert_eq!(
        lines(&text),
        [
            " 10.0.0.1:7001@8001 myself,master - 0 0 1 connected 0-8191".to_owned(),
            " 10.0.0.2:7001@8001 master - 0 0 2 connected 8192-12287".to_owned(),
            format!(" 10.0.0.3:7001@8001 slave {first} 0 0 3 connected"),
        ],
        "a node that leads nothing is a replica here too"
    );
    let mut nobody = status();
    nobody.leaders = vec![None; 4];
    let Action::Describe(describe) = parse(&mut session(), &words("CLUSTER NODES")) else {
        panic!("not described")
    };
    let Reply::Verbatim(text) = describe(&nobody) else {
        panic!("no text")
    };
    assert_eq!(lines(&text)[2], " 10.0.0.3:7001@8001 master - 0 0 3 connected");
}

#[test]
fn info_and_hello_tell_the_role_that_cluster_shows() {
    let told = |line: &str, me: u64| {
        let status = Status {
            topology: Arc::new(status().topology.seen_from(NodeId(me))),
            ..status()
        };
        let reply = match parse(&mut session(), &words(line)) {
            Action::Describe(describe) => describe(&status),
            _ => panic!("{line}: not described"),
        };
        encoded(&reply, Protocol::Resp2)
    };
    assert!(told("INFO replication", 1).contains("\r\nrole:master\r\nconnected_slaves:"));
    assert!(told("INFO replication", 3).contains("\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:7001\r\n"));
    assert!(told("HELLO", 2).contains("role\r\n$6\r\nmaster\r\n"));
    assert!(told("HELLO", 3).contains("role\r\n$7\r\nreplica\r\n"));
}

#[test]
fn cluster_shards_names_roles() {
    let text = encoded(&reply("CLUSTER SHARDS"), Protocol::Resp3);
    assert!(
        text.starts_with("*2\r\n%2\r\n$5\r\nslots\r\n*2\r\n:0\r\n:8191\r\n$5\r\nnodes\r\n*2\r\n%7\r\n"),
        "{text}"
    );
    assert_eq!(text.matches("master").count(), 2);
    assert_eq!(text.matches("replica\r\n").count(), 2);
}

#[test]
fn cluster_info_fails_while_a_slot_has_no_leader() {
    let text = verbatim("CLUSTER INFO");
    for line in [
        "cluster_state:fail",
        "cluster_slots_ok:12288",
        "cluster_slots_fail:4096",
        "cluster_known_nodes:3",
        "cluster_size:2",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
    let mut whole = status();
    whole.leaders = vec![Some(NodeId(3)); 4];
    let Action::Describe(describe) = parse(&mut session(), &words("CLUSTER INFO")) else {
        panic!("not described")
    };
    let text = encoded(&describe(&whole), Protocol::Resp2);
    assert!(text.contains("cluster_state:ok\r\n"), "{text}");
}
