//! What can go wrong when layers are built or a sequence asks for pages.

use lazuli_core::Shape;

use crate::PAGE_SIZE;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a layer could not be built or a sequence could not grow.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The checkpoint has no such tensor.
    #[error("tensor `{name}` is missing: the architecture needs it, of shape {expected}")]
    MissingTensor {
        /// Its full name.
        name: String,
        /// The shape it should have.
        expected: Shape,
    },
    /// A tensor's shape contradicts the model's settings.
    #[error("tensor `{name}` has shape {found}, but the model's settings make it {expected}")]
    TensorShape {
        /// Its full name.
        name: String,
        /// Its shape.
        found: Shape,
        /// The shape it should have.
        expected: Shape,
    },
    /// No page of the pool is free.
    #[error(
        "the KV pool is full: {needed} more pages of {PAGE_SIZE} tokens are needed and {free} of {total} are free; \
         end a sequence, or use a shorter context or a larger pool"
    )]
    OutOfPages {
        /// Pages that the sequence lacks.
        needed: usize,
        /// Pages that nobody uses.
        free: usize,
        /// Pages in all.
        total: usize,
    },
    /// A sequence would become longer than the pool's page tables allow.
    #[error("the context is full: {tokens} tokens were asked for, and a sequence may have {context}")]
    ContextFull {
        /// The length asked for.
        tokens: usize,
        /// The greatest length.
        context: usize,
    },
    /// More pages than the slots of a 32-bit index can name, or none at all.
    #[error("a KV pool of {pages} pages cannot be made: 1 to {max} pages are possible")]
    PoolSize {
        /// Pages asked for.
        pages: usize,
        /// The most that are possible.
        max: usize,
    },
    /// The array framework failed.
    #[error(transparent)]
    Core(#[from] lazuli_core::Error),
}
