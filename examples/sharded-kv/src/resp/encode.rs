//! Writes replies the way the connection's protocol version spells them.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Protocol, Reply};

impl Reply {
    /// Appends the reply to `out`.
    pub(crate) fn encode(&self, protocol: Protocol, out: &mut BytesMut) {
        match self {
            Self::Status(text) => {
                out.put_u8(b'+');
                out.put_slice(text.as_bytes());
                out.put_slice(b"\r\n");
            }
            Self::Error(text) => {
                out.put_u8(b'-');
                out.extend(text.bytes().map(|byte| match byte {
                    b'\r' | b'\n' => b' ',
                    other => other,
                }));
                out.put_slice(b"\r\n");
            }
            Self::Integer(value) => {
                out.put_u8(b':');
                put_decimal(*value < 0, value.unsigned_abs(), out);
                out.put_slice(b"\r\n");
            }
            Self::Bulk(bytes) => put_bulk(bytes, out),
            Self::Verbatim(text) => match protocol {
                Protocol::Resp2 => put_bulk(text.as_bytes(), out),
                Protocol::Resp3 => {
                    put_header(b'=', text.len() + 4, out);
                    out.put_slice(b"txt:");
                    out.put_slice(text.as_bytes());
                    out.put_slice(b"\r\n");
                }
            },
            Self::Null => out.put_slice(match protocol {
                Protocol::Resp2 => b"$-1\r\n",
                Protocol::Resp3 => b"_\r\n",
            }),
            Self::NullArray => out.put_slice(match protocol {
                Protocol::Resp2 => b"*-1\r\n",
                Protocol::Resp3 => b"_\r\n",
            }),
            Self::Array(items) => {
                Self::encode_array_header(items.len(), out);
                for item in items {
                    item.encode(protocol, out);
                }
            }
            Self::Set(items) => {
                match protocol {
                    Protocol::Resp2 => Self::encode_array_header(items.len(), out),
                    Protocol::Resp3 => put_header(b'~', items.len(), out),
                }
                for item in items {
                    item.encode(protocol, out);
                }
            }
            Self::Map(pairs) => {
                match protocol {
                    Protocol::Resp2 => put_header(b'*', pairs.len() * 2, out),
                    Protocol::Resp3 => put_header(b'%', pairs.len(), out),
                }
                for (key, value) in pairs {
                    key.encode(protocol, out);
                    value.encode(protocol, out);
                }
            }
        }
    }

    /// Appends what stands before the `count` items of an array.
    pub(crate) fn encode_array_header(count: usize, out: &mut BytesMut) {
        put_header(b'*', count, out);
    }
}

/// Appends a command as clients send it: an array of bulk strings.
pub(crate) fn encode_command(arguments: &[Bytes], out: &mut BytesMut) {
    put_header(b'*', arguments.len(), out);
    for argument in arguments {
        put_bulk(argument, out);
    }
}

fn put_bulk(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(bytes.len() + 16);
    put_header(b'$', bytes.len(), out);
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

fn put_header(kind: u8, length: usize, out: &mut BytesMut) {
    out.put_u8(kind);
    put_decimal(false, length as u64, out);
    out.put_slice(b"\r\n");
}

/// Writes a number without allocating.
fn put_decimal(negative: bool, mut magnitude: u64, out: &mut BytesMut) {
    // 20 digits hold every u64, one more place the sign.
    let mut digits = [b'-'; 21];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(magnitude % 10).unwrap_or_default();
        magnitude /= 10;
        used += 1;
        if magnitude == 0 {
            break;
        }
    }
    if negative {
        used += 1;
    }
    out.put_slice(digits.split_at(digits.len() - used).1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(reply: &Reply, protocol: Protocol) -> String {
        let mut out = BytesMut::new();
        reply.encode(protocol, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn same(reply: &Reply, expected: &str) {
        assert_eq!(encoded(reply, Protocol::Resp2), expected);
        assert_eq!(encoded(reply, Protocol::Resp3), expected);
    }

    fn differs(reply: &Reply, resp2: &str, resp3: &str) {
        assert_eq!(encoded(reply, Protocol::Resp2), resp2);
        assert_eq!(encoded(reply, Protocol::Resp3), resp3);
    }

    #[test]
    fn scalars() {
        same(&Reply::OK, "+OK\r\n");
        same(&Reply::error("ERR no\r\n+OK"), "-ERR no  +OK\r\n");
        same(&Reply::Bulk(Bytes::from_static(b"a\r\nb")), "$4\r\na\r\nb\r\n");
        same(&Reply::text(""), "$0\r\n\r\n");
        differs(&Reply::Null, "$-1\r\n", "_\r\n");
        differs(&Reply::NullArray, "*-1\r\n", "_\r\n");
        differs(&Reply::Verbatim("hi".into()), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
    }

    #[test]
    fn integers() {
        for value in [0, 7, 10, -1, -10, 1_234_567_890, i64::MAX, i64::MIN] {
            same(&Reply::Integer(value), &format!(":{value}\r\n"));
        }
    }

    #[test]
    fn aggregates() {
        same(&Reply::Array(vec![]), "*0\r\n");
        same(
            &Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![Reply::OK])]),
            "*2\r\n:1\r\n*1\r\n+OK\r\n",
        );
        differs(
            &Reply::Set(vec![Reply::text("a")]),
            "*1\r\n$1\r\na\r\n",
            "~1\r\n$1\r\na\r\n",
        );
        differs(
            &Reply::Map(vec![(Reply::text("k"), Reply::Null)]),
            "*2\r\n$1\r\nk\r\n$-1\r\n",
            "%1\r\n$1\r\nk\r\n_\r\n",
        );
    }
}
