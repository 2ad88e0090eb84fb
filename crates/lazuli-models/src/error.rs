//! Why a checkpoint cannot be loaded as a model.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with a checkpoint, or what it asks for that is not supported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No architecture of this name is known.
    #[error("architecture `{found}` is not supported; supported are {supported}")]
    UnknownArchitecture {
        /// The name as the checkpoint gives it.
        found: String,
        /// The names that would do.
        supported: String,
    },
    /// A setting is missing, malformed, or asks for something that is not supported.
    #[error("setting `{key}`: {what}")]
    Setting {
        /// The key, with the keys above it.
        key: String,
        /// What was found and what was expected.
        what: String,
    },
    /// Settings that this architecture's code does not read, so that its results would be wrong.
    #[error(
        "settings of this {architecture} model are not supported: {settings}; \
         they could change its results, so it is not loaded"
    )]
    UnsupportedSettings {
        /// The architecture.
        architecture: String,
        /// Keys and values.
        settings: String,
    },
    /// Tensors that nothing reads: the model is not what its settings say.
    #[error("{count} tensors of the checkpoint have no place in a {architecture} model: {names}")]
    UnusedTensors {
        /// The architecture.
        architecture: String,
        /// How many.
        count: usize,
        /// The first of them.
        names: String,
    },
    /// A tensor is missing or has the wrong shape.
    #[error(transparent)]
    Layer(#[from] lazuli_nn::Error),
    /// The files cannot be read as a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] lazuli_io::Error),
    /// A tensor's values were needed and cannot be read.
    #[error(transparent)]
    Array(#[from] lazuli_core::Error),
}

impl Error {
    /// An error about the setting `key`.
    pub(crate) fn setting(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), what: what.into() }
    }
}
