#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::random::Random;

/// All commands in `pieces`, each handed to the parser as it arrives.
fn parse_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    let (mut parser, mut buffer, mut arguments) = (Parser::default(), BytesMut::new(), Vec::new());
    let mut commands = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while parser.next(&mut buffer, &mut arguments)? {
            assert!(!arguments.is_empty());
            commands.push(arguments.iter().map(|a| a.to_vec()).collect());
        }
    }
    Ok(commands)
}

fn parse(input: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    parse_pieces([input])
}

fn words(command: &[&str]) -> Vec<Vec<u8>> {
    command.iter().map(|w| w.as_bytes().to_vec()).collect()
}

#[test]
fn a_pipeline_gives_its_commands_in_order() {
    let input =
        b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\nGET k\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n";
    assert_eq!(
        parse(input).unwrap(),
        [
            words(&["PING"]),
            words(&["SET", "k", "a\r\nb"]),
            words(&["GET", "k"]),
            words(&["GET", ""]),
        ]
    );
}

#[test]
fn every_split_gives_the_same_commands() {
    let input: &[u8] = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$11\r\n*1\r\n$1\r\nx\r\n\r\n\r\n*0\r\n  ping \"a b\" 'c'\r\n*-1\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n\r\nQUIT\n";
    let whole = parse(input).unwrap();
    assert_eq!(whole.len(), 4);
    for first in 0..=input.len() {
        for second in first..=input.len() {
            let pieces = [&input[..first], &input[first..second], &input[second..]];
            assert_eq!(parse_pieces(pieces).unwrap(), whole, "{first} {second}");
        }
    }
    assert_eq!(parse_pieces(input.chunks(1)).unwrap(), whole);
}

#[test]
fn an_incomplete_command_is_not_a_command() {
    let input: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    for length in 0..input.len() {
        assert_eq!(parse(&input[..length]).unwrap(), Vec::<Vec<Vec<u8>>>::new());
    }
}

#[test]
fn arguments_are_slices_of_the_read_buffer() {
    let mut buffer = BytesMut::from(&b"*2\r\n$3\r\nGET\r\n$5\r\nhello\r\n"[..]);
    let range = buffer.as_ptr_range();
    let mut arguments = Vec::new();
    assert!(Parser::default().next(&mut buffer, &mut arguments).unwrap());
    for argument in &arguments {
        assert!(range.contains(&argument.as_ptr()));
    }
}

#[test]
fn inline_quotes() {
    assert_eq!(
        parse(b"SET k \"a\\x41\\n\\\"\\q\" 'it\\'s \\n' x\"y\"\r\n").unwrap(),
        [vec![
            b"SET".to_vec(),
            b"k".to_vec(),
            b"aA\n\"q".to_vec(),
            b"it's \\n".to_vec(),
            b"xy".to_vec(),
        ]]
    );
    for open in [&b"GET \"k\r\n"[..], b"GET 'k\r\n", b"GET \"a\"b\r\n"] {
        assert_eq!(parse(open), Err(ProtocolError::UnbalancedQuotes));
    }
}

#[test]
fn malformed_input_is_named() {
    use ProtocolError as E;
    let cases: [(&[u8], E); 14] = [
        (b"*x\r\n", E::ArgumentCount),
        (b"*\r\n", E::ArgumentCount),
        (b"*+1\r\n", E::ArgumentCount),
        (b"*99999999999999999999\r\n", E::ArgumentCount),
        (b"*65537\r\n", E::ArgumentCount),
        (b"*0000000000000000000000000000000000", E::ArgumentCountLine),
        (b"*1\r\n:1\r\n", E::NotABulk(b':')),
        // Requests are flat: an array in an array is refused, whatever its depth.
        (b"*1\r\n*1\r\n", E::NotABulk(b'*')),
        (b"*1\r\n$-1\r\n", E::BulkLength),
        (b"*1\r\n$8388609\r\n", E::BulkLength),
        (b"*1\r\n$x\r\n", E::BulkLength),
        (b"*1\r\n$00000000000000000000000000000000001\r\n", E::BulkLengthLine),
        (b"*1\r\n$1\r\nabc", E::BulkEnd),
        (b"*1\r\n$1\r\na\n\n", E::BulkEnd),
    ];
    for (input, error) in cases {
        assert_eq!(parse(input), Err(error), "{}", input.escape_ascii());
        assert_eq!(parse_pieces(input.chunks(1)), Err(error), "{}", input.escape_ascii());
    }
    assert_eq!(E::NotABulk(b'\r').to_string(), "expected '$', got '\\r'");
}

