//! `lazuli inspect`: what is in a model's files, and what generating a token from them does.

use super::options::{ModelArg, Precision, Threads};
use super::ui::{Paint, Table, bytes};
use super::{Context, Failure};
use lazuli::core::plan::Plan;
use lazuli::io::{Checkpoint, Encoding, Kind, TensorInfo};
use lazuli::{Model, Session};
use serde::Serialize;
use serde_json::{Value, json};

/// Show a model's tensors and metadata, and the plan of generating a token
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Of each tensor: its shape (the contiguous axis last), how its elements are stored, and at which byte of the file it \
begins; formats that store scales apart have a place for each part. Nothing but headers is read, also for --plan, unless \
--check asks for more.

Examples:
  lazuli inspect smollm2
  lazuli inspect smollm2 --plan")]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Add the plan of a decode step: steps, the bytes that they read and write, and which run together
    #[arg(long)]
    plan: bool,
    /// Read every weight, and fail at the first that is no finite number: a damaged file
    #[arg(long)]
    check: bool,
}

/// The length of the page tables in the plan, where the model allows it.
const PLAN_CONTEXT: usize = 4096;

/// Prints text, or `{"path", "format", "metadata", "tensors", "totals"}` and `"plan"` if asked for.
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let model = args.model.open(cx)?;
    let plan = if args.plan { Some(decode_plan(&model)?) } else { None };
    let checkpoint = model.checkpoint();
    if args.check {
        lazuli::quantize::check_values(checkpoint, || cx.interrupt().is_set())?;
    }
    if cx.json() {
        let mut value = json!({
            "path": checkpoint.path(),
            "format": format_name(checkpoint.kind()),
            "metadata": metadata(checkpoint.kind()).into_iter().collect::<serde_json::Map<_, _>>(),
            "tensors": checkpoint.tensors().iter().map(|t| describe(checkpoint, t)).collect::<Vec<_>>(),
            "totals": Totals::of(checkpoint.tensors()),
        });
        if let Some(plan) = &plan {
            value["plan"] = plan_json(plan);
        }
        return cx.print_json(&value);
    }
    cx.out().line(&text(checkpoint))?;
    if let Some(plan) = &plan {
        cx.out().line(&format!("\n{}\n{plan}", "plan of a decode step".strong()))?;
    }
    Ok(())
}

fn decode_plan(model: &Model) -> Result<Plan, Failure> {
    let network = model.causal_lm()?;
    let context = PLAN_CONTEXT.min(network.spec().context).max(1);
    let runtime = Threads { threads: None }.workers(Precision::Fast)?.runtime();
    Ok(Session::new(network, runtime, Precision::Fast.kv(), context)?.decode_plan()?)
}

fn format_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Gguf(_) => "gguf",
        Kind::HuggingFace(_) | Kind::Tensors => "safetensors",
    }
}

/// Settings by name; long values as a few words on what they are.
fn metadata(kind: &Kind) -> Vec<(String, Value)> {
    match kind {
        Kind::Gguf(metadata) => metadata.iter().map(|(key, value)| (key.to_owned(), gguf(value))).collect(),
        Kind::HuggingFace(config) => config.as_object().into_iter().flatten().map(of_config).collect(),
        Kind::Tensors => Vec::new(),
    }
}

fn gguf(value: &lazuli::io::gguf::Value) -> Value {
    use lazuli::io::gguf::Value as Gguf;
    match value {
        Gguf::Bool(flag) => json!(flag),
        Gguf::Str(text) if text.chars().count() <= 60 => json!(text),
        Gguf::Str(_) | Gguf::Array(_) => json!(value.describe()),
        // A float widened to f64 would show digits that are not in the file.
        Gguf::F32(x) => x.to_string().parse::<f64>().map_or(Value::Null, |x| json!(x)),
        other => other.as_i128().map_or_else(|| json!(other.as_f64()), |x| json!(x as i64)),
    }
}

fn of_config((key, value): (&String, &Value)) -> (String, Value) {
    let value = match value {
        Value::Array(list) if list.len() > 8 => json!(format!("an array of {}", list.len())),
        other => other.clone(),
    };
    (key.clone(), value)
}

/// A format's name as its makers write it: `Q4_K`, `BF16`.
fn encoding(tensor: &TensorInfo) -> String {
    match tensor.encoding {
        Encoding::Quant(format) => format.name().into_owned(),
        plain => plain.to_string(),
    }
}

fn bits(bytes: usize, elements: usize) -> f64 {
    if elements == 0 { 0.0 } else { bytes as f64 * 8.0 / elements as f64 }
}

fn describe(checkpoint: &Checkpoint, tensor: &TensorInfo) -> Value {
    let plane = |plane: &lazuli::io::Plane| {
        let file = checkpoint.files()[plane.file].path();
        json!({
            "file": file.file_name().map(|name| name.to_string_lossy()),
            "offset": plane.bytes.start,
            "bytes": plane.bytes.len(),
        })
    };
    json!({
        "name": tensor.name,
        "shape": tensor.shape,
        "format": encoding(tensor),
        "bytes": tensor.bytes(),
        "bits_per_weight": bits(tensor.bytes(), tensor.elements()),
        "planes": tensor.planes.iter().map(plane).collect::<Vec<_>>(),
    })
}

