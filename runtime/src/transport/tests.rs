//! The transport as its node and its peers see it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod codec;
mod crowd;
mod exchange;
mod faults;
mod harness;
mod order;
mod outbox;
#[cfg(feature = "tls")]
mod tls;
mod window;
mod wire;
