//! Writing checkpoints in other formats: from a Hugging Face folder or a GGUF file to a folder in MLX's layout or a GGUF
//! file, tensor by tensor, without ever holding one in memory.
//!
//! [`Plan::new`] decides what every tensor becomes and refuses what cannot be, [`Plan::check`] looks at the target, and
//! [`Plan::write`] writes it. `formats` names formats, `mixture` has llama.cpp's rules, `draft` what a target holds,
//! `encode` the work, `folder` and `gguf` the two containers.

mod draft;
mod encode;
mod error;
mod experts;
mod folder;
mod formats;
mod gguf;
mod mixture;
mod overrides;
mod plan;
mod rows;
mod stream;
mod target;

pub use error::QuantizeError;
pub use formats::{Container, Scheme};
pub use overrides::Override;
pub use plan::{Options, PackedSource, Plan, Planned};
pub use target::Existing;

pub(crate) use draft::is_carried;
pub(crate) use gguf::begin;
pub(crate) use mixture::{fitting, is_packed, layer};
pub(crate) use target::{Target, check};

use draft::Origin;
use error::Result;
use lazuli_io::{Checkpoint, Encoding};
use lazuli_models::convert::RowOrder;
use stream::Stream;

use crate::store::Progress;

/// Decodes every weight of `checkpoint` and refuses the first that is no finite number. `stopped` is asked now and then.
///
/// # Errors
/// [`QuantizeError::Value`] that names tensor, row and element; [`QuantizeError::Interrupted`].
pub fn check_values(checkpoint: &Checkpoint, stopped: impl Fn() -> bool) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    for (place, tensor) in checkpoint.tensors().iter().enumerate() {
        let is_float =
            matches!(tensor.encoding, Encoding::F32 | Encoding::F16 | Encoding::BF16 | Encoding::Quant(_));
        if !is_float {
            continue;
        }
        let origin = Origin::Stored { tensors: vec![place], rows: RowOrder::Same, add: 0.0 };
        let rows = rows::Rows::new(checkpoint, &tensor.name, &tensor.shape, &origin);
        encode::encode(&rows, Encoding::F32, &tensor.name, threads, &mut |_| {
            if stopped() { Err(QuantizeError::Interrupted) } else { Ok(()) }
        })?;
    }
    Ok(())
}

impl Plan<'_> {
    /// Bytes that the target will take on the disk.
    ///
    /// # Errors
    /// If a tensor does not fit the container.
    pub fn file_bytes(&self) -> Result<u64> {
        let bytes = match self.container {
            Container::Folder => folder::bytes(self)?,
            Container::Gguf => gguf::declare(self, &self.target)?.file_bytes(),
        };
        Ok(bytes as u64)
    }

    /// Refuses a target that exists (unless it may be replaced), cannot be there, or has no room.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check(&self) -> Result<()> {
        let source = self.checkpoint.path();
        target::check(&self.target, source, self.container, self.options.existing, self.file_bytes()?)?;
        if self.container == Container::Folder { folder::check(self) } else { Ok(()) }
    }

    /// Checks the target, writes it beside under another name, and renames it. Where that fails, or `progress` says
    /// that it should stop, what was written is removed. Returns the relative error of each tensor: the root of the
    /// share of its power that was lost.
    ///
    /// # Errors
    /// As for [`Plan::check`]; [`QuantizeError::Value`] if the source holds what is no number;
    /// [`QuantizeError::Interrupted`]; or what the system says.
    pub fn write(&self, progress: &dyn Progress) -> Result<Vec<f64>> {
        self.check()?;
        let target = Target::new(&self.target);
        let name = self.target.file_name().map(|name| name.to_string_lossy().into_owned());
        progress.begin(&name.unwrap_or_default(), Some(self.tensor_bytes() as u64), 0);
        let stream = Stream::new(self, progress);
        let losses = match self.container {
            Container::Folder => folder::write(self, target.part(), &stream),
            Container::Gguf => gguf::write(self, target.part(), &stream),
        };
        progress.end();
        let losses = losses?;
        if progress.stopped() {
            return Err(QuantizeError::Interrupted);
        }
        target.finish()?;
        Ok(losses.into_iter().map(encode::Loss::relative).collect())
    }
}
