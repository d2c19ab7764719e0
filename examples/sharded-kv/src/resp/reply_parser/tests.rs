#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::resp::Protocol;

fn replies() -> Vec<Reply> {
    let bulk = |bytes: &'static [u8]| Reply::Bulk(Bytes::from_static(bytes));
    vec![
        Reply::OK,
        Reply::Null,
        Reply::error("ERR no"),
        Reply::Integer(i64::MIN),
        bulk(b""),
        bulk(b"a\r\n$1\r\nb\x00\xff"),
        Reply::Array(vec![]),
        Reply::Array(vec![bulk(b"x"), Reply::Null, Reply::Array(vec![Reply::Integer(1)])]),
        Reply::Array(vec![Reply::Array(vec![]), Reply::Set(vec![Reply::OK])]),
        Reply::Map(vec![
            (Reply::text("k"), Reply::Map(vec![])),
            (Reply::text("l"), Reply::Verbatim("two\r\nlines".into())),
        ]),
    ]
}

#[test]
fn what_was_encoded_is_read_in_every_split() {
    let mut all = BytesMut::new();
    for reply in replies() {
        reply.encode(Protocol::Resp3, &mut all);
    }
    for step in [1, 2, 3, 7, all.len()] {
        let (mut parser, mut buffer, mut found) = (ReplyParser::default(), BytesMut::new(), vec![]);
        let mut length = 0;
        for piece in all.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some((reply, bytes)) = parser.next(&mut buffer).unwrap() {
                length += bytes;
                found.push(reply);
            }
        }
        assert_eq!(found, replies(), "in pieces of {step}");
        assert_eq!(length, all.len());
    }
}

#[test]
fn nulls_of_version_2() {
    for text in ["$-1\r\n", "*-1\r\n"] {
        let mut buffer = BytesMut::from(text);
        let (reply, _) = ReplyParser::default().next(&mut buffer).unwrap().unwrap();
        assert_eq!(reply, Reply::Null);
    }
}

#[test]
fn what_is_no_reply_is_refused() {
    for (text, error) in [
        ("PING\r\n", ReplyError::Kind(b'P')),
        ("\r\n", ReplyError::Line),
        ("+OK\n", ReplyError::Line),
        (":+1\r\n", ReplyError::Number),
        (":x\r\n", ReplyError::Number),
        ("$-2\r\n", ReplyError::BulkLength),
        ("$8388609\r\n", ReplyError::BulkLength),
        ("$1\r\nabc", ReplyError::BulkEnd),
        ("*65537\r\n", ReplyError::Count),
        ("=3\r\nabc\r\n", ReplyError::Text),
        (&"*1\r\n".repeat(9), ReplyError::TooDeep),
        (&format!("-{}", "x".repeat(MAX_LINE_BYTES)), ReplyError::Line),
    ] {
        let mut buffer = BytesMut::from(text);
        assert_eq!(ReplyParser::default().next(&mut buffer), Err(error), "{text:.20}");
    }
}

#[test]
fn a_reply_is_bounded_as_a_whole() {
    let mut parser = ReplyParser::default();
    let mut buffer = BytesMut::from("*9\r\n");
    let item = format!("${MAX_BULK_BYTES}\r\n{}\r\n", "v".repeat(MAX_BULK_BYTES));
    let refused = (0..9).find_map(|_| {
        buffer.extend_from_slice(item.as_bytes());
        parser.next(&mut buffer).err()
    });
    assert_eq!(refused, Some(ReplyError::TooLarge));
}
