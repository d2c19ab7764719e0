//! The Redis serialization protocol, versions 2 and 3: what clients send ([`Parser`]) and what they are
//! answered ([`Reply`]); the other way round where this node is the client ([`encode_command`], [`ReplyParser`]). Pure: no
//! I/O, so every split of the input can be tested.

mod encode;
mod inline;
mod parser;
mod reply;
mod reply_parser;

pub(crate) use encode::encode_command;
pub(crate) use parser::{MAX_BULK_BYTES, Parser};
pub(crate) use reply::{Protocol, Reply};
pub(crate) use reply_parser::{ReplyError, ReplyParser};
