//! `lazuli plan`: what a model will take and how fast it will be, before a weight is read.

mod show;

use super::options::Precision;
use super::options::Threads;
use super::{Context, Failure};
use lazuli::Model;
use lazuli::core::DType;
use lazuli::planner::machine::{Kind, find};
use lazuli::planner::{
    EngineKind, Error, KvFormat, Machine, Options, Sizes, Source, Want, Weights, parse_bandwidth,
    parse_bytes, parse_sequences, parse_tokens, plan, reaches,
};
use lazuli::planning::{Calibration, Origin, Subject, allocation, fixed_bytes, host};

/// Show the memory and the speed of a model before loading it
#[derive(clap::Args, Debug)]
#[command(after_help = "\
MODEL is a path, an alias, a model of the built-in catalogue (llama-3.3-70b, deepseek-r1, qwen3-30b-a3b, gemma-3-27b, \
mixtral-8x7b, gpt-oss-120b, phi-4, ..), or org/name on the hub, of which only headers are read.

Formats: bf16, q8, q6, q5, q4, q3, q2 (as MLX packs them), q8_0, q6_k, q5_k_m, q4_k_m, q4_k_s, q3_k_m, q4_0 (as GGUF \
does), fp8, mxfp4. Without --format: as the model is stored, or as it was published.

Speeds are estimates with an error band, fitted to published measurements of mlx-lm and llama.cpp on Apple silicon; for \
Lazuli on this machine, they rest on `lazuli bench --calibrate`.

Examples:
  lazuli plan llama-3.3-70b --format q4 --machine \"M4 Max 128GB\"
  lazuli plan deepseek-r1 --format q4 --machine \"M3 Ultra 512GB\" --context 32k,128k
  lazuli plan qwen3-32b --want \"20 tok/s at 32k\"
  lazuli plan org/name --memory 64GB --bandwidth 546")]
pub struct Args {
    /// A path, an alias, a name of the catalogue, or org/name[:file-or-quant] on the hub
    model: String,
    /// How the weights are packed [default: as they are]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// How keys and values are stored: f32, f16, bf16, q8_0 or q4_0
    #[arg(long, value_name = "FORMAT", default_value = "f16")]
    kv_format: String,
    /// Tokens of context, separated by commas: 8192, 32k [default: 8192, or what the model was made for]
    #[arg(long, short = 'c', value_name = "LIST", allow_hyphen_values = true)]
    context: Option<String>,
    /// Sequences at once
    #[arg(long, value_name = "N", default_value = "1", allow_hyphen_values = true)]
    concurrency: String,
    /// Tokens in the cache for the speed of generation [default: 512]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    depth: Option<String>,
    /// Tokens of the prompt for the time to the first token [default: 512]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A machine of `lazuli hardware`, perhaps with its memory: "M4 Max 128GB" [default: this one]
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// Memory of the machine, such as 64GB
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Bandwidth of the machine's memory in GB/s
    #[arg(long, value_name = "GB/S", allow_hyphen_values = true)]
    bandwidth: Option<String>,
    /// Whose overheads to assume: mlx-lm, llama.cpp or lazuli (where it is calibrated)
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// List the machines and formats that reach a speed, such as "20 tok/s at 32k"
    #[arg(long, value_name = "WISH")]
    want: Option<String>,
    /// Plan a context beyond what the model was made for
    #[arg(long)]
    force: bool,
}

/// Prints a picture, or the plan as an object (with `--want`, an array of objects).
pub fn run(args: &Args, cx: &Context) -> Result<(), Failure> {
    let store = cx.store()?;
    let calibration = Calibration::load(store.places());
    let machine = machine(args, calibration.as_ref())?;
    let named = args.format.as_deref().map(Weights::parse).transpose()?;
    let subject = Subject::find(&store, &args.model)?;
    let options = options(args, &machine, &subject)?;
    if let Some(wish) = &args.want {
        return want(args, cx, &subject, wish, (&machine, named.as_ref()), &options);
    }
    let weights = named.as_ref().unwrap_or(&subject.weights);
    let sizes = sizes(&subject, named.is_some(), &options)?;
    let source = Source { model: &subject.shape, weights, machine: &machine, sizes };
    let outcome = plan(&source, &options)?;
    if cx.json() {
        return cx.print_json(&outcome);
    }
    cx.out().line(&show::text(&outcome, &subject))?;
    if outcome.decode_tok_s.is_none() {
        cx.ui().note(show::unknown_speed(options.engine));
    }
    Ok(())
}

