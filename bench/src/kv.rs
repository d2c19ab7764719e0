//! The state machine under load: a key-value store in memory.

use bytes::Bytes;
use raftyard::{StateMachine, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 8;

/// A key-value store in memory.
#[derive(Default)]
pub struct Kv(HashMap<u64, Bytes>);

/// A write.
#[derive(Clone, Serialize, Deserialize)]
pub struct Put {
    key: [u8; KEY_BYTES],
    value: Bytes,
}

impl Put {
    /// `key`, of 8 bytes, and `value` together are the payload.
    #[must_use]
    pub fn new(key: u64, value: Bytes) -> Self {
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

    fn apply(&mut self, put: Put, _: Timestamp) {
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
