//! What is kept of one request.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Answers of up to so many bytes need no allocation.
const SMALL: usize = 22;

/// What is kept of a request. As small as three words: a busy session has thousands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Image", from = "Image")]
pub(crate) enum Kept {
    /// Nothing yet: it has not come.
    Nothing,
    /// It was resolved as not applied, and never will be.
    Fenced,
    /// It was applied; its answer can't be serialised.
    Unusable,
    /// It was applied; the answer, in a few bytes.
    Small(u8, [u8; SMALL]),
    /// It was applied; the answer.
    Large(Box<[u8]>),
}

impl Kept {
    /// Serialises an answer.
    pub(crate) fn answer<R: Serialize>(response: &R) -> Result<Self, postcard::Error> {
        let mut bytes = [0; SMALL];
        match postcard::to_slice(response, &mut bytes) {
            Ok([only]) => Ok(Self::byte(*only)),
            Ok(used) => {
                let len = u8::try_from(used.len()).map_err(|_| postcard::Error::SerializeBufferFull)?;
                Ok(Self::Small(len, bytes))
            }
            Err(postcard::Error::SerializeBufferFull) => {
                Ok(Self::Large(postcard::to_stdvec(response)?.into_boxed_slice()))
            }
            Err(error) => Err(error),
        }
    }

    /// An answer of one byte, as most are. To read a byte back with those beside it, as a copy of the whole does, would wait
    /// until all that was written before is in the cache.
    fn byte(only: u8) -> Self {
        let mut bytes = [0; SMALL];
        bytes[0] = only;
        Self::Small(1, bytes)
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let mut small = [0; SMALL];
        match (small.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(bytes);
                Self::Small(len, small)
            }
            _ => Self::Large(bytes.into()),
        }
    }

    /// The serialised answer, if there is one.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Small(len, bytes) => bytes.get(..usize::from(*len)),
            Self::Large(bytes) => Some(bytes),
            Self::Nothing | Self::Fenced | Self::Unusable => None,
        }
    }

    /// Memory it takes, in bytes; the same on every machine.
    pub(crate) fn size(&self) -> u64 {
        let beside = match self {
            Self::Large(bytes) => bytes.len() as u64,
            _ => 0,
        };
        SMALL as u64 + 2 + beside
    }
}

/// As it is in a snapshot.
#[derive(Serialize, Deserialize)]
enum Image {
    Nothing,
    Fenced,
    Unusable,
    Answer(Bytes),
}

impl From<Kept> for Image {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Nothing => Self::Nothing,
            Kept::Fenced => Self::Fenced,
            Kept::Unusable => Self::Unusable,
            Kept::Small(..) => Self::Answer(Bytes::copy_from_slice(kept.bytes().unwrap_or_default())),
            Kept::Large(bytes) => Self::Answer(Bytes::from(bytes)),
        }
    }
}

impl From<Image> for Kept {
    fn from(image: Image) -> Self {
        match image {
            Image::Nothing => Self::Nothing,
            Image::Fenced => Self::Fenced,
            Image::Unusable => Self::Unusable,
            Image::Answer(bytes) => Self::of_bytes(&bytes),
        }
    }
}
