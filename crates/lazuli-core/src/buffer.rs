//! [`Buffer`]: a range of bytes in the one pool of memory, and who keeps it alive.
//!
//! The only unsafe file of this crate. A buffer is allocated here, borrowed from an owner (a mapped file), or
//! an exclusive part of another buffer. Writing goes through raw pointers that only backends take.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, Weak};

use crate::{Error, Result};

/// Buffers start on a page, so that a GPU can share them and kernels can use aligned loads.
pub const ALIGNMENT: usize = 16 * 1024;

/// Bytes of a huge page, on x86 and on Arm with pages of 4 KB. One entry of the TLB for as much, in place of 512, is worth
/// a third of the bandwidth that a core gets where page tables are nested (a virtual machine).
pub const HUGE_PAGE: usize = 2 << 20;
/// Buffers from here on ask for huge pages. The first use of such a page clears 2 MB and may wait until the system has moved
/// others out of the way: what is large and used here and there would make a short answer wait, and take memory that it
/// does not need. The KV pool is used from its beginning on (see [`crate::Array::interleaved`]).
const LARGE: usize = 8 << 20;

/// A shared handle to a range of bytes. Cloning shares; nothing is copied.
#[derive(Clone)]
pub struct Buffer(Arc<Region>);

/// Knows a buffer by sight and does not keep it.
pub(crate) struct WeakBuffer(Weak<Region>);

impl WeakBuffer {
    /// Whether it is this one.
    pub fn is(&self, buffer: &Buffer) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&buffer.0))
    }
}

struct Region {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
    owner: Owner,
}

enum Owner {
    /// Allocated here: where and how.
    Heap { base: NonNull<u8>, layout: Layout },
    /// Memory of somebody else, kept alive by this handle.
    Foreign { _keep: Arc<dyn Any + Send + Sync> },
    /// The same, of which some may still lie on a disk.
    Mapped(Arc<dyn Mapped>),
    /// An exclusive part of a larger buffer.
    Part { _whole: Buffer },
    /// A part in whose gaps others lie: of its bytes only some are its own.
    Woven { _whole: Buffer },
    /// Lent by a recycler, to which it returns.
    Lent { memory: Option<Buffer>, home: Arc<Shelf> },
}

/// Memory of which some may lie on a disk until it is read: a mapped file.
pub trait Mapped: AsRef<[u8]> + Send + Sync {
    /// Starts to bring the bytes `range` into memory and does not wait for them. Bytes that seem to be there already
    /// are left alone; whether anything was asked for. A hint: what the system refuses changes nothing but speed.
    fn fetch(&self, range: Range<usize>) -> bool;
}

