//! Writing a plan as a GGUF file.

use lazuli_io::Encoding;
use lazuli_io::gguf::{Array, GgufWriter, Value};

use super::draft::{Draft, Header};
use super::error::Result;
use super::formats::Scheme;
use super::mixture::{self, Facts};
use super::plan::Plan;
use super::stream::{Loss, Stream};

/// The version of the block formats that all readers of today know.
const QUANTIZATION_VERSION: u32 = 2;

/// What llama.cpp's rules need to know; of a folder, nothing.
pub fn facts(draft: &Draft) -> Facts {
    let Header::Gguf { settings } = &draft.header else { return Facts::default() };
    let get = |key: &str| settings.iter().find(|(k, _)| k == key).map(|(_, value)| value);
    let architecture = match get("general.architecture") {
        Some(Value::Str(name)) => name.clone(),
        _ => String::new(),
    };
    // Some files give one number for each layer: the first counts.
    let number = |key: &str| match get(&format!("{architecture}.{key}"))? {
        Value::Array(Array::Numbers(list)) => usize::try_from(list.get(0)?.as_i128()?).ok(),
        other => usize::try_from(other.as_i128()?).ok(),
    };
    let heads = number("attention.head_count").unwrap_or(0);
    let kv_heads = number("attention.head_count_kv").unwrap_or(heads);
    Facts {
        layers: number("block_count").unwrap_or(0),
        heads_per_kv: heads.checked_div(kv_heads).unwrap_or(0),
        experts: number("expert_count").unwrap_or(0),
        value_tensors: draft.tensors.iter().filter(|t| mixture::is_values(&t.name)).count(),
        has_output: draft.tensors.iter().any(|t| t.name == "output.weight"),
    }
}

/// `general.file_type` of a scheme.
fn file_type(scheme: Scheme) -> u32 {
    match scheme {
        Scheme::Gguf(mixture) => mixture.file_type(),
        Scheme::Plain(Encoding::F16) => 1,
        Scheme::Plain(Encoding::BF16) => 32,
        _ => 0,
    }
}

/// The header of a file at `path` with these settings, before any tensor.
pub fn begin(settings: &[(String, Value)], path: &std::path::Path) -> lazuli_io::Result<GgufWriter> {
    let alignment = settings.iter().find(|(key, _)| key == "general.alignment");
    let alignment = alignment.and_then(|(_, value)| usize::try_from(value.as_i128()?).ok()).unwrap_or(32);
    let mut writer = GgufWriter::create(path, alignment);
    for (key, value) in settings {
        writer.set(key, value)?;
    }
    writer.set("general.quantization_version", &Value::U32(QUANTIZATION_VERSION))?;
    Ok(writer)
}

/// The header of the file at `path` that `plan` calls for.
pub fn declare(plan: &Plan, path: &std::path::Path) -> Result<GgufWriter> {
    let Header::Gguf { settings } = &plan.header else { return Ok(GgufWriter::create(path, 1)) };
    let mut writer = begin(settings, path)?;
    writer.set("general.file_type", &Value::U32(file_type(plan.options.scheme)))?;
    for tensor in &plan.tensors {
        writer.declare(&tensor.name, &tensor.shape, tensor.encoding)?;
    }
    Ok(writer)
}

/// Writes the file; the losses come back in the order of the plan's tensors.
pub fn write(plan: &Plan, path: &std::path::Path, stream: &Stream) -> Result<Vec<Loss>> {
    let mut body = declare(plan, path)?.begin()?;
    let mut losses = Vec::with_capacity(plan.tensors.len());
    for tensor in &plan.tensors {
        let encoded = stream.tensor(tensor, &mut |bytes| Ok(body.write(bytes)?))?;
        losses.push(encoded.loss);
    }
    body.finish()?;
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_types_are_those_of_llama_cpp() {
        let of = |name: &str| file_type(Scheme::parse(name, super::super::Container::Gguf).unwrap());
        assert_eq!([of("f32"), of("f16"), of("bf16"), of("Q4_K_M"), of("Q8_0")], [0, 1, 32, 15, 7]);
    }
}
