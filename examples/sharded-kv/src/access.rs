//! Who may give commands: everybody, or who knows the password.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use subtle::ConstantTimeEq;

/// Longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 512;

/// Why there is no password in a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: the first line must be a password of 1 to {PASSWORD_BYTES_MAX} bytes, and the only one", path.display())]
    Unusable { path: PathBuf },
}

/// What every client has to say first. It is not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(Bytes);

impl Password {
    /// `None` if it is empty or too long.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let is_valid = (1..=PASSWORD_BYTES_MAX).contains(&text.len());
        is_valid.then(|| Self(Bytes::copy_from_slice(text)))
    }

    /// Reads it from a file, which may end with a newline.
    pub(crate) fn read(path: &Path) -> Result<Self, PasswordError> {
        let text = std::fs::read(path).map_err(|source| PasswordError::Read {
            path: path.to_owned(),
            source,
        })?;
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let password = Self::new(line).filter(|_| !line.contains(&b'\n'));
        password.ok_or_else(|| PasswordError::Unusable { path: path.to_owned() })
    }

    /// In the same time whatever is wrong with `given`.
    pub(crate) fn matches(&self, given: &[u8]) -> bool {
        let is_as_long = self.0.len().ct_eq(&given.len());
        (padded(&self.0).ct_eq(&padded(given)) & is_as_long).into()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Its first bytes, and zeros after them.
fn padded(text: &[u8]) -> [u8; PASSWORD_BYTES_MAX] {
    let mut all = [0; PASSWORD_BYTES_MAX];
    for (place, byte) in all.iter_mut().zip(text) {
        *place = *byte;
    }
    all
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(password)")
    }
}

/// What is asked of clients, and how often they had it wrong.
#[derive(Debug, Default)]
pub(crate) struct Access {
    password: Option<Password>,
    refusals: AtomicU64,
}

impl Access {
    pub(crate) fn new(password: Option<Password>) -> Self {
        Self {
            password,
            refusals: AtomicU64::default(),
        }
    }

    pub(crate) fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Whether a client that says `given` may give commands. Without a password any will do.
    pub(crate) fn admits(&self, given: &[u8]) -> bool {
        let admitted = self.password.as_ref().is_none_or(|password| password.matches(given));
        if !admitted {
            self.count_refusal();
        }
        admitted
    }

    /// Notes a client that could not say who it is.
    pub(crate) fn count_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a client could not.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_whole_password_matches() {
        let password = Password::new(b"secret").unwrap();
        assert!(password.matches(b"secret"));
        for given in [&b""[..], b"secre", b"secret\0", b"secrets", b"Secret", &[b's'; 2000]] {
            assert!(!password.matches(given), "{given:?}");
        }
        let longest = [b'x'; PASSWORD_BYTES_MAX];
        let password = Password::new(&longest).unwrap();
        assert!(password.matches(&longest));
        assert!(!password.matches(&[b'x'; PASSWORD_BYTES_MAX + 1]));
        assert!(!format!("{password:?}").contains('x'));
    }

    #[test]
    fn a_file_holds_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        for (text, read) in [
            ("secret", Some("secret")),
            ("two words\n", Some("two words")),
            ("secret\r\n", Some("secret")),
            ("", None),
            ("\n", None),
            ("two\nlines\n", None),
            (&"x".repeat(PASSWORD_BYTES_MAX + 1), None),
        ] {
            std::fs::write(&path, text).unwrap();
            let password = Password::read(&path).ok();
            assert_eq!(
                password,
                read.and_then(|text| Password::new(text.as_bytes())),
                "{text:?}"
            );
        }
    }

    #[test]
    fn refusals_are_counted() {
        let open = Access::default();
        assert!(open.admits(b"anything") && !open.has_password());
        let closed = Access::new(Password::new(b"secret"));
        assert!(!closed.admits(b"guess") && closed.admits(b"secret"));
        assert_eq!((open.refusals(), closed.refusals()), (0, 1));
    }
}
