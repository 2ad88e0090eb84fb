//! `lazuli rm`: takes a model out of a cache.

use super::ui::bytes;
use super::{Context, Failure};
use lazuli::store::ModelRef;

/// Delete a model from the cache
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Only caches are touched: Lazuli's own, and the hub's if its model is named as org/name. Files given as paths are yours.

Examples:
  lazuli rm smollm2
  lazuli rm org/name:Q8_0     one model of a repository
  lazuli rm org/name          everything of a repository")]
pub struct Args {
    /// A model as 'lazuli models' names it
    model: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Says what was freed, or `{"removed", "freed_bytes"}`.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let removal = cx.store()?.removal(&ModelRef::parse(&args.model)?)?;
    let (label, size) = (removal.label.clone(), bytes(removal.bytes));
    if !args.yes {
        let shared = if removal.shared { " from the cache that other tools share" } else { "" };
        match cx.ui().confirm(&format!("delete {label}{shared} and free {size}?")) {
            Some(true) => {}
            Some(false) => return Err(Failure::error("nothing was deleted")),
            None => return Err(Failure::usage("there is nobody to ask: add --yes to delete without asking")),
        }
    }
    let freed = removal.execute()?;
    if cx.json() {
        return cx.print_json(&serde_json::json!({ "removed": label, "freed_bytes": freed }));
    }
    Ok(cx.out().line(&format!("deleted {label}, freed {}", bytes(freed)))?)
}
