//! The Redis serialization protocol, versions 2 and 3: what clients send ([`Parser`]) and what they are
//! answered ([`Reply`]). Pure: no I/O, so every split of the input can be tested.

mod encode;
mod inline;
mod parser;
mod reply;

pub(crate) use parser::{MAX_BULK_BYTES, Parser};
pub(crate) use reply::{Protocol, Reply};