/// All tensors together, and those of each format, the largest part first.
#[derive(Debug, Serialize)]
struct Totals {
    tensors: usize,
    elements: usize,
    bytes: usize,
    bits_per_weight: f64,
    formats: Vec<PerFormat>,
}

#[derive(Debug, Serialize)]
struct PerFormat {
    format: String,
    tensors: usize,
    elements: usize,
    bytes: usize,
    bits_per_weight: f64,
}

impl Totals {
    fn of(tensors: &[TensorInfo]) -> Self {
        let mut formats: Vec<PerFormat> = Vec::new();
        for tensor in tensors {
            let format = encoding(tensor);
            let index = formats.iter().position(|f| f.format == format).unwrap_or_else(|| {
                formats.push(PerFormat { format, tensors: 0, elements: 0, bytes: 0, bits_per_weight: 0.0 });
                formats.len() - 1
            });
            let sum = &mut formats[index];
            sum.tensors += 1;
            sum.elements += tensor.elements();
            sum.bytes += tensor.bytes();
            sum.bits_per_weight = bits(sum.bytes, sum.elements);
        }
        formats.sort_by_key(|f| std::cmp::Reverse(f.bytes));
        let elements = formats.iter().map(|f| f.elements).sum();
        let bytes = formats.iter().map(|f| f.bytes).sum();
        Totals { tensors: tensors.len(), elements, bytes, bits_per_weight: bits(bytes, elements), formats }
    }
}

fn text(checkpoint: &Checkpoint) -> String {
    let mut settings = Table::new(&["setting", "value"]);
    for (key, value) in metadata(checkpoint.kind()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        settings.row([key, shorten(&value)]);
    }
    let mut tensors = Table::new(&["tensor", "shape", "format", ">bytes", ">bits", "at"]);
    for tensor in checkpoint.tensors() {
        tensors.row(row(checkpoint, tensor));
    }
    let totals = Totals::of(checkpoint.tensors());
    let mut formats = Table::new(&["format", ">tensors", ">weights", ">bytes", ">bits"]);
    for f in &totals.formats {
        let numbers = [f.tensors.to_string(), f.elements.to_string(), bytes(f.bytes as u64)];
        let bits = format!("{:.2}", f.bits_per_weight);
        formats.row([f.format.clone()].into_iter().chain(numbers).chain([bits]));
    }
    let all = [totals.tensors.to_string(), totals.elements.to_string(), bytes(totals.bytes as u64)];
    formats.row(["all".to_owned()].into_iter().chain(all).chain([format!("{:.2}", totals.bits_per_weight)]));
    let path = checkpoint.path().display();
    format!("{path}\n\n{}\n\n{}\n\n{}", settings.render(), tensors.render(), formats.render())
}

fn row(checkpoint: &Checkpoint, tensor: &TensorInfo) -> [String; 6] {
    // The file is named where there are several.
    let many = checkpoint.files().len() > 1;
    let place = |plane: &lazuli::io::Plane| match checkpoint.files()[plane.file].path().file_name() {
        Some(name) if many => format!("{}:{}", name.to_string_lossy(), plane.bytes.start),
        _ => plane.bytes.start.to_string(),
    };
    [
        tensor.name.clone(),
        format!("{:?}", tensor.shape),
        encoding(tensor),
        tensor.bytes().to_string(),
        format!("{:.2}", bits(tensor.bytes(), tensor.elements())),
        tensor.planes.iter().map(place).collect::<Vec<_>>().join(" "),
    ]
}

/// One line of at most 80 characters, without control characters: it came from a file.
fn shorten(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= 80 {
        return printable.collect();
    }
    printable.take(77).chain("...".chars()).collect()
}

fn plan_json(plan: &Plan) -> Value {
    let sum = plan.summary();
    let waves = plan.waves.iter().enumerate();
    let steps =
        waves.flat_map(|(wave, range)| plan.steps[range.clone()].iter().map(move |step| (wave, step)));
    let steps = steps.map(|(wave, step)| {
        json!({
            "wave": wave,
            "name": step.name(),
            "dtype": step.output.dtype.to_string(),
            "shape": step.output.shape[..],
            "bytes_read": step.bytes_read(),
            "bytes_written": step.bytes_written(),
        })
    });
    json!({
        "steps": steps.collect::<Vec<_>>(),
        "waves": sum.waves,
        "bytes_read": sum.bytes_read,
        "weight_bytes": sum.weight_bytes,
        "bytes_written": sum.bytes_written,
        "arena_bytes": sum.arena_bytes,
        "output_bytes": sum.output_bytes,
    })
}
