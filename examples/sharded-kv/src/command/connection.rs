//! `HELLO`, `PING` and the other commands about the connection itself.

use std::sync::Arc;

use bytes::Bytes;

use super::client::set_name;
use super::error::quote;
use super::{Action, CommandError, Parsed, Spec, argument, arguments_from};
use crate::machine::parse_integer;
use crate::resp::{Protocol, Reply};
use crate::session::Session;
use crate::status::{COMPATIBLE_VERSION, SERVER_NAME, Status};

const FAST: &[&str] = &["@fast", "@connection"];
const ANYTIME: &[&str] = &["noscript", "loading", "stale", "fast"];
/// They change what commands mean that are queued before them.
const ALONE: &[&str] = &["noscript", "loading", "stale", "fast", "no_multi"];

pub(super) const COMMANDS: &[Spec] = &[
    Spec {
        name: "ping",
        arity: -1,
        flags: &["fast"],
        keys: None,
        categories: FAST,
        run: ping,
    },
    Spec {
        name: "echo",
        arity: 2,
        flags: &["fast"],
        keys: None,
        categories: FAST,
        run: |_, arguments| Ok(Action::Reply(Reply::Bulk(argument(arguments, 1)?.clone()))),
    },
    Spec {
        name: "hello",
        arity: -1,
        flags: ALONE,
        keys: None,
        categories: FAST,
        run: hello,
    },
    Spec {
        name: "auth",
        arity: -2,
        flags: ALONE,
        keys: None,
        categories: FAST,
        run: auth,
    },
    Spec {
        name: "quit",
        arity: -1,
        flags: ANYTIME,
        keys: None,
        categories: FAST,
        run: |_, _| Ok(Action::Close(Reply::OK)),
    },
    Spec {
        name: "reset",
        arity: 1,
        flags: ANYTIME,
        keys: None,
        categories: FAST,
        run: reset,
    },
    Spec {
        name: "select",
        arity: 2,
        flags: &["loading", "stale", "fast"],
        keys: None,
        categories: FAST,
        run: select,
    },
    Spec {
        name: "readonly",
        arity: 1,
        flags: &["loading", "stale", "fast", "no_multi"],
        keys: None,
        categories: FAST,
        run: |session, _| set_read_only(session, true),
    },
    Spec {
        name: "readwrite",
        arity: 1,
        flags: &["loading", "stale", "fast", "no_multi"],
        keys: None,
        categories: FAST,
        run: |session, _| set_read_only(session, false),
    },
];

fn set_read_only(session: &mut Session, read_only: bool) -> Parsed {
    session.read_only = read_only;
    Ok(Action::Reply(Reply::OK))
}

fn ping(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    match arguments_from(arguments, 1) {
        [] => Ok(Action::Reply(Reply::status("PONG"))),
        [message] => Ok(Action::Reply(Reply::Bulk(message.clone()))),
        _ => Err(CommandError::Arity("ping".into())),
    }
}

/// All that a client can ask before it has said the password.
pub(super) const BEFORE_AUTH: [&str; 4] = ["auth", "hello", "quit", "reset"];

/// `AUTH [user] password`.
fn auth(session: &mut Session, arguments: &[Bytes]) -> Parsed {
    match arguments_from(arguments, 1) {
        [_] if !session.access.has_password() => return Err(no_password()),
        [password] => admit(session, b"default", password)?,
        [user, password] => admit(session, user, password)?,
        _ => return Err(CommandError::Syntax),
    }
    Ok(Action::Reply(Reply::OK))
}

/// There is one user, as Redis calls who is not named. A connection that was admitted stays so.
fn admit(session: &mut Session, user: &[u8], password: &[u8]) -> Result<(), CommandError> {
    if user != b"default" {
        session.access.count_refusal();
        return Err(CommandError::WrongPassword);
    }
    if !session.access.admits(password) {
        return Err(CommandError::WrongPassword);
    }
    session.authenticated = true;
    Ok(())
}

/// Nothing is asked of clients.
fn no_password() -> CommandError {
    CommandError::other(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
         configuration is correct?",
    )
}

const HELLO_NEEDS_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                                <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
                                RESP protocol version at the same time";

/// `HELLO [version [AUTH …] [SETNAME name]]`: chooses the protocol of all replies from this one on.
fn hello(session: &mut Session, arguments: &[Bytes]) -> Parsed {
    let mut protocol = session.protocol;
    if let Some(version) = arguments.get(1) {
        protocol = match parse_integer(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(CommandError::other("NOPROTO unsupported protocol version")),
            None => {
                let text = "ERR Protocol version is not an integer or out of range";
                return Err(CommandError::other(text));
            }
        };
    }
    let mut rest = arguments_from(arguments, 2);
    let (mut name, mut credentials) = (None, None);
    while let [option, values @ ..] = rest {
        rest = match values {
            [user, password, rest @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                credentials = Some((user, password));
                rest
            }
            [value, rest @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                name = Some(value);
                rest
            }
            _ => {
                let text = format!("ERR Syntax error in HELLO option '{}'", quote(option, 64));
                return Err(CommandError::Other(text));
            }
        };
    }
    if let Some((user, password)) = credentials {
        admit(session, user, password)?;
    }
    if !session.authenticated {
        return Err(CommandError::other(HELLO_NEEDS_AUTH));
    }
    if let Some(name) = name {
        set_name(session, name)?;
    }
    session.protocol = protocol;
    let id = i64::try_from(session.id).unwrap_or(i64::MAX);
    Ok(Action::Describe(Box::new(move |status| greeting(status, protocol, id))))
}

fn greeting(status: &Status, protocol: Protocol, id: i64) -> Reply {
    let topology = &status.topology;
    let master = topology.master_of(topology.me(), &topology.led_ranges(&status.leaders));
    let field = |name: &str, value: Reply| (Reply::text(name), value);
    Reply::Map(vec![
        field("server", Reply::text(SERVER_NAME)),
        field("version", Reply::text(COMPATIBLE_VERSION)),
        field("proto", Reply::Integer(protocol.number())),
        field("id", Reply::Integer(id)),
        field("mode", Reply::text("cluster")),
        field("role", Reply::text(if master.is_some() { "replica" } else { "master" })),
        field("modules", Reply::Array(vec![])),
    ])
}

fn reset(session: &mut Session, _: &[Bytes]) -> Parsed {
    *session = Session::new(session.id, session.client, session.server, Arc::clone(&session.access));
    Ok(Action::Reply(Reply::status("RESET")))
}

fn select(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    match parse_integer(argument(arguments, 1)?) {
        Some(0) => Ok(Action::Reply(Reply::OK)),
        Some(_) => {
            let text = "ERR SELECT is not allowed in cluster mode";
            Err(CommandError::other(text))
        }
        None => Err(CommandError::NotAnInteger),
    }
}