// SAFETY: a region is plain memory; what may be written, and when, is the contract of `Buffer::as_mut_ptr`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Buffer {
    /// Allocates `len` zero bytes. Pages, huge ones for large buffers where the system has them, are not touched, so they
    /// cost nothing until they are used.
    pub fn zeroed(len: usize) -> Result<Self> {
        let failed = || Error::OutOfMemory { bytes: len, what: "a buffer" };
        // Asking for a large alignment would make the allocator write every page; aligning by hand does not.
        let alignment = if len >= LARGE { HUGE_PAGE } else { ALIGNMENT };
        let padded = len.checked_add(alignment).ok_or_else(failed)?;
        let layout = Layout::from_size_align(padded, 16).map_err(|_| failed())?;
        // SAFETY: the layout's size is at least ALIGNMENT, so it is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(failed)?;
        let skip = base.as_ptr().align_offset(alignment);
        // SAFETY: `skip < alignment`, so the start and `len` bytes after it lie inside the allocation.
        let start = unsafe { base.add(skip) };
        if alignment == HUGE_PAGE {
            // SAFETY: the range lies inside the allocation, and the advice changes no byte of it.
            unsafe { prefer_huge_pages(start, len) };
        }
        Ok(Self(Arc::new(Region { start, len, writable: true, owner: Owner::Heap { base, layout } })))
    }

    /// Takes a vector's memory without copying it.
    pub fn from_vec<T: crate::Element>(mut values: Vec<T>) -> Self {
        let len = std::mem::size_of_val(values.as_slice());
        let start = NonNull::new(values.as_mut_ptr().cast()).unwrap_or(NonNull::dangling());
        Self(Arc::new(Region {
            start,
            len,
            writable: true,
            owner: Owner::Foreign { _keep: Arc::new(values) },
        }))
    }

    /// Borrows the bytes of `owner` (for example a mapped file) for as long as any handle lives. Read-only.
    pub fn from_owner<T: AsRef<[u8]> + Send + Sync + 'static>(owner: Arc<T>) -> Self {
        let bytes: &[u8] = (*owner).as_ref();
        let (start, len) = (NonNull::from(bytes).cast(), bytes.len());
        Self(Arc::new(Region { start, len, writable: false, owner: Owner::Foreign { _keep: owner } }))
    }

    /// As [`Buffer::from_owner`], of memory that [`Buffer::fetch`] can ask for.
    pub fn from_mapped<T: Mapped + 'static>(owner: Arc<T>) -> Self {
        let bytes: &[u8] = (*owner).as_ref();
        let (start, len) = (NonNull::from(bytes).cast(), bytes.len());
        Self(Arc::new(Region { start, len, writable: false, owner: Owner::Mapped(owner) }))
    }

    /// Starts to bring the bytes `range` (clipped to the buffer) into memory if they lie in a mapped file and are not
    /// there yet; whether it did. Costs two small system calls if they are, and nothing for other buffers.
    pub fn fetch(&self, range: Range<usize>) -> bool {
        let range = range.start..range.end.min(self.len());
        match &self.0.owner {
            Owner::Mapped(file) if !range.is_empty() => file.fetch(range),
            _ => false,
        }
    }

    /// Cuts the buffer into parts of the given lengths, one after the other. Each part is a buffer of its own:
    /// that one of them is uniquely held says nothing about the others.
    ///
    /// # Panics
    /// If the lengths add up to more than the buffer has, or somebody else holds the buffer or some of its bytes too.
    pub fn split(self, lens: &[usize]) -> Vec<Self> {
        let mut end = 0;
        let range = |&len: &usize| {
            end += len;
            end - len..end
        };
        let ranges: Vec<Range<usize>> = lens.iter().map(range).collect();
        assert!(end <= self.len(), "parts of {lens:?} bytes exceed {}", self.len());
        self.cut(&ranges, |whole| Owner::Part { _whole: whole })
    }

    /// Parts that may overlap, for arrays that lie in one another's gaps ([`crate::Array::interleaved`]), so that nobody
    /// may borrow or write the bytes of one: only backends can, which know which of them are an array's.
    ///
    /// # Panics
    /// If a range goes beyond the buffer, or somebody else holds the buffer or some of its bytes too.
    pub(crate) fn weave(self, ranges: &[Range<usize>]) -> Vec<Self> {
        self.cut(ranges, |whole| Owner::Woven { _whole: whole })
    }

    /// Parts of a buffer that nobody else holds, each with its owner.
    fn cut(self, ranges: &[Range<usize>], owner: impl Fn(Self) -> Owner) -> Vec<Self> {
        assert!(self.is_exclusive(), "a shared buffer cannot be cut into exclusive parts");
        let part = |range: &Range<usize>| {
            assert!(range.start <= range.end && range.end <= self.len(), "{range:?} exceeds {}", self.len());
            // SAFETY: the range lies inside the buffer, as asserted.
            let start = unsafe { self.0.start.add(range.start) };
            let owner = owner(self.clone());
            Self(Arc::new(Region { start, len: range.len(), writable: self.0.writable, owner }))
        };
        ranges.iter().map(part).collect()
    }

    /// Whether this is the only handle to this range, and no byte in it is another array's.
    fn is_exclusive(&self) -> bool {
        self.is_unique() && !self.is_woven()
    }

    /// Whether some of the bytes in this range are another array's.
    pub(crate) fn is_woven(&self) -> bool {
        matches!(self.0.owner, Owner::Woven { .. })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether operations may write here (mapped files are read-only).
    pub fn is_writable(&self) -> bool {
        self.0.writable
    }

    /// Whether this is the only handle to this range.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    pub(crate) fn downgrade(&self) -> WeakBuffer {
        WeakBuffer(Arc::downgrade(&self.0))
    }

    /// Whether both handles mean the same range.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The bytes.
    ///
    /// # Panics
    /// If some of them are other arrays' ([`crate::Array::interleaved`]).
    pub fn as_bytes(&self) -> &[u8] {
        assert!(!self.is_woven(), "bytes between which other arrays lie cannot be borrowed");
        self.all_bytes()
    }

    /// The first byte, for reading through kernels.
    pub fn as_ptr(&self) -> *const u8 {
        self.0.start.as_ptr()
    }

    /// The first byte, for a backend that writes a plan's results here. Dereferencing is the backend's
    /// responsibility: only ranges that the plan gives to a step may be written, and only while it runs.
    ///
    /// # Panics
    /// If the buffer is read-only.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        assert!(self.0.writable, "a read-only buffer cannot be written");
        self.0.start.as_ptr()
    }

    /// Writes `bytes` at `offset`, safely, when this is the only handle.
    ///
    /// # Panics
    /// If the buffer is shared, read-only or has other arrays in between, or the range lies outside it.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(
            self.is_exclusive() && self.0.writable,
            "only a uniquely held, writable buffer can be written"
        );
        assert!(
            offset.checked_add(bytes.len()).is_some_and(|end| end <= self.len()),
            "write outside the buffer"
        );
        // SAFETY: the range was checked, the handle is unique and borrowed mutably, and `bytes` is another
        // allocation because nobody else holds this one.
        unsafe { self.0.start.as_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

impl Buffer {
    /// The bytes, others' in between included: for the reference interpreter, which runs one step at a time and copies
    /// what it reads.
    pub(crate) fn all_bytes(&self) -> &[u8] {
        // SAFETY: `start` points to `len` initialised bytes that the owner keeps alive. Backends write only to buffers of a
        // plan in progress, which nobody reads before its ticket is done; of bytes that several arrays share, only the
        // interpreter comes here, and nothing is written while it reads: see `store`.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.len) }
    }

    /// Writes `bytes` at `offset` of a buffer that may be shared: for the reference interpreter, which runs
    /// one step at a time and copies what it reads.
    pub(crate) fn store(&self, offset: usize, bytes: &[u8]) {
        assert!(
            offset.checked_add(bytes.len()).is_some_and(|end| end <= self.len()),
            "write outside the buffer"
        );
        // SAFETY: the range was checked; no slice of this buffer is alive, as the interpreter has copied its
        // operands, and results are not handed out before the program ends.
        unsafe { self.as_mut_ptr().add(offset).copy_from(bytes.as_ptr(), bytes.len()) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        match &mut self.owner {
            // SAFETY: `base` came from `alloc_zeroed` with this layout, and the last handle is gone.
            Owner::Heap { base, layout } => unsafe { dealloc(base.as_ptr(), *layout) },
            Owner::Lent { memory, home } => {
                if let (Some(memory), Ok(mut free)) = (memory.take(), home.free.lock()) {
                    free.push(memory);
                }
            }
            Owner::Foreign { .. } | Owner::Mapped(_) | Owner::Part { .. } | Owner::Woven { .. } => {}
        }
    }
}

/// Asks for huge pages. A hint: a system that has none, or gives them to nobody, is no error.
///
/// # Safety
/// The range belongs to the caller.
unsafe fn prefer_huge_pages(start: NonNull<u8>, len: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the caller's range, and advice that changes no byte.
    let _ = unsafe { rustix::mm::madvise(start.as_ptr().cast(), len, rustix::mm::Advice::LinuxHugepage) };
    #[cfg(not(target_os = "linux"))]
    let _ = (start, len);
}

/// Bytes as elements, if they are aligned for those and hold a whole number of them.
pub(crate) fn cast_slice<T: crate::Element>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: `Element` is sealed, and every bit pattern is a valid value of each of its types; the middle part is
    // aligned and inside `bytes`.
    let (before, values, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(values)
}

/// Memory that results of earlier evaluations gave back: a decode loop asks for the same sizes each step.
#[derive(Clone, Default)]
pub struct Recycler(Arc<Shelf>);

#[derive(Default)]
struct Shelf {
    free: Mutex<Vec<Buffer>>,
}

impl Recycler {
    /// A buffer of at least `len` bytes with arbitrary contents, which returns here when its last handle goes.
    pub fn take(&self, len: usize) -> Result<Buffer> {
        let capacity = len.next_power_of_two().max(4096);
        let mut free = self.0.free.lock().map_err(|_| Error::OutOfMemory { bytes: len, what: "a result" })?;
        let found = free.iter().position(|b| b.len() == capacity).map(|at| free.swap_remove(at));
        drop(free);
        let memory = match found {
            Some(memory) => memory,
            None => Buffer::zeroed(capacity)?,
        };
        let start = memory.0.start;
        let owner = Owner::Lent { memory: Some(memory), home: self.0.clone() };
        Ok(Buffer(Arc::new(Region { start, len, writable: true, owner })))
    }

    /// Bytes that lie here unused.
    pub fn idle_bytes(&self) -> usize {
        self.0.free.lock().map_or(0, |free| free.iter().map(Buffer::len).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_exclusive_and_keep_the_whole_alive() {
        let parts = Buffer::zeroed(100).expect("small").split(&[40, 60]);
        assert!(parts.iter().all(Buffer::is_unique));
        let mut second = parts.into_iter().nth(1).expect("two parts");
        second.write(59, &[7]);
        assert_eq!(second.as_bytes()[59], 7);
    }

    #[test]
    fn large_buffers_begin_on_huge_pages_and_are_zero() {
        for (len, alignment) in [(LARGE - 1, ALIGNMENT), (LARGE, HUGE_PAGE), (LARGE + 77, HUGE_PAGE)] {
            let mut buffer = Buffer::zeroed(len).expect("address space");
            assert_eq!(buffer.as_ptr().align_offset(alignment), 0, "{len}");
            assert!(buffer.as_bytes()[..5000].iter().all(|&byte| byte == 0));
            buffer.write(len - 1, &[1]);
            assert_eq!(buffer.as_bytes()[len - 1], 1);
        }
    }

    #[test]
    fn recycled_memory_comes_back() {
        let recycler = Recycler::default();
        let first = recycler.take(5000).expect("small");
        let address = first.as_ptr();
        drop(first);
        assert_eq!(recycler.idle_bytes(), 8192);
        let second = recycler.take(6000).expect("small");
        assert_eq!((second.as_ptr(), second.len(), recycler.idle_bytes()), (address, 6000, 0));
    }

    #[test]
    fn only_mapped_memory_is_fetched_and_only_what_it_has() {
        struct Pages(Vec<u8>, Mutex<Vec<Range<usize>>>);
        impl AsRef<[u8]> for Pages {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Mapped for Pages {
            fn fetch(&self, range: Range<usize>) -> bool {
                self.1.lock().expect("no panic").push(range);
                true
            }
        }
        let pages = Arc::new(Pages(vec![0; 10], Mutex::default()));
        let mapped = Buffer::from_mapped(pages.clone());
        assert!(mapped.fetch(2..5) && mapped.fetch(8..100) && !mapped.fetch(10..12));
        assert_eq!(*pages.1.lock().expect("no panic"), [2..5, 8..10]);
        assert!(!mapped.is_writable() && !Buffer::from_owner(Arc::new(vec![1u8])).fetch(0..1));
    }

    #[test]
    fn mapped_memory_is_read_only() {
        let buffer = Buffer::from_owner(Arc::new(vec![1u8, 2, 3]));
        assert_eq!(buffer.as_bytes(), &[1, 2, 3]);
        assert!(!buffer.is_writable());
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| buffer.as_mut_ptr())).is_err());
    }
}
