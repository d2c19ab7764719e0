//! `COMMAND …`: which commands there are and where their keys stand.

use bytes::Bytes;

use super::{Action, Parsed, Spec, arguments_from, spec_named, specs, subcommand};
use crate::resp::Reply;
use crate::session::Session;

pub(super) const COMMANDS: &[Spec] = &[Spec {
    name: "command",
    arity: -1,
    flags: &["loading", "stale"],
    keys: None,
    categories: &["@slow", "@connection"],
    run: command,
}];

const SUBCOMMANDS: &[(&str, i64)] = &[("COUNT", 2), ("DOCS", -2), ("INFO", -2), ("LIST", 2)];

fn command(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    if arguments.len() == 1 {
        return Ok(Action::Reply(all()));
    }
    let names = arguments_from(arguments, 2);
    let reply = match subcommand("command", SUBCOMMANDS, arguments)? {
        "COUNT" => Reply::Integer(i64::try_from(specs().count()).unwrap_or(i64::MAX)),
        "LIST" => Reply::Array(specs().map(|spec| Reply::text(spec.name)).collect()),
        "INFO" if names.is_empty() => all(),
        "INFO" => Reply::Array(
            names
                .iter()
                .map(|name| spec_named(name).map_or(Reply::Null, entry))
                .collect(),
        ),
        // No documentation is kept here; clients fall back on their own.
        _ => Reply::Map(vec![]),
    };
    Ok(Action::Reply(reply))
}

fn all() -> Reply {
    Reply::Array(specs().map(entry).collect())
}

/// The ten fields of Redis 7: name, arity, flags, first key, last key, step, categories, tips, key
/// specifications, subcommands.
fn entry(spec: &'static Spec) -> Reply {
    let words = |words: &[&'static str]| words.iter().map(|word| Reply::status(word)).collect();
    let (first, last, step) = spec.keys.unwrap_or((0, 0, 0));
    Reply::Array(vec![
        Reply::text(spec.name),
        Reply::Integer(spec.arity),
        Reply::Set(words(spec.flags)),
        Reply::Integer(first),
        Reply::Integer(last),
        Reply::Integer(step),
        Reply::Set(words(spec.categories)),
        Reply::Array(vec![]),
        Reply::Array(vec![]),
        Reply::Array(vec![]),
    ])
}
