//! `lazuli logits`: what a model computes for a list of tokens, as a file that other programs read.

use super::options::{List, ModelArg, Precision, Threads, list};
use super::ui::bytes;
use super::{Context, Failure};
use lazuli::io::SafetensorsWriter;
use lazuli::nn::Logits;
use lazuli::{Model, PREFILL_CHUNK, Session};
use std::path::{Path, PathBuf};

/// Write a model's logits for a list of tokens to a file
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The file holds one tensor, logits [T, V] f32: a row for each token, a column for each token of the vocabulary. Row i is \
the prediction of what follows token i. The file appears when it is complete.

Example:
  lazuli logits smollm2 --tokens 1,2,3 --out logits.safetensors")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS", value_parser = list::<u32>)]
    tokens: List<u32>,
    /// Where to write; an existing file is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How to compute
    #[arg(long, value_enum, default_value_t = Precision::Fast)]
    precision: Precision,
    #[command(flatten)]
    threads: Threads,
}

/// Writes the file and says so, or prints `{"path", "tokens", "vocabulary"}`.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let network = Model::open(args.model.find(cx)?.path)?.causal_lm()?;
    let vocabulary = network.spec().vocabulary;
    let tokens = &args.tokens.0;
    let runtime = args.threads.workers(args.precision)?.runtime();
    let mut session = Session::new(network, runtime, args.precision.kv(), tokens.len())?;
    session.check(tokens)?;

    let part = beside(&args.out)?;
    let written = write(&mut session, tokens, vocabulary, &part, cx);
    let finished = written.and_then(|()| Ok(std::fs::rename(&part, &args.out)?));
    if finished.is_err() {
        // What was written so far is of no use; if there is nothing, there is nothing to remove.
        let _ = std::fs::remove_file(&part);
    }
    finished.map_err(|failure| match failure {
        Failure::Error(what) if !what.contains("cannot write") => {
            Failure::error(format!("cannot write {}: {what}", args.out.display()))
        }
        other => other,
    })?;
    if cx.json() {
        let value = serde_json::json!({
            "path": args.out, "tokens": tokens.len(), "vocabulary": vocabulary,
        });
        return cx.print_json(&value);
    }
    let size = bytes((tokens.len() * vocabulary * size_of::<f32>()) as u64);
    let (path, rows) = (args.out.display(), tokens.len());
    Ok(cx.out().line(&format!("{path}: logits [{rows}, {vocabulary}] f32, {size}"))?)
}

fn write(
    session: &mut Session,
    tokens: &[u32],
    vocabulary: usize,
    path: &Path,
    cx: &Context,
) -> Result<(), Failure> {
    let mut writer = SafetensorsWriter::create(path);
    writer.declare::<f32>("logits", &[tokens.len(), vocabulary])?;
    let mut body = writer.begin()?;
    let interrupt = cx.interrupt();
    for chunk in tokens.chunks(PREFILL_CHUNK) {
        interrupt.check()?;
        body.write(session.feed(chunk, Logits::All)?.as_slice::<f32>()?)?;
    }
    Ok(body.finish()?)
}

/// A name in the same folder that nobody else uses, so that renaming replaces the file in one moment.
fn beside(path: &Path) -> Result<PathBuf, Failure> {
    let name = path.file_name().ok_or_else(|| Failure::usage("--out names no file"))?;
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_lies_beside_the_file() {
        let part = beside(Path::new("a/b.safetensors")).expect("it has a name");
        assert_eq!(part.parent(), Some(Path::new("a")));
        assert!(part.to_string_lossy().contains(".b.safetensors."), "{part:?}");
        assert!(beside(Path::new("..")).is_err());
    }
}
