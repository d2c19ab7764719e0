//! fjall's journals, before fjall reads them.
//!
//! Of a journal fjall takes all up to where it can't be decoded, and then goes on with the next one. It opens nothing if
//! the checksum of a batch fails, though a machine that loses power leaves such a one behind what was synced. And it has
//! no checksum of a batch's number, which decides of two rows which is the newer one. So they are cut here where a batch
//! is not whole, or not numbered in order, and what comes after that is taken away: then what is lost is the newest.
//!
//! What they hold is written once more. A process ends when a sync fails, and the machine may take what it could not write
//! for durable from then on: a sync by the next process would say that it is, without writing it.
//!
//! ```text
//! batch:  1, how many rows (4 bytes), number (8), rows, 3, checksum of the rows (8), "FJL", 3
//! row:    2, kind (1), 0, keyspace (8), length of the name (2), of the row (4), the same again (4), name, row
//! clear:  4, keyspace (8)
//! ```
//!
//! Numbers are little endian. Behind the last batch are zeros, or the file ends.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::tables::read_dir;

/// What the name of a journal ends with, behind its number.
const EXTENSION: &str = "jnl";

/// What is put behind the name of a journal that is cut: fjall leaves it alone.
const CUT: &str = "cut";

/// What a batch ends with, which is also what a file says of which format all is.
pub(super) const TRAILER: [u8; 4] = *b"FJL\x03";

const BUFFER_BYTES: usize = 64 * 1024;

/// Where a journal ceases to be whole.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) journal: PathBuf,
    /// The end of the last batch that is whole, in bytes.
    pub(super) at: u64,
    pub(super) what: &'static str,
    /// What is behind it: the later journals.
    later: Vec<PathBuf>,
}

/// A journal that is whole up to here.
struct Whole {
    journal: PathBuf,
    end: u64,
}

/// Cuts journals where they cease to be whole, and makes durable what they hold. What is taken away is kept beside them.
///
/// # Errors
///
/// The disk's, or the name of a journal is none.
pub(super) fn mend(dir: &Path) -> io::Result<Option<Flaw>> {
    let all = list(dir)?;
    if all.is_empty() {
        // Without any, fjall would number what is written as if there were no tables.
        File::create(dir.join(format!("0.{EXTENSION}")))?.sync_all()?;
    }
    let (whole, flaw) = find(all)?;
    if let Some(flaw) = &flaw {
        cut(dir, flaw)?;
    }
    for Whole { journal, end } in &whole {
        rewrite(journal, *end)?;
    }
    File::open(dir)?.sync_all()?;
    Ok(flaw)
}

fn cut(dir: &Path, flaw: &Flaw) -> io::Result<()> {
    let kept = aside(&flaw.journal);
    fs::copy(&flaw.journal, &kept)?;
    for later in flaw.later.iter().rev() {
        fs::rename(later, aside(later))?;
    }
    let journal = File::options().write(true).open(&flaw.journal)?;
    journal.set_len(flaw.at)?;
    journal.sync_all()?;
    File::open(dir)?.sync_all()
}

/// Writes once more what stands in a journal up to `end`, where it stands, and makes it durable. Cut short, it leaves the same.
fn rewrite(journal: &Path, end: u64) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(journal)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = 0;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let part = buffer.get_mut(..wanted).ok_or(io::ErrorKind::OutOfMemory)?;
        file.read_exact_at(part, at)?;
        file.write_all_at(part, at)?;
        at += wanted as u64;
    }
    file.sync_all()
}

fn aside(journal: &Path) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(".");
    name.push(CUT);
    name.into()
}

