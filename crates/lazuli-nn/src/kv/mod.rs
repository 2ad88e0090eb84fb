//! Keys and values: one pool of memory in pages of a fixed size, and who has which page.
//!
//! `spec` says how large the pool is before it exists, `pool` owns its memory and the arrays of each layer,
//! `pages` gives pages to sequences. Layers that look back equally far are a group with page tables of its own.

mod pages;
mod pool;
mod spec;

pub use pages::SequencePages;
pub use pool::KvPool;
pub use spec::{Group, KvSpec, LayerKv, pages_kept};

/// Tokens in a page. One head's page is then some kilobytes (8 KiB for 64 elements in f16): long enough that
/// looking up its index costs nothing beside reading it, short enough that a sequence wastes 32 tokens on
/// average.
pub const PAGE_SIZE: usize = 64;
