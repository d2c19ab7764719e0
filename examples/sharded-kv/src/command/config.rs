//! `CONFIG GET`: what tools ask to know how safe and how large the server is.

use bytes::Bytes;

use super::{Action, Parsed, Spec, arguments_from, subcommand};
use crate::resp::{MAX_BULK_BYTES, Reply};
use crate::session::Session;
use crate::status::Status;

pub(super) const COMMANDS: &[Spec] = &[Spec {
    name: "config",
    arity: -2,
    flags: &["admin", "noscript", "loading", "stale"],
    keys: None,
    categories: &["@admin", "@slow", "@dangerous"],
    run: config,
}];

/// The settings, in Redis's words. A write is answered after a quorum has fsynced it, which is what `appendfsync always`
/// promises there.
fn settings(status: &Status) -> [(&'static str, String); 7] {
    [
        ("save", String::new()),
        ("appendonly", "yes".into()),
        ("appendfsync", "always".into()),
        ("databases", "1".into()),
        ("cluster-enabled", "yes".into()),
        ("maxclients", status.clients_max.to_string()),
        ("proto-max-bulk-len", MAX_BULK_BYTES.to_string()),
    ]
}

/// `CONFIG GET name …`, a name or `*`. Names that are not known are left out.
fn config(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    subcommand("config", &[("GET", -3)], arguments)?;
    let names = arguments_from(arguments, 2).to_vec();
    Ok(Action::Describe(Box::new(move |status| {
        let wanted = |setting: &str| {
            names
                .iter()
                .any(|name| name.as_ref() == b"*" || name.eq_ignore_ascii_case(setting.as_bytes()))
        };
        Reply::Map(
            settings(status)
                .into_iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, value)| (Reply::text(name), Reply::text(value)))
                .collect(),
        )
    })))
}
