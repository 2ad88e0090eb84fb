//! What file names of models tell: the quantisation, the parts of a split file, which of several is preferred.
//! Pure functions over names; they are guesses, and only used to choose and to list.

use std::path::Path;

/// The order in which a GGUF is chosen where none is asked for: the usual compromise first, then near ones, then the
/// larger, then the lossy. Anything else comes last.
const PREFERENCE: [&str; 20] = [
    "Q4_K_M", "Q4_K_S", "Q4_K_L", "Q4_K_XL", "Q4_K", "Q4_1", "Q4_0", "Q5_K_M", "Q5_K_S", "Q5_K_XL", "Q5_K",
    "Q5_1", "Q5_0", "Q6_K", "Q6_K_XL", "Q8_0", "BF16", "F16", "F32", "Q3_K_M",
];

/// The quantisation that the name of a GGUF file (or, failing that, its folder) mentions, in upper case.
pub fn quantisation(path: &str) -> Option<String> {
    path.rsplit('/').take(2).find_map(|part| {
        let stem = split_part(part).map_or(part, |(stem, ..)| stem);
        let upper = stem.to_ascii_uppercase();
        let upper = upper.strip_suffix(".GGUF").unwrap_or(&upper);
        // The last mention counts: in "Phi-4-Q8-distilled-Q4_K_M" the model's own name comes first.
        let starts = upper.char_indices().rev().map(|(at, _)| at);
        let mut starts = starts.filter(|&at| at == 0 || !upper.as_bytes()[at - 1].is_ascii_alphanumeric());
        starts.find_map(|at| {
            let word = upper[at..].split(['-', '.', ' ']).next().unwrap_or_default();
            is_quantisation(word).then(|| word.to_owned())
        })
    })
}

fn is_quantisation(word: &str) -> bool {
    if matches!(word, "F16" | "F32" | "BF16" | "FP16" | "FP32" | "MXFP4" | "MXFP4_MOE" | "NVFP4") {
        return true;
    }
    let digits = ["IQ", "TQ", "Q"].iter().find_map(|kind| word.strip_prefix(kind));
    let Some((first, rest)) = digits.and_then(|d| d.split_at_checked(1)) else { return false };
    let tails = ["0", "1", "K", "S", "M", "L", "XL", "XS", "XXS", "NL"];
    first.as_bytes()[0].is_ascii_digit()
        && rest.strip_prefix('_').is_some_and(|rest| rest.split('_').all(|part| tails.contains(&part)))
}

/// For `stem-00002-of-00003.gguf` (or `.safetensors`): the stem, the part's number from 1, and how many there are.
pub fn split_part(file: &str) -> Option<(&str, u32, u32)> {
    let (stem, _) = file.rsplit_once('.')?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let five = |digits: &str| {
        let good = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        if good { digits.parse::<u32>().ok() } else { None }
    };
    let (number, count) = (five(number)?, five(count)?);
    (1..=count).contains(&number).then_some((stem, number, count))
}

/// The name of another part of the same split file.
pub fn sibling_part(file: &str, number: u32) -> Option<String> {
    let (stem, _, count) = split_part(file)?;
    let (_, extension) = file.rsplit_once('.')?;
    Some(format!("{stem}-{number:05}-of-{count:05}.{extension}"))
}

/// True for a GGUF that holds a language model: not a vision projector, not an importance matrix.
pub fn is_model_gguf(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let is_gguf = Path::new(&file).extension().is_some_and(|e| e == "gguf");
    is_gguf && !file.contains("mmproj") && !file.contains("imatrix")
}

/// Smaller is preferred. Tweaked variants (`UD-Q4_K_M`) rank as what they are a variant of.
pub fn rank(quantisation: Option<&str>) -> usize {
    let place = quantisation.and_then(|q| PREFERENCE.iter().position(|p| *p == q));
    place.unwrap_or(PREFERENCE.len() + usize::from(quantisation.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantisations_are_read_from_names() {
        let table = [
            ("SmolLM2-135M-Instruct.Q4_1.gguf", Some("Q4_1")),
            ("gemma-3-270m-q4_k_m.gguf", Some("Q4_K_M")),
            ("Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf", Some("Q4_K_M")),
            ("model-UD-Q4_K_XL.gguf", Some("Q4_K_XL")),
            ("model-IQ2_XXS.gguf", Some("IQ2_XXS")),
            ("ggml_model_q8_0.gguf", Some("Q8_0")),
            ("gpt-oss-20b-mxfp4.gguf", Some("MXFP4")),
            ("model-f16.gguf", Some("F16")),
            ("Q8_0/model-00001-of-00002.gguf", Some("Q8_0")),
            ("model-Q6_K-00001-of-00002.gguf", Some("Q6_K")),
            ("Q8_0/model-BF16.gguf", Some("BF16")),
            ("Phi-Q8_0-distilled-Q4_0.gguf", Some("Q4_0")),
            ("Llama-3.2-1B.gguf", None),
            ("IQ.gguf", None),
            ("é.gguf", None),
        ];
        for (name, expected) in table {
            assert_eq!(quantisation(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn split_names() {
        assert_eq!(split_part("m-Q8_0-00002-of-00003.gguf"), Some(("m-Q8_0", 2, 3)));
        assert_eq!(sibling_part("m-00002-of-00003.gguf", 1).as_deref(), Some("m-00001-of-00003.gguf"));
        for other in [
            "m.gguf",
            "m-2-of-3.gguf",
            "m-00000-of-00003.gguf",
            "m-00004-of-00003.gguf",
            "m-00001-of-000x3.gguf",
        ] {
            assert_eq!(split_part(other), None, "{other}");
        }
    }

    #[test]
    fn preference() {
        let mut names = ["F16", "Q8_0", "IQ2_XS", "Q4_0", "Q4_K_M"];
        names.sort_by_key(|q| rank(Some(q)));
        assert_eq!(names, ["Q4_K_M", "Q4_0", "Q8_0", "F16", "IQ2_XS"]);
        assert!(rank(None) > rank(Some("IQ2_XS")));
        assert!(
            is_model_gguf("a/b.gguf") && !is_model_gguf("mmproj-f16.gguf") && !is_model_gguf("b.safetensors")
        );
    }
}
