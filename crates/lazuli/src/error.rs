//! What can go wrong between a path and the numbers that a model computes.

use crate::backends::BackendError;
use crate::store::StoreError;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] lazuli_io::Error),
    /// The checkpoint is no model that this build knows.
    #[error(transparent)]
    Model(#[from] lazuli_models::Error),
    /// The KV pool is too small or cannot be had.
    #[error(transparent)]
    Pool(#[from] lazuli_nn::Error),
    /// An evaluation failed.
    #[error(transparent)]
    Array(#[from] lazuli_core::Error),
    /// The backend cannot be started.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The model cannot be found.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] lazuli_planner::Error),
    /// A repository or folder with settings alone.
    #[error("'{label}' has settings but no weights: there is nothing to run")]
    NoWeights {
        /// The model.
        label: String,
    },
    /// A token id that the model does not have.
    #[error("token {id} does not exist: the model's vocabulary has {vocabulary} tokens, 0 to {}", vocabulary - 1)]
    NoSuchToken {
        /// The id.
        id: u32,
        /// How many tokens there are.
        vocabulary: usize,
    },
}
