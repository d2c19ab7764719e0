//! The state machine under load: a key-value store in memory.

use bytes::Bytes;
use raftyard::StateMachine;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Keys that a client writes to, round and round.
pub(crate) const KEYS_PER_CLIENT: u64 = 1_000;

#[derive(Default)]
pub(crate) struct Kv(HashMap<u64, Bytes>);

/// A write.
#[derive(Serialize, Deserialize)]
pub(crate) struct Put {
    key: [u8; 8],
    value: Bytes,
}

impl Put {
    /// `key` and `value` together are the payload.
    pub(crate) fn new(key: u64, value: Bytes) -> Self {
        Self {
            key: key.to_le_bytes(),
            value,
        }
    }
}

impl StateMachine for Kv {
    type Command = Put;
    type Response = ();
    type Query = u64;
    type Answer = Option<Bytes>;
    type Snapshot = HashMap<u64, Bytes>;

    fn apply(&mut self, put: Put) {
        self.0.insert(u64::from_le_bytes(put.key), put.value);
    }

    fn query(&self, key: u64) -> Option<Bytes> {
        self.0.get(&key).cloned()
    }

    fn snapshot(&self) -> HashMap<u64, Bytes> {
        self.0.clone()
    }

    fn restore(&mut self, snapshot: HashMap<u64, Bytes>) {
        self.0 = snapshot;
    }
}
