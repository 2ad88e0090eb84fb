//! `lazuli models`: what is in the caches of this machine.

use super::ui::{Table, bytes};
use super::{Context, Failure};
use lazuli::store::{Entry, Format, Source};

/// List the models on this machine
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Lists Lazuli's own cache and the hub's cache, which other tools share. The quantisation is read off the file's name.

Examples:
  lazuli models
  lazuli models --json")]
pub struct Args {}

/// Prints a table, or a list of `{"name", "format", "quantisation", "bytes", "path", "source"}`.
pub fn run(_args: &Args, cx: &Context) -> Result<(), Failure> {
    let store = cx.store()?;
    let entries = store.list()?;
    if cx.json() {
        return cx.print_json(&entries);
    }
    if entries.is_empty() {
        cx.ui().note("no models yet: 'lazuli pull' fetches the default one");
        return Ok(());
    }
    let mut table = Table::new(&["model", "format", ">size", "from", "path"]);
    for entry in &entries {
        table.row(row(entry));
    }
    Ok(cx.out().line(&table.render())?)
}

fn row(entry: &Entry) -> [String; 5] {
    let format = match entry.format {
        Format::Gguf => "GGUF",
        Format::Safetensors => "safetensors",
    };
    let format =
        entry.quantisation.as_ref().map_or_else(|| format.to_owned(), |quant| format!("{format} {quant}"));
    let source = match entry.source {
        Source::Pypi => "pypi",
        Source::Hub => "hub",
    };
    [entry.name.clone(), format, bytes(entry.bytes), source.to_owned(), entry.path.display().to_string()]
}
