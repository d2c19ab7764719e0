//! What is made of files, and made again when they change.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::TlsFileError;

/// How often the files are looked at, at most: when what is made of them is needed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A `T` that is made of `N` files.
pub(super) struct Watched<T, const N: usize> {
    /// What they are called where changes are logged.
    what: &'static str,
    paths: [PathBuf; N],
    make: Make<T, N>,
    state: Mutex<State<T, N>>,
}

type Make<T, const N: usize> = fn(&[PathBuf; N]) -> Result<T, TlsFileError>;

/// When each of the files was changed last, and its length.
type Stamp<const N: usize> = [Option<(SystemTime, u64)>; N];

struct State<T, const N: usize> {
    made: Arc<T>,
    /// Of the files that need not be read again.
    stamp: Stamp<N>,
    /// Of those that could not be read, which was reported.
    unreadable: Option<Stamp<N>>,
    looked: Instant,
}

impl<T: Send + Sync + 'static, const N: usize> Watched<T, N> {
    pub(super) fn open(what: &'static str, paths: [PathBuf; N], make: Make<T, N>) -> Result<Arc<Self>, TlsFileError> {
        let stamp = stamp(&paths);
        let state = State {
            made: Arc::new(make(&paths)?),
            stamp,
            unreadable: None,
            looked: Instant::now(),
        };
        Ok(Arc::new(Self {
            what,
            paths,
            make,
            state: Mutex::new(state),
        }))
    }

    /// What to use now. Looks at the files if that was not done lately.
    pub(super) async fn current(self: &Arc<Self>) -> io::Result<Arc<T>> {
        if self.is_due() {
            let this = Arc::clone(self);
            // A slow disk must not hold up others.
            let looked = tokio::task::spawn_blocking(move || this.look()).await;
            looked.map_err(io::Error::other)?;
        }
        Ok(Arc::clone(&self.state().made))
    }

    fn state(&self) -> MutexGuard<'_, State<T, N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self) -> bool {
        let mut state = self.state();
        let is_due = state.looked.elapsed() >= LOOK_EVERY;
        if is_due {
            state.looked = Instant::now();
        }
        is_due
    }

    /// Makes it again if the files have changed. What can't be used (half of a change may be written) is left alone until
    /// it changes again, what can't be read is tried again.
    pub(super) fn look(&self) {
        let stamp = stamp(&self.paths);
        if self.state().stamp == stamp {
            return;
        }
        let made = (self.make)(&self.paths);
        let (what, mut state) = (self.what, self.state());
        match made {
            Ok(made) => {
                tracing::info!(path = %self.paths[0].display(), "{what} read again");
                state.made = Arc::new(made);
                state.stamp = stamp;
                state.unreadable = None;
            }
            // Its owner may be about to change, or there may be no file descriptors: neither changes the file.
            Err(error @ TlsFileError::Read { .. }) => {
                if state.unreadable.replace(stamp) != Some(stamp) {
                    tracing::error!(%error, "{what} changed and can't be read yet, what was before stays in use");
                }
            }
            Err(error) => {
                tracing::error!(%error, "{what} changed and can't be used, what was before stays in use");
                state.stamp = stamp;
            }
        }
    }
}

fn stamp<const N: usize>(paths: &[PathBuf; N]) -> Stamp<N> {
    paths.each_ref().map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::path::Path;

    use super::*;

    /// That this is there says that the file can't be read: no privilege of who runs the test gets round it.
    fn lock(path: &Path) -> PathBuf {
        path.with_extension("locked")
    }

    fn make([path]: &[PathBuf; 1]) -> Result<String, TlsFileError> {
        let error = |source| TlsFileError::Read {
            path: path.clone(),
            source,
        };
        if lock(path).exists() {
            return Err(error(io::ErrorKind::PermissionDenied.into()));
        }
        let text = fs::read_to_string(path).map_err(error)?;
        if text == "half" {
            return Err(super::super::unusable(path, &"half of it"));
        }
        Ok(text)
    }

    #[test]
    fn what_could_not_be_read_is_read_once_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old").unwrap();
        let watched = Watched::open("text", [path.clone()], make).unwrap();
        let now = || {
            watched.look();
            watched.state().made.to_string()
        };
        fs::write(lock(&path), "").unwrap();
        fs::write(&path, "renewed").unwrap();
        assert_eq!([now(), now()], ["old", "old"]);
        // The file does not change by that.
        fs::remove_file(lock(&path)).unwrap();
        assert_eq!(now(), "renewed");
        fs::write(&path, "half").unwrap();
        assert_eq!(now(), "renewed");
        fs::write(&path, "whole").unwrap();
        assert_eq!(now(), "whole");
    }
}