#[test]
fn inline_commands_have_a_limit() {
    let mut line = vec![b'a'; MAX_INLINE_BYTES];
    assert_eq!(parse(&line).unwrap().len(), 0);
    line.push(b'\n');
    assert_eq!(parse(&line).unwrap().len(), 1);
    line.insert(0, b'a');
    assert_eq!(parse(&line), Err(ProtocolError::InlineTooLarge));
}

#[test]
fn a_command_is_refused_before_its_bytes_arrive() {
    let mut input = b"*3\r\n".to_vec();
    for _ in 0..2 {
        input.extend_from_slice(format!("${MAX_BULK_BYTES}\r\n").as_bytes());
        if input.len() < MAX_BULK_BYTES {
            input.resize(input.len() + MAX_BULK_BYTES, b'v');
            input.extend_from_slice(b"\r\n");
        }
    }
    assert_eq!(parse(&input), Err(ProtocolError::CommandTooLarge));
}

#[test]
fn declared_lengths_reserve_nothing() {
    let (mut parser, mut arguments) = (Parser::default(), Vec::new());
    let mut buffer = BytesMut::from(&b"*65536\r\n$8388608\r\nx"[..]);
    let capacity = buffer.capacity();
    assert!(!parser.next(&mut buffer, &mut arguments).unwrap());
    assert_eq!(buffer.capacity(), capacity);
    assert_eq!(arguments.capacity(), 0);
    assert_eq!(parser.arguments.capacity(), 0);
}

/// One look at each byte: four million calls with a byte more each would take hours if each began anew.
#[test]
fn a_large_command_in_small_pieces_is_not_quadratic() {
    let length = 4 * 1024 * 1024;
    let mut buffer = BytesMut::from(format!("*2\r\n$4\r\nECHO\r\n${length}\r\n").as_bytes());
    let (mut parser, mut arguments) = (Parser::default(), Vec::new());
    for _ in 0..length + 1 {
        buffer.extend_from_slice(b"\r");
        assert!(!parser.next(&mut buffer, &mut arguments).unwrap());
    }
    buffer.extend_from_slice(b"\n");
    assert!(parser.next(&mut buffer, &mut arguments).unwrap());
    assert_eq!(arguments.last().unwrap().len(), length);
}

#[test]
fn random_bytes_never_panic() {
    let seed = std::env::var("RAFTYARD_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    println!("RAFTYARD_SEED={seed}");
    let mut random = Random::new(seed);
    let alphabet = b"*$\r\n\r\n0123-+:\"'\\x agSET\0\xff";
    for _ in 0..20_000 {
        let input: Vec<u8> = (0..random.below(80))
            .map(|_| alphabet[random.place(alphabet.len())])
            .collect();
        let whole = parse(&input);
        let cut = random.place(input.len() + 1);
        let split = parse_pieces([&input[..cut], &input[cut..]]);
        assert_eq!(whole, split, "seed {seed}: {}", input.escape_ascii());
    }
}

#[test]
fn a_stranger_may_send_little() {
    let attempt = |input: &str, is_strangers: bool| {
        let mut parser = Parser::default();
        parser.set_strangers(is_strangers);
        parser.next(&mut BytesMut::from(input), &mut Vec::new())
    };
    let longest = format!("*2\r\n$4\r\nAUTH\r\n$16384\r\n{}\r\n", "x".repeat(16384));
    for input in [longest.as_str(), "*10\r\n", "AUTH secret\r\n", &"x".repeat(16384)] {
        assert!(attempt(input, true).is_ok(), "{input:.20}");
    }
    for (input, error) in [
        ("*11\r\n", ProtocolError::StrangersArgumentCount),
        ("*1\r\n$16385\r\n", ProtocolError::StrangersBulkLength),
        (&"x".repeat(16385), ProtocolError::InlineTooLarge),
    ] {
        assert_eq!(attempt(input, true), Err(error), "{input:.20}");
        assert!(attempt(input, false).is_ok(), "{input:.20}");
    }
}
