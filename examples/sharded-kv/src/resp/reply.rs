//! What a client is answered.

use std::borrow::Cow;

use bytes::Bytes;

/// The protocol version of a connection. A connection starts with version 2 and changes it with `HELLO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

impl Protocol {
    /// The number that `HELLO` takes and answers.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// One reply, in the terms of RESP3; what RESP2 lacks is encoded as Redis does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// A short text without line breaks: `+OK`.
    Status(Cow<'static, str>),
    /// An error: its code, a blank and what is wrong. Line breaks are replaced.
    Error(String),
    Integer(i64),
    Bulk(Bytes),
    /// A text for people to read. A bulk string in RESP2.
    Verbatim(String),
    /// `$-1` in RESP2.
    Null,
    /// `*-1` in RESP2, the same as [`Null`](Self::Null) in RESP3.
    NullArray,
    Array(Vec<Reply>),
    /// Keys and values in turn in RESP2.
    Map(Vec<(Reply, Reply)>),
    /// An array in RESP2.
    Set(Vec<Reply>),
}

impl Reply {
    pub(crate) const OK: Self = Self::status("OK");

    /// A status with a fixed text.
    pub(crate) const fn status(text: &'static str) -> Self {
        Self::Status(Cow::Borrowed(text))
    }

    /// An error with the text of `error`.
    pub(crate) fn error(error: &(impl ToString + ?Sized)) -> Self {
        Self::Error(error.to_string())
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        let beside = match self {
            Self::Status(_) | Self::Integer(_) | Self::Null | Self::NullArray => 0,
            Self::Error(text) | Self::Verbatim(text) => text.len(),
            Self::Bulk(bytes) => bytes.len(),
            Self::Array(items) | Self::Set(items) => items.iter().map(Self::weight).sum(),
            Self::Map(pairs) => pairs.iter().map(|(key, value)| key.weight() + value.weight()).sum(),
        };
        size_of::<Self>() + beside
    }

    /// A bulk string with the given text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Bulk(Bytes::from(text.into()))
    }
}
