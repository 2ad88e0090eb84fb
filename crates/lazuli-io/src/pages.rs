//! Files written in steps of a huge page, so that the page cache can keep each step in one.

use std::io::{self, Write};

use lazuli_core::HUGE_PAGE;

/// Collects bytes and hands them on in steps of 2 MB that begin at multiples of 2 MB in the file, whatever sizes they come
/// in. [`flush`](Write::flush) hands on the rest; so does dropping, but its errors go unseen.
#[derive(Debug)]
pub struct PageWriter<W: Write> {
    to: W,
    held: Vec<u8>,
    /// Bytes until the next step begins.
    room: usize,
}

impl<W: Write> PageWriter<W> {
    /// Writes to `to`, which stands at `offset` of its file.
    pub fn new(to: W, offset: u64) -> Self {
        let room = HUGE_PAGE - (offset % HUGE_PAGE as u64) as usize;
        Self { to, held: Vec::new(), room }
    }

    /// Forgets what it holds: the caller begins a new file, to which the writer that it gets leads.
    pub fn restart(&mut self) -> &mut W {
        self.held.clear();
        self.room = HUGE_PAGE;
        &mut self.to
    }

    /// What it writes to; held bytes are not there yet.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.to
    }
}

impl<W: Write> Write for PageWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        if taken == HUGE_PAGE {
            self.to.write_all(&bytes[..taken])?;
            return Ok(taken);
        }
        self.held.reserve_exact(self.room);
        self.held.extend_from_slice(&bytes[..taken]);
        self.room -= taken;
        if self.room == 0 {
            self.room = HUGE_PAGE;
            let step = self.to.write_all(&self.held);
            self.held.clear();
            step?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = self.to.write_all(&self.held);
        self.held.clear();
        rest?;
        self.to.flush()
    }
}

impl<W: Write> Drop for PageWriter<W> {
    fn drop(&mut self) {
        // Whoever cares has flushed.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers where each write began and ended.
    #[derive(Default)]
    struct Log(Vec<u8>, Vec<usize>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(bytes);
            self.1.push(self.0.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_of_all_sizes_become_whole_pages() {
        let bytes: Vec<u8> = (0..5 * HUGE_PAGE + 77).map(|i| (i * 7 % 251) as u8).collect();
        for offset in [0, 100, HUGE_PAGE - 1] {
            let mut out = PageWriter::new(Log::default(), offset as u64);
            let mut rest = &bytes[..];
            for size in [1, 5000, HUGE_PAGE, 3, HUGE_PAGE + 9, 2 * HUGE_PAGE, usize::MAX] {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                out.write_all(piece).unwrap();
                rest = after;
            }
            out.flush().unwrap();
            let Log(written, ends) = &out.to;
            assert!(*written == bytes, "from {offset}");
            let (last, pages) = ends.split_last().unwrap();
            assert_eq!(*last, bytes.len());
            assert!(pages.iter().all(|end| (end + offset) % HUGE_PAGE == 0), "{pages:?} from {offset}");
            assert!(pages.len() >= 5);
        }
    }

    #[test]
    fn flushing_and_dropping_lose_nothing_and_restarting_does() {
        let mut file = Log::default();
        let mut out = PageWriter::new(&mut file, 0);
        for piece in [&b"ab"[..], b"c"] {
            out.write_all(piece).unwrap();
            out.flush().unwrap();
        }
        out.write_all(b"lost").unwrap();
        assert_eq!(out.restart().0, b"abc");
        out.write_all(b"d").unwrap();
        drop(out);
        assert_eq!(file.0, b"abcd");
    }
}
