//! Files mapped read-only into memory: the one place of this crate that needs `unsafe`.
//!
//! Owns the mapping, its path and the advice given to the kernel about it. What the bytes mean is the
//! business of the parsers, which all work on the plain `&[u8]` that a [`MappedFile`] dereferences to.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lazuli_core::Mapped;
use memmap2::Mmap;

use crate::error::{Error, Result};

/// A read-only file in memory; cheap to clone, unmapped when the last clone goes.
#[derive(Clone)]
pub struct MappedFile {
    inner: Arc<Inner>,
}

struct Inner {
    bytes: Bytes,
    path: PathBuf,
}

enum Bytes {
    /// The mapping, and the file that it shows.
    Mapped(Mmap, File),
    /// Bytes that never were a file: tests and fuzz targets.
    Owned(Vec<u8>),
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`Error::Open`] if it cannot be opened or mapped, [`Error::EmptyFile`] if it holds no bytes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fail = |source| Error::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(fail(std::io::ErrorKind::IsADirectory.into()));
        }
        if metadata.len() == 0 {
            return Err(Error::EmptyFile { path: path.to_owned() });
        }
        // SAFETY: the mapping is private and read-only. If another process shortens or rewrites the file
        // while it is mapped, reads may see changed bytes or raise SIGBUS: every mapped reader shares that
        // risk, and the parsers check what they read into their own memory, never twice from the mapping.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Self::new(Bytes::Mapped(map, file), path.to_owned()))
    }

    /// Wraps bytes that are in memory already; `path` only names them in messages.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>, path: impl Into<PathBuf>) -> Self {
        Self::new(Bytes::Owned(bytes.into()), path.into())
    }

    fn new(bytes: Bytes, path: PathBuf) -> Self {
        Self { inner: Arc::new(Inner { bytes, path }) }
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Asks for pages of 2 MB: what is read from the disk from now on comes in such pages where the file system has them
    /// (ext4 since Linux 6.16, XFS, tmpfs), and is read up to a third faster afterwards. What the page cache holds in
    /// smaller ones stays as it is, so files are written by [`PageWriter`](crate::PageWriter).
    pub fn prefer_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        if let Bytes::Mapped(map, _) = &self.inner.bytes {
            // A refused hint changes nothing but speed.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
    }

    /// The addresses of the mapping; `None` for bytes that are no file's.
    fn addresses(&self) -> Option<Range<usize>> {
        let Bytes::Mapped(map, _) = &self.inner.bytes else { return None };
        let start = map.as_ptr() as usize;
        Some(start..start + map.len())
    }
}

/// What of files is in memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// All of it.
    pub bytes: u64,
    /// What of these lies in huge pages.
    pub huge: u64,
}

impl Resident {
    /// How much of some files this process has in memory, and how much of that the processor finds as huge pages; `None` where the
    /// system does not say (Linux does).
    pub(crate) fn of(files: &[MappedFile]) -> Option<Self> {
        let ranges = files.iter().map(MappedFile::addresses).collect::<Option<Vec<_>>>()?;
        // Once for all: the system walks the page tables of everything for it.
        Some(Self::parse(&std::fs::read_to_string("/proc/self/smaps").ok()?, &ranges))
    }

    /// Adds up what Linux's `smaps` says of the mappings that begin within one of `ranges`.
    fn parse(maps: &str, ranges: &[Range<usize>]) -> Self {
        let (mut all, mut within) = (Self::default(), false);
        for line in maps.lines() {
            // A mapping's first line begins with its addresses, the others with a name and a colon.
            if let Some((start, _)) = line.split_once('-')
                && let Ok(start) = usize::from_str_radix(start, 16)
            {
                within = ranges.iter().any(|range| range.contains(&start));
            } else if within && let Some((name, value)) = line.split_once(':') {
                let kib = || value.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
                match name {
                    "Rss" => all.bytes += kib() * 1024,
                    "FilePmdMapped" => all.huge += kib() * 1024,
                    _ => {}
                }
            }
        }
        all
    }
}

