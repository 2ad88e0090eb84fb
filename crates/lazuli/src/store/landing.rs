//! How a file comes to be on disk: room is checked, one process at a time, written beside and renamed when it is whole.

use super::{Progress, StoreError};
use fs4::{FileExt, TryLockError};
use lazuli_io::PageWriter;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often somebody who waits looks again.
const PATIENCE: Duration = Duration::from_millis(150);
/// Room that is left free on the disk whatever is fetched.
const RESERVE: u64 = 16 << 20;

/// A file that is being written under another name. Dropped before [`finish`](Self::finish), it leaves nothing, or,
/// when opened by [`resume`](Self::resume), what can be continued.
#[derive(Debug)]
pub(super) struct Landing {
    file: PageWriter<File>,
    part: PathBuf,
    keep: bool,
    hash: Sha256,
    written: u64,
}

impl Landing {
    /// Starts from nothing at `part`, whose folder is made.
    pub fn create(part: PathBuf) -> Result<Self, StoreError> {
        make_parent(&part)?;
        let file = File::create(&part).map_err(StoreError::io("write", &part))?;
        Ok(Landing { file: PageWriter::new(file, 0), part, keep: false, hash: Sha256::new(), written: 0 })
    }

    /// Goes on where `part` ends (which is hashed first), or starts from nothing; kept for the next try if dropped.
    pub fn resume(part: PathBuf) -> Result<Self, StoreError> {
        make_parent(&part)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .map_err(StoreError::io("write", &part))?;
        let mut hash = Sha256::new();
        let written = io::copy(&mut file, &mut hash).map_err(StoreError::io("read", &part))?;
        Ok(Landing { file: PageWriter::new(file, written), part, keep: true, hash, written })
    }

    /// Bytes that are here.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Throws away what is here.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        use io::Seek;
        let file = self.file.restart();
        let rewound = file.set_len(0).and_then(|()| file.rewind());
        rewound.map_err(StoreError::io("write", &self.part))?;
        self.hash = Sha256::new();
        self.written = 0;
        Ok(())
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(StoreError::io("write", &self.part))?;
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Checks the SHA-256, if one is given, and gives the file its name. What fails the check is deleted.
    pub fn finish(mut self, name: &Path, sha256: Option<&str>) -> Result<(), StoreError> {
        let found = hex(&self.hash.clone().finalize());
        if let Some(expected) = sha256.filter(|expected| **expected != found) {
            self.keep = false;
            let file = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(StoreError::Checksum { file, found, expected: expected.to_owned() });
        }
        let synced = self.file.flush().and_then(|()| self.file.get_mut().sync_all());
        synced.map_err(StoreError::io("write", &self.part))?;
        make_parent(name)?;
        std::fs::rename(&self.part, name).map_err(StoreError::io("write", name))?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing can be done about a failure here, and the next fetch overwrites the file anyway.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// A lock between processes, held until it is dropped; the kernel lets go of it when a process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock that `path` stands for, saying so once.
    pub fn take(path: &Path, progress: &dyn Progress) -> Result<Self, StoreError> {
        make_parent(path)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(StoreError::io("lock", path))?;
        let mut said = false;
        loop {
            match FileExt::try_lock(&file) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                // Some network file systems have no locks; fetching twice is then harmless, if wasteful.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Lock { _file: file });
                }
                Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path)(error)),
            }
            if !said {
                progress.note("another process is fetching this; waiting for it");
                said = true;
            }
            if progress.stopped() {
                return Err(StoreError::Interrupted);
            }
            std::thread::sleep(PATIENCE);
        }
    }
}

/// Copies until the end, telling how far it is.
pub(super) fn copy(
    from: &mut dyn Read,
    into: &mut Landing,
    progress: &dyn Progress,
    read_error: impl FnOnce(io::Error) -> StoreError,
) -> Result<(), StoreError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        if progress.stopped() {
            return Err(StoreError::Interrupted);
        }
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => into.write(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(error)),
        }
        progress.at(into.written());
    }
}