/// The journals in a directory, the oldest first.
fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in read_dir(dir)? {
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        let number = number.ok_or_else(|| io::Error::other(format!("{} is no journal", path.display())))?;
        found.push((number, path));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Up to where these journals are whole, and the first flaw. That the last of them ends within a batch is none: fjall
/// discards it.
fn find(journals: Vec<PathBuf>) -> io::Result<(Vec<Whole>, Option<Flaw>)> {
    let (mut last, mut wholes) = (None, Vec::new());
    let mut journals = journals.into_iter();
    while let Some(path) = journals.next() {
        let mut journal = Journal::open(&path)?;
        let what = loop {
            let end = journal.at;
            match journal.batch()? {
                Batch::Whole(number) if last.is_some_and(|last| number <= last) => {
                    journal.at = end;
                    break Some("a batch is numbered out of order");
                }
                Batch::Whole(number) => last = Some(number),
                Batch::Broken(what) => {
                    journal.at = end;
                    break Some(what);
                }
                Batch::Torn => {
                    journal.at = end;
                    break (journals.len() > 0).then_some("a batch can't be read");
                }
                Batch::None => {
                    journal.at = end;
                    break None;
                }
            }
        };
        wholes.push(Whole {
            journal: path.clone(),
            end: journal.at,
        });
        if let Some(what) = what {
            let flaw = Flaw {
                at: journal.at,
                journal: path,
                what,
                later: journals.collect(),
            };
            return Ok((wholes, Some(flaw)));
        }
    }
    Ok((wholes, None))
}

enum Batch {
    /// Its number.
    Whole(u64),
    /// Nothing comes any more.
    None,
    /// It ends too early, or is not decoded.
    Torn,
    Broken(&'static str),
}

struct Journal {
    file: BufReader<File>,
    /// How far it was read, in bytes.
    at: u64,
}

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::with_capacity(BUFFER_BYTES, File::open(path)?),
            at: 0,
        })
    }

    /// The next bytes; none if there are not so many.
    fn take<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => {
                self.at += N as u64;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn batch(&mut self) -> io::Result<Batch> {
        let rows = match self.take::<1>()? {
            None | Some([0]) => return Ok(Batch::None),
            Some([1]) => self.take::<4>()?,
            Some(_) => None,
        };
        let number = self.take::<8>()?;
        let (Some(rows), Some(number)) = (rows, number) else {
            return Ok(Batch::Torn);
        };
        let mut hasher = Xxh3::new();
        let mut found = 0;
        loop {
            match self.take::<1>()? {
                Some([2]) => {
                    let Some(head) = self.take::<20>()? else {
                        return Ok(Batch::Torn);
                    };
                    hasher.update(&[2]);
                    hasher.update(&head);
                    let [_, _, _, _, _, _, _, _, _, _, key @ .., _, _, _, _, a, b, c, d] = head;
                    let key = u16::from_le_bytes([key[0], key[1]]);
                    let length = u64::from(key) + u64::from(u32::from_le_bytes([a, b, c, d]));
                    if !self.skip(length, &mut hasher)? {
                        return Ok(Batch::Torn);
                    }
                }
                Some([4]) => {
                    let Some(keyspace) = self.take::<8>()? else {
                        return Ok(Batch::Torn);
                    };
                    hasher.update(&[4]);
                    hasher.update(&keyspace);
                }
                Some([3]) => break,
                _ => return Ok(Batch::Torn),
            }
            found += 1;
        }
        let (Some(checksum), Some(trailer)) = (self.take::<8>()?, self.take::<4>()?) else {
            return Ok(Batch::Torn);
        };
        Ok(if trailer != TRAILER {
            Batch::Torn
        } else if u64::from_le_bytes(checksum) != hasher.digest() {
            Batch::Broken("the checksum of a batch fails")
        } else if found != u32::from_le_bytes(rows) {
            Batch::Broken("a batch has another number of rows than it says")
        } else {
            Batch::Whole(u64::from_le_bytes(number))
        })
    }

    /// Whether there are so many bytes.
    fn skip(&mut self, length: u64, hasher: &mut Xxh3) -> io::Result<bool> {
        let mut left = length;
        let mut buffer = [0; 4_096];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let Some(part) = buffer.get_mut(..wanted) else {
                break;
            };
            let read = self.file.read(part)?;
            if read == 0 {
                return Ok(false);
            }
            hasher.update(part.get(..read).unwrap_or_default());
            left -= read as u64;
        }
        self.at += length;
        Ok(true)
    }
}
