//! The bytes of a key or a value as they are kept.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// As many as fit where a handle to longer ones would be.
const SHORT_MAX: usize = 22;

/// Bytes that never change. Short ones are kept in place: most keys and many values need no memory of their own, which would
/// have to be found, and waited for, at every look and every change. Longer ones are shared.
#[derive(Clone)]
pub(crate) struct Blob(Form);

#[derive(Clone)]
enum Form {
    Short(u8, [u8; SHORT_MAX]),
    Long(Bytes),
}

impl Blob {
    /// The bytes, if they are short.
    fn short(bytes: &[u8]) -> Option<Self> {
        let mut short = [0; SHORT_MAX];
        short.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let length = u8::try_from(bytes.len()).ok()?;
        Some(Self(Form::Short(length, short)))
    }

    /// A handle to the bytes; a copy if they are short.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Form::Short(..) => Bytes::copy_from_slice(self),
            Form::Long(bytes) => bytes.clone(),
        }
    }

    /// The bytes alone, which nobody else holds if nobody else held this.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.0 {
            Form::Short(..) => self.to_bytes(),
            Form::Long(bytes) => bytes,
        }
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Form::Long(bytes) => bytes,
        }
    }
}

impl Default for Blob {
    fn default() -> Self {
        Self(Form::Short(0, [0; SHORT_MAX]))
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Self::short(bytes).unwrap_or_else(|| Self(Form::Long(Bytes::copy_from_slice(bytes))))
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self::short(&bytes).unwrap_or(Self(Form::Long(bytes)))
    }
}

impl From<&Bytes> for Blob {
    fn from(bytes: &Bytes) -> Self {
        Self::short(bytes).unwrap_or_else(|| Self(Form::Long(bytes.clone())))
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Blob {}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

/// As [`Bytes`] are.
impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytewise;

        impl Visitor<'_> for Bytewise {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob::from(bytes))
            }
        }

        deserializer.deserialize_bytes(Bytewise)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn short_or_long_it_is_the_same_bytes() {
        for length in [0, 1, SHORT_MAX - 1, SHORT_MAX, SHORT_MAX + 1, 1_000] {
            let bytes = Bytes::from(vec![7; length]);
            let blob = Blob::from(&bytes);
            assert_eq!(*blob, *bytes);
            assert_eq!(
                (Blob::from(bytes.clone()), Blob::from(&bytes[..])),
                (blob.clone(), blob.clone())
            );
            assert_eq!(
                (blob.to_bytes(), blob.clone().into_bytes()),
                (bytes.clone(), bytes.clone())
            );
            let encoded = postcard::to_stdvec(&blob).unwrap();
            assert_eq!(encoded, postcard::to_stdvec(&bytes).unwrap());
            assert_eq!(postcard::from_bytes::<Blob>(&encoded).unwrap(), blob);
        }
    }

    #[test]
    fn it_takes_no_more_room_than_a_handle() {
        assert_eq!(size_of::<Blob>(), size_of::<Bytes>());
    }

    #[test]
    fn a_long_one_is_shared() {
        let bytes = Bytes::from(vec![7; SHORT_MAX + 1]);
        let blob = Blob::from(&bytes);
        assert_eq!(blob.to_bytes().as_ptr(), bytes.as_ptr());
        assert_eq!(blob.into_bytes().as_ptr(), bytes.as_ptr());
    }
}
