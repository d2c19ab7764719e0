//! Why a command was not even begun. Nothing has happened then.

use bytes::Bytes;

/// Longest piece of what a client sent that is put into an error, in bytes (as in Redis).
const QUOTE_BYTES: usize = 128;

/// A command that can't be understood. The texts are Redis's where it has the same error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("ERR unknown command '{name}', with args beginning with: {arguments}")]
    Unknown { name: String, arguments: String },
    #[error("ERR unknown subcommand '{word}'. Try {name} HELP.")]
    UnknownSubcommand { name: String, word: String },
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    #[error("CROSSSLOT Keys in request don't hash to the same slot")]
    CrossSlot,
    #[error("NOAUTH Authentication required.")]
    NoAuth,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPassword,
    /// Anything else, with its whole text.
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    pub(super) fn unknown(arguments: &[Bytes]) -> Self {
        let name = arguments.first().map_or(&b""[..], |name| name);
        let mut beginning = String::new();
        for word in arguments.iter().skip(1) {
            let room = QUOTE_BYTES.saturating_sub(beginning.len());
            if room == 0 {
                break;
            }
            beginning.push_str(&format!("'{}' ", quote(word, room)));
        }
        Self::Unknown {
            name: quote(name, QUOTE_BYTES),
            arguments: beginning,
        }
    }

    pub(super) fn unknown_subcommand(name: &str, word: &[u8]) -> Self {
        Self::UnknownSubcommand {
            name: name.to_ascii_uppercase(),
            word: quote(word, QUOTE_BYTES),
        }
    }

    pub(super) fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}

/// What a client sent, as far as it can stand in an error.
pub(super) fn quote(word: &[u8], bytes_max: usize) -> String {
    let word = word.get(..bytes_max).unwrap_or(word);
    String::from_utf8_lossy(word).into_owned()
}
