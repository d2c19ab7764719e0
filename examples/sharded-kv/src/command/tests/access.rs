//! What a client may ask before it has said the password.

use super::*;
use crate::access::{Access, Password};

fn stranger() -> Session {
    let address = "127.0.0.1:1".parse().unwrap();
    let access = Access::new(Password::new(b"secret"));
    Session::new(7, address, address, Arc::new(access))
}

const NOAUTH: &str = "NOAUTH Authentication required.";
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

#[test]
fn nothing_is_done_before_the_password() {
    let mut session = stranger();
    for line in [
        "PING",
        "GET k",
        "SET k v",
        "MULTI",
        "INFO",
        "CLIENT SETNAME me",
        "CLUSTER SLOTS",
        "RAFTYARD DIRECT",
        "RAFTYARD FLUSH 1",
        "RAFTYARD ADMIN STATUS",
        "RAFTYARD ADMIN REBUILD 1",
        "FLUSHALL",
        "COMMAND",
    ] {
        assert_eq!(reply_in(&mut session, line), Reply::error(NOAUTH), "{line}");
    }
    assert!(!session.direct && session.queue.is_none() && session.name.is_empty());
    let Reply::Error(hello) = reply_in(&mut session, "HELLO 3 SETNAME me") else {
        panic!("HELLO was answered");
    };
    assert!(hello.starts_with("NOAUTH HELLO must be called with the client already authenticated"));
    assert_eq!((session.protocol, session.name.is_empty()), (Protocol::Resp2, true));
    assert_eq!(reply_in(&mut session, "QUIT"), Reply::OK);
    assert_eq!(reply_in(&mut session, "RESET"), Reply::status("RESET"));
    assert!(!session.authenticated);
}

#[test]
fn the_password_lets_in() {
    for line in ["AUTH secret", "auth default secret", "HELLO 3 AUTH default secret"] {
        let mut session = stranger();
        assert!(!matches!(reply_in(&mut session, line), Reply::Error(_)), "{line}");
        assert_eq!(reply_in(&mut session, "PING"), Reply::status("PONG"), "{line}");
        assert_eq!(session.access.refusals(), 0);
        // As a connection that goes back to its pool: the next user has to say it again.
        reply_in(&mut session, "RESET");
        assert_eq!(reply_in(&mut session, "PING"), Reply::error(NOAUTH), "{line}");
    }
}

#[test]
fn any_other_does_not() {
    let mut session = stranger();
    let wrong = [
        "AUTH Secret",
        "AUTH secret2",
        "AUTH \"\"",
        "AUTH admin secret",
        "AUTH default guess",
        "HELLO 3 AUTH default guess",
        "HELLO 3 AUTH admin secret",
    ];
    for line in wrong {
        assert_eq!(reply_in(&mut session, line), Reply::error(WRONGPASS), "{line}");
        assert_eq!(reply_in(&mut session, "PING"), Reply::error(NOAUTH), "{line}");
    }
    assert_eq!(session.access.refusals(), wrong.len() as u64);
    assert_eq!(session.protocol, Protocol::Resp2);
    for line in [
        "AUTH a b c",
        "HELLO 3 AUTH default",
        "HELLO 3 AUTH default secret FOO",
        "HELLO 4 AUTH default secret",
    ] {
        assert!(matches!(reply_in(&mut session, line), Reply::Error(_)), "{line}");
        assert!(!session.authenticated);
    }
    // Who is in stays in.
    reply_in(&mut session, "AUTH secret");
    assert_eq!(reply_in(&mut session, "AUTH guess"), Reply::error(WRONGPASS));
    assert_eq!(reply_in(&mut session, "PING"), Reply::status("PONG"));
}

#[test]
fn without_a_password_any_is_right_for_the_user_there_is() {
    assert_eq!(reply("AUTH default anything"), Reply::OK);
    assert!(matches!(reply("HELLO 2 AUTH default anything"), Reply::Map(_)));
    assert!(error("AUTH anything").starts_with("ERR AUTH <password> called without any password"));
    assert_eq!(error("AUTH admin anything"), WRONGPASS);
}