/// The machine that the options describe, or this one.
fn machine(args: &Args, calibration: Option<&Calibration>) -> Result<Machine, Failure> {
    let memory = args.memory.as_deref().map(parse_bytes).transpose()?;
    let bandwidth = args.bandwidth.as_deref().map(parse_bandwidth).transpose()?;
    let Some(name) = &args.machine else {
        return Ok(match (memory, bandwidth) {
            (None, None) => host(calibration),
            (memory, bandwidth) => Machine::custom(memory, bandwidth.unwrap_or(0.0)),
        });
    };
    let mut machine = find(name)?;
    if let Some(memory) = memory {
        machine = machine.with_memory(memory)?;
    }
    if let Some(bandwidth) = bandwidth {
        machine = machine.with_bandwidth(bandwidth);
    }
    Ok(machine)
}

fn options(args: &Args, machine: &Machine, subject: &Subject) -> Result<Options, Failure> {
    let engine = match &args.engine {
        Some(name) => name.parse()?,
        // What is here is planned as what would run it here.
        None if machine.kind == Kind::Host && matches!(subject.origin, Origin::Files(_)) => {
            EngineKind::Lazuli
        }
        None => EngineKind::usual(machine),
    };
    if args.engine.is_some() && engine == EngineKind::Lazuli && machine.measured.is_none() {
        return Err(Error::NotCalibrated { machine: machine.name.clone() }.into());
    }
    let tokens =
        |given: &Option<String>| given.as_deref().map_or(Ok(512.min(subject.shape.context)), parse_tokens);
    let contexts = args.context.iter().flat_map(|list| list.split(',')).map(parse_tokens);
    Ok(Options {
        contexts: contexts.collect::<Result<_, _>>()?,
        concurrency: parse_sequences(&args.concurrency)?,
        kv: args.kv_format.parse()?,
        // Nothing in the cache is a depth too.
        depth: if args.depth.as_deref() == Some("0") { 0 } else { tokens(&args.depth)? },
        prompt: tokens(&args.prompt)?,
        beyond: if args.force { lazuli::planner::Beyond::Planned } else { lazuli::planner::Beyond::Refused },
        ..Options::new(engine)
    })
}

/// What the engine itself would allocate, where it can run the very files.
fn sizes(subject: &Subject, repacked: bool, options: &Options) -> Result<Sizes, Failure> {
    let Origin::Files(path) = &subject.origin else { return Ok(Sizes::default()) };
    let dtype = match options.kv {
        KvFormat::F32 => DType::F32,
        KvFormat::F16 => DType::F16,
        KvFormat::Bf16 => DType::BF16,
        KvFormat::Q8_0 | KvFormat::Q4_0 => return Ok(Sizes::default()),
    };
    if repacked || options.engine != EngineKind::Lazuli {
        return Ok(Sizes::default());
    }
    // A model that this build does not run is planned by arithmetic alone.
    let model = Model::open(path)?;
    let Ok(network) = model.causal_lm() else { return Ok(Sizes::default()) };
    let runtime = Threads { threads: None }.workers(Precision::Fast)?.runtime();
    let context = options.contexts.iter().copied().max().unwrap_or(8192).min(subject.shape.context.max(1));
    let found = allocation(&*network, &runtime, dtype, context)?;
    Ok(found.sizes(fixed_bytes(&model)))
}

fn want(
    args: &Args,
    cx: &Context,
    subject: &Subject,
    wish: &str,
    (machine, format): (&Machine, Option<&Weights>),
    options: &Options,
) -> Result<(), Failure> {
    let want: Want = wish.parse()?;
    let is_named = args.machine.is_some() || args.memory.is_some() || args.bandwidth.is_some();
    let found = reaches(&subject.shape, want, options, (is_named.then_some(machine), format))?;
    if found.is_empty() {
        let what = format!("nothing in the tables reaches {wish}: ask for less, or name a smaller --format");
        return Err(Failure::error(what));
    }
    if cx.json() {
        return cx.print_json(&found);
    }
    Ok(cx.out().line(&show::reached(&found))?)
}
