//! What one call carries.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What queued for one peer and lane while earlier frames were on their way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// Numbers the frames of one connection from 0 on, without gaps.
    seq: u64,
    /// CRC-32 of `seq` (little-endian) and `payload`.
    checksum: u32,
    /// Messages back to back, as `wire` writes them.
    payload: Bytes,
}

/// A frame that is not what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checksum of frame {seq} is {found:08x}, its content has {expected:08x}")]
pub(crate) struct ChecksumMismatch {
    seq: u64,
    found: u32,
    expected: u32,
}

impl Frame {
    /// A frame of `payload`, sealed with its checksum.
    pub(crate) fn seal(seq: u64, payload: Bytes) -> Self {
        Self {
            seq,
            checksum: checksum(seq, &payload),
            payload,
        }
    }

    /// Its number, which a checksum has not vouched for yet.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes of its payload.
    pub(crate) fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// The payload as it was sealed.
    ///
    /// # Errors
    ///
    /// [`ChecksumMismatch`] if number or payload changed since.
    pub(crate) fn open(self) -> Result<Bytes, ChecksumMismatch> {
        let expected = checksum(self.seq, &self.payload);
        if self.checksum == expected {
            Ok(self.payload)
        } else {
            Err(ChecksumMismatch {
                seq: self.seq,
                found: self.checksum,
                expected,
            })
        }
    }
}

fn checksum(seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_anywhere_is_noticed() {
        let sealed = Frame::seal(7, Bytes::from_static(b"messages"));
        assert_eq!(sealed.clone().open().unwrap(), "messages");
        let packed = postcard::to_allocvec(&sealed).unwrap();
        let mut noticed = 0;
        for bit in 0..packed.len() * 8 {
            let mut flipped = packed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match postcard::from_bytes::<Frame>(&flipped) {
                Ok(frame) => assert!(frame.open().is_err(), "bit {bit} went unnoticed"),
                Err(_) => noticed += 1,
            }
        }
        assert!(noticed < packed.len() * 8, "some flips must reach the checksum");
    }
}
