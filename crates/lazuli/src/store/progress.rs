//! What the store tells whoever waits for it. The command line draws bars; a library user may stay silent.

/// Watches a fetch, and may stop it. All methods are called from the thread that fetches.
pub trait Progress {
    /// A file begins; `total` bytes if known, of which `already` are here.
    fn begin(&self, _file: &str, _total: Option<u64>, _already: u64) {}
    /// The file that began has this many bytes now.
    fn at(&self, _bytes: u64) {}
    /// The file that began is complete, or has failed.
    fn end(&self) {}
    /// Something that the user should hear: a choice that was made, a wait.
    fn note(&self, _text: &str) {}
    /// True if the fetch should stop; asked every few dozen kilobytes and at least five times a second.
    fn stopped(&self) -> bool {
        false
    }
}

/// Says nothing and never stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
