//! What cannot be planned, and what to do about it.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No machine of this name is in the tables.
    #[error("no machine is called '{name}'; the nearest names are {nearest}")]
    UnknownMachine {
        /// The name.
        name: String,
        /// Names that there are.
        nearest: String,
    },
    /// The chip has never been made.
    #[error("there is no {name}: {why}; the nearest chips that exist are {neighbours}")]
    NoSuchChip {
        /// The chip.
        name: String,
        /// What is known about it.
        why: String,
        /// The chips beside it, with bandwidth and memory.
        neighbours: String,
    },
    /// The chip was not made with that much memory.
    #[error("the {chip} has {most} GB of memory at most, not {asked} GB")]
    TooMuchMemory {
        /// The chip.
        chip: String,
        /// What there is.
        most: u64,
        /// What was asked for.
        asked: u64,
    },
    /// The catalogue has no such model.
    #[error("the catalogue has no model '{name}'; the nearest names are {nearest}")]
    UnknownModel {
        /// The name.
        name: String,
        /// Names that there are.
        nearest: String,
    },
    /// A setting of the model is missing or senseless.
    #[error("setting `{key}` of the model: {what}")]
    Setting {
        /// The setting.
        key: String,
        /// What was found and what was expected.
        what: String,
    },
    /// A size, format or wish that cannot be read.
    #[error("{what} '{found}': {expected}")]
    Value {
        /// What it was meant to be.
        what: &'static str,
        /// What was given.
        found: String,
        /// What would do.
        expected: String,
    },
    /// More tokens than the model was made for.
    #[error(
        "a context of {asked} tokens is more than the {most} that {model} was made for; \
         with --force it is planned anyway, but what the model says beyond {most} means little"
    )]
    BeyondContext {
        /// The model.
        model: String,
        /// What was asked for.
        asked: usize,
        /// What there is.
        most: usize,
    },
    /// An engine of which nothing is known on this machine.
    #[error(
        "nothing is known of lazuli's speed on {machine}: run `lazuli bench --calibrate` there first, or name --engine"
    )]
    NotCalibrated {
        /// The machine.
        machine: String,
    },
}

impl Error {
    /// Whether what was asked for makes no sense by itself, whatever the model: a size, a format, a machine.
    pub fn is_argument(&self) -> bool {
        matches!(
            self,
            Self::Value { .. }
                | Self::UnknownMachine { .. }
                | Self::NoSuchChip { .. }
                | Self::TooMuchMemory { .. }
        )
    }

    pub(crate) fn setting(key: &str, what: impl Into<String>) -> Self {
        Self::Setting { key: key.to_owned(), what: what.into() }
    }

    pub(crate) fn value(what: &'static str, found: &str, expected: impl Into<String>) -> Self {
        Self::Value { what, found: found.to_owned(), expected: expected.into() }
    }
}
