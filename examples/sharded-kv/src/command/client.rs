//! `CLIENT …`: what libraries say of themselves when they connect.

use bytes::Bytes;

use super::error::quote;
use super::{Action, CommandError, Parsed, Spec, argument, subcommand};
use crate::resp::Reply;
use crate::session::Session;

pub(super) const COMMANDS: &[Spec] = &[Spec {
    name: "client",
    arity: -2,
    flags: &["noscript", "loading", "stale"],
    keys: None,
    categories: &["@slow", "@connection"],
    run: client,
}];

const SUBCOMMANDS: &[(&str, i64)] = &[
    ("ID", 2),
    ("INFO", 2),
    ("GETNAME", 2),
    ("SETNAME", 3),
    ("SETINFO", 4),
    // Nothing is evicted and no use of a key is noted: both are as asked, always.
    ("NO-EVICT", 3),
    ("NO-TOUCH", 3),
];

fn client(session: &mut Session, arguments: &[Bytes]) -> Parsed {
    let reply = match subcommand("client", SUBCOMMANDS, arguments)? {
        "ID" => Reply::Integer(i64::try_from(session.id).unwrap_or(i64::MAX)),
        "INFO" => Reply::Verbatim(describe(session)),
        "GETNAME" if session.name.is_empty() => Reply::Null,
        "GETNAME" => Reply::Bulk(session.name.clone()),
        "SETNAME" => {
            set_name(session, argument(arguments, 2)?)?;
            Reply::OK
        }
        "SETINFO" => {
            set_info(session, argument(arguments, 2)?, argument(arguments, 3)?)?;
            Reply::OK
        }
        _ => {
            let switch = argument(arguments, 2)?;
            if !switch.eq_ignore_ascii_case(b"on") && !switch.eq_ignore_ascii_case(b"off") {
                return Err(CommandError::Syntax);
            }
            Reply::OK
        }
    };
    Ok(Action::Reply(reply))
}

/// Names the connection; an empty name takes its name away.
pub(super) fn set_name(session: &mut Session, name: &Bytes) -> Result<(), CommandError> {
    session.name = label("Client names", name)?;
    Ok(())
}

fn set_info(session: &mut Session, option: &Bytes, value: &Bytes) -> Result<(), CommandError> {
    if option.eq_ignore_ascii_case(b"LIB-NAME") {
        session.library = label("lib-name", value)?;
    } else if option.eq_ignore_ascii_case(b"LIB-VER") {
        session.library_version = label("lib-ver", value)?;
    } else {
        let text = format!("ERR Unrecognized option '{}'", quote(option, 64));
        return Err(CommandError::Other(text));
    }
    Ok(())
}

/// Bytes of what a client says of itself, each.
const LABEL_BYTES_MAX: usize = 1024;

/// A word that can stand in `CLIENT INFO`. Copied, so that it does not keep the whole read buffer alive.
fn label(what: &str, value: &Bytes) -> Result<Bytes, CommandError> {
    if value.len() > LABEL_BYTES_MAX {
        let text = format!("ERR {what} cannot be longer than {LABEL_BYTES_MAX} bytes");
        return Err(CommandError::Other(text));
    }
    if value.iter().all(u8::is_ascii_graphic) {
        return Ok(Bytes::copy_from_slice(value));
    }
    let text = format!("ERR {what} cannot contain spaces, newlines or special characters.");
    Err(CommandError::Other(text))
}

/// The fields of Redis 7, all of which some library expects. Nobody can subscribe here, and buffers are not measured per
/// connection: those are 0.
fn describe(session: &Session) -> String {
    let text = String::from_utf8_lossy;
    format!(
        "id={} addr={} laddr={} fd=-1 name={} age={} idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi={} qbuf=0 \
         qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=client|info \
         user=default redir=-1 resp={} lib-name={} lib-ver={}\n",
        session.id,
        session.client,
        session.server,
        text(&session.name),
        session.since.elapsed().as_secs(),
        session
            .queue
            .as_ref()
            .map_or(-1, |queue| i64::try_from(queue.len()).unwrap_or(i64::MAX)),
        session.protocol.number(),
        text(&session.library),
        text(&session.library_version),
    )
}