/// An error unless the disk that `folder` is on, or will be on, has room for this many bytes.
pub(super) fn need_room(folder: &Path, bytes: u64, variable: &'static str) -> Result<(), StoreError> {
    let standing = folder.ancestors().find(|path| path.exists());
    // Where the system does not say how much is free, the write itself will tell.
    let Some(Ok(free)) = standing.map(fs4::available_space) else { return Ok(()) };
    let needed = bytes.saturating_add(RESERVE);
    if bytes > 0 && free < needed {
        return Err(StoreError::DiskFull { at: folder.to_owned(), free, needed, variable });
    }
    Ok(())
}

/// Makes the folder that a file will lie in.
pub(super) fn make_parent(file: &Path) -> Result<(), StoreError> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))
}

/// Bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Silent;
    use super::*;
    use std::cell::Cell;
    use tempfile::TempDir;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_whole_file_gets_its_name_and_a_dropped_one_leaves_nothing() {
        let dir = TempDir::new().unwrap();
        let (part, name) = (dir.path().join("f.part"), dir.path().join("deep/f"));
        let mut landing = Landing::create(part.clone()).unwrap();
        landing.write(b"abc").unwrap();
        assert!(part.exists() && !name.exists());
        landing.finish(&name, Some(ABC)).unwrap();
        assert_eq!(std::fs::read(&name).unwrap(), b"abc");
        assert!(!part.exists());

        let mut landing = Landing::create(part.clone()).unwrap();
        landing.write(b"half").unwrap();
        drop(landing);
        assert!(!part.exists());
        assert_eq!(std::fs::read(&name).unwrap(), b"abc");
    }

    #[test]
    fn a_resumed_file_hashes_what_was_there() {
        let dir = TempDir::new().unwrap();
        let (part, name) = (dir.path().join("f.part"), dir.path().join("f"));
        let mut landing = Landing::resume(part.clone()).unwrap();
        landing.write(b"a").unwrap();
        drop(landing);
        let mut landing = Landing::resume(part).unwrap();
        assert_eq!(landing.written(), 1);
        landing.write(b"bc").unwrap();
        landing.finish(&name, Some(ABC)).unwrap();
        assert_eq!(std::fs::read(&name).unwrap(), b"abc");
    }

    #[test]
    fn wrong_bytes_are_thrown_away_and_both_sums_told() {
        let dir = TempDir::new().unwrap();
        let (part, name) = (dir.path().join("f.part"), dir.path().join("f"));
        let mut landing = Landing::resume(part.clone()).unwrap();
        landing.write(b"abd").unwrap();
        let error = landing.finish(&name, Some(ABC)).unwrap_err().to_string();
        assert!(
            error.contains(ABC)
                && error.contains("a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9")
        );
        assert!(!part.exists() && !name.exists());
    }

    #[test]
    fn a_second_taker_waits_until_the_first_lets_go() {
        struct Impatient(Cell<u32>);
        impl Progress for Impatient {
            fn note(&self, _: &str) {
                self.0.set(self.0.get() + 1);
            }
            fn stopped(&self) -> bool {
                true
            }
        }
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path, &Silent).unwrap();
        let impatient = Impatient(Cell::new(0));
        assert!(matches!(Lock::take(&path, &impatient), Err(StoreError::Interrupted)));
        assert_eq!(impatient.0.get(), 1);
        let path_too = path.clone();
        let waiting = std::thread::spawn(move || Lock::take(&path_too, &Silent).map(drop));
        drop(first);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_disk_that_is_too_small_is_told_before() {
        let dir = TempDir::new().unwrap();
        need_room(&dir.path().join("not/yet/there"), 1, "LAZULI_HOME").unwrap();
        let error = need_room(dir.path(), 1 << 60, "LAZULI_HOME").unwrap_err().to_string();
        assert!(error.contains("LAZULI_HOME") && error.contains("GB"), "{error}");
    }
}