impl Mapped for MappedFile {
    /// Whether bytes are in memory is judged by two of them: pages that are read together are evicted together.
    fn fetch(&self, range: Range<usize>) -> bool {
        let Bytes::Mapped(map, file) = &self.inner.bytes else { return false };
        let quarter = range.len() / 4;
        if in_memory(file, range.start + quarter) && in_memory(file, range.end - 1 - quarter) {
            return false;
        }
        will_need(map, range);
        true
    }
}

/// Whether the byte at `offset` can be read without waiting for a disk. `mincore` would say yes to everything in files
/// of other users. File systems that cannot tell count as memory: the pages come when they are read.
#[cfg(target_os = "linux")]
fn in_memory(file: &File, offset: usize) -> bool {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let mut byte = [0];
    let mut into = [std::io::IoSliceMut::new(&mut byte)];
    preadv2(file, &mut into, offset as u64, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN)
}

/// Elsewhere the system is not asked: pages come when they are read.
#[cfg(not(target_os = "linux"))]
fn in_memory(_: &File, _: usize) -> bool {
    true
}

/// Starts to read the bytes `range` from the disk. A refused hint changes nothing but speed.
fn will_need(map: &Mmap, range: Range<usize>) {
    #[cfg(unix)]
    let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
    #[cfg(not(unix))]
    let _ = (map, range);
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.inner.bytes {
            Bytes::Mapped(map, _) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MappedFile({}, {} bytes)", self.path().display(), self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_what_the_file_holds_and_outlives_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        let bytes: Vec<u8> = (0..10_000u32).map(|i| (i * 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = MappedFile::open(&path).unwrap();
        let clone = file.clone();
        drop(file);
        assert_eq!(&clone[..], &bytes[..]);
        assert_eq!(clone.path(), path);
    }

    #[test]
    fn what_the_system_says_of_mappings_is_added_up() {
        let maps = "1000-3000 r--p 00000000 08:01 7    /models/a-b: c.gguf\nSize: 8 kB\nRss:  4096 kB\nFilePmdMapped: 2048 kB\n\
            VmFlags: rd mr\n3000-9000 r--p 00002000 08:01 7 /models/a-b: c.gguf\nRss: 12 kB\nFilePmdMapped: 0 kB\n\
            9000-a000 rw-p 00000000 00:00 0 \nRss: 4 kB\nFilePmdMapped: 4 kB\n";
        let found = |range: Range<usize>| Resident::parse(maps, std::slice::from_ref(&range));
        assert_eq!(found(0x1000..0x9000), Resident { bytes: 4108 << 10, huge: 2 << 20 });
        assert_eq!(found(0x3000..0x4000), Resident { bytes: 12 << 10, huge: 0 });
        assert_eq!(found(0xa000..0xb000), Resident::default());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pages_that_were_used_are_resident() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        std::fs::write(&path, vec![1u8; 1 << 20]).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(file.iter().map(|&b| usize::from(b)).sum::<usize>(), 1 << 20);
        let resident = Resident::of(&[file]).unwrap();
        assert!(resident.bytes == 1 << 20 && resident.huge <= 1 << 20, "{resident:?}");
        assert_eq!(Resident::of(&[MappedFile::from_bytes(vec![0; 9], "owned")]), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_in_memory_is_not_fetched_and_what_is_not_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        let len = 8 << 20;
        std::fs::write(&path, vec![1u8; len]).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert!(!file.fetch(0..len), "what was just written is in memory");
        assert!(!MappedFile::from_bytes(vec![0; 9], "owned").fetch(0..9));
        // Written pages leave memory when they are on the disk and nobody maps them.
        drop(file);
        let plain = File::open(&path).unwrap();
        plain.sync_all().unwrap();
        rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let file = MappedFile::open(&path).unwrap();
        if in_memory(&plain, len / 2) {
            return; // A file system in memory.
        }
        assert!(file.fetch(0..len));
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !in_memory(&plain, len / 2) {
            assert!(std::time::Instant::now() < until, "asked for, and not there after 20 s");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn empty_missing_and_directory_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty.gguf");
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(MappedFile::open(&path), Err(Error::EmptyFile { .. })));
        assert!(matches!(MappedFile::open(dir.path()), Err(Error::Open { .. })));
        let missing = MappedFile::open(dir.path().join("no.gguf")).unwrap_err();
        assert!(missing.to_string().contains("no.gguf"), "{missing}");
    }
}
