//! Which files of a repository make a model. Pure functions over lists of file names, the same for what the hub offers
//! and for what its cache on this machine holds.

use crate::store::names::{is_model_gguf, quantisation, rank, sibling_part, split_part};
use crate::store::{HubRef, Selector, StoreError};

/// Files of a checkpoint besides its weights; those that exist are taken.
const BESIDES: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
];

/// The files of a model in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Choice {
    /// A GGUF file or all parts of one, in order.
    Gguf {
        /// Paths in the repository.
        files: Vec<String>,
        /// What the user should be told about the choice, if it was not what they could expect.
        remark: Option<String>,
    },
    /// The safetensors checkpoint at the repository's root.
    Checkpoint {
        /// Paths in the repository.
        files: Vec<String>,
    },
}

impl Choice {
    /// All files of the model.
    pub fn files(&self) -> &[String] {
        match self {
            Choice::Gguf { files, .. } | Choice::Checkpoint { files } => files,
        }
    }
}

/// Chooses the files that a reference means among those that there are; parts of split files must be complete.
pub(in crate::store) fn choose(what: &HubRef, files: &[String]) -> Result<Choice, StoreError> {
    let nothing =
        |wanted: String| StoreError::NothingFits { repo: what.repo.clone(), wanted, have: offers(files) };
    let ggufs = models(files);
    match &what.selector {
        Selector::Checkpoint => checkpoint(files).ok_or_else(|| nothing("safetensors checkpoint".to_owned())),
        Selector::File(name) => {
            let tail = format!("/{name}");
            let mut fits =
                files.iter().filter(|file| *file == name).chain(files.iter().filter(|f| f.ends_with(&tail)));
            let file = fits.next().ok_or_else(|| nothing(format!("file '{name}'")))?;
            let parts =
                parts_of(file, files).ok_or_else(|| nothing(format!("complete set of parts of '{name}'")))?;
            Ok(Choice::Gguf { files: parts, remark: None })
        }
        Selector::Quant(quant) => {
            let found = ggufs.iter().filter(|gguf| gguf.is(quant));
            // A plain Q4_K_M is what "Q4_K_M" means, even if there is a tweaked UD-Q4_K_M too.
            let found = found.min_by_key(|gguf| gguf.files[0].len()).ok_or_else(|| nothing(quant.clone()))?;
            Ok(Choice::Gguf { files: found.files.clone(), remark: None })
        }
        Selector::Any => {
            match ggufs.iter().min_by_key(|gguf| (rank(gguf.quant.as_deref()), gguf.files[0].len())) {
                Some(best) => Ok(Choice::Gguf { files: best.files.clone(), remark: remark(best, &ggufs) }),
                None => checkpoint(files)
                    .ok_or_else(|| nothing("GGUF file and no safetensors checkpoint".to_owned())),
            }
        }
    }
}

/// A GGUF model among the files: all its parts and its quantisation.
#[derive(Debug)]
pub(in crate::store) struct Gguf {
    /// Paths, in the order of the parts.
    pub files: Vec<String>,
    /// From the name.
    pub quant: Option<String>,
}

impl Gguf {
    fn is(&self, quant: &str) -> bool {
        let upper = quant.to_ascii_uppercase();
        if self.quant.as_ref() == Some(&upper) {
            return true;
        }
        // "UD-Q4_K_XL" names a variant by the end of its file name.
        let first = &self.files[0];
        let stem = split_part(first).map_or_else(|| first.trim_end_matches(".gguf"), |(stem, ..)| stem);
        let stem = stem.to_ascii_uppercase();
        stem.strip_suffix(upper.as_str()).is_some_and(|rest| rest.ends_with(['-', '.', '_', '/']))
    }
}

/// Every complete GGUF model among the files, in the files' order.
pub(in crate::store) fn models(files: &[String]) -> Vec<Gguf> {
    let firsts = files
        .iter()
        .filter(|file| is_model_gguf(file) && split_part(file).is_none_or(|(_, number, _)| number == 1));
    firsts
        .filter_map(|first| Some(Gguf { files: parts_of(first, files)?, quant: quantisation(first) }))
        .collect()
}

/// The checkpoint at the root, if there is a config and a full set of weights.
pub(in crate::store) fn checkpoint(files: &[String]) -> Option<Choice> {
    let has = |name: &str| files.iter().any(|file| file == name);
    if !has("config.json") {
        return None;
    }
    let is_weights = |file: &&String| file.ends_with(".safetensors") && !file.contains('/');
    let sharded = files.iter().filter(is_weights).filter(|file| split_part(file).is_some());
    let sharded = sharded.min_by_key(|file| !file.starts_with("model-"));
    let weights = if has("model.safetensors") {
        vec!["model.safetensors".to_owned()]
    } else {
        parts_of(sharded?, files)?
    };
    let mut chosen: Vec<String> =
        BESIDES.iter().filter(|name| has(name)).map(|name| (*name).to_owned()).collect();
    chosen.extend(weights);
    Some(Choice::Checkpoint { files: chosen })
}

/// The file itself, or all parts of the split file that it is one of; `None` if a part is missing.
fn parts_of(file: &str, files: &[String]) -> Option<Vec<String>> {
    let Some((_, _, count)) = split_part(file) else { return Some(vec![file.to_owned()]) };
    // No honest repository has more parts than files.
    if count as usize > files.len() {
        return None;
    }
    (1..=count).map(|number| sibling_part(file, number).filter(|part| files.contains(part))).collect()
}

fn remark(best: &Gguf, all: &[Gguf]) -> Option<String> {
    if all.len() == 1 || best.quant.as_deref() == Some("Q4_K_M") {
        return None;
    }
    let chosen = best.quant.as_deref().unwrap_or(&best.files[0]);
    let others = all.iter().filter(|gguf| gguf.files != best.files);
    let others: Vec<&str> =
        others.map(|gguf| gguf.quant.as_deref().unwrap_or(&gguf.files[0])).take(8).collect();
    Some(format!("there is no Q4_K_M; taking {chosen} (others: {})", others.join(", ")))
}

/// What a user could ask for instead.
fn offers(files: &[String]) -> Vec<String> {
    let mut names: Vec<String> = models(files)
        .iter()
        .map(|gguf| gguf.quant.clone().unwrap_or_else(|| gguf.files[0].clone()))
        .collect();
    if checkpoint(files).is_some() {
        names.push("safetensors".to_owned());
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ModelRef;

    const MIXED: &[&str] = &[
        "README.md",
        "config.json",
        "m-Q8_0.gguf",
        "m-q4_k_m.gguf",
        "m-UD-Q4_K_XL.gguf",
        "m-UD-Q4_K_M.gguf",
        "mmproj-F16.gguf",
        "BF16/m-BF16-00001-of-00002.gguf",
        "BF16/m-BF16-00002-of-00002.gguf",
        "m-Q6_K-00001-of-00003.gguf",
        "m-Q6_K-00003-of-00003.gguf",
    ];
    const SHARDED: &[&str] = &[
        "config.json",
        "model-00002-of-00002.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "consolidated.safetensors",
        "onnx/model.onnx",
        "pytorch_model.bin",
        "tokenizer.json",
        "tokenizer_config.json",
    ];

    fn pick(reference: &str, files: &[&str]) -> Result<Choice, String> {
        let Ok(ModelRef::Hub(what)) = ModelRef::parse_beside(reference, |_| false) else {
            panic!("{reference}")
        };
        let files: Vec<String> = files.iter().map(|f| (*f).to_owned()).collect();
        choose(&what, &files).map_err(|e| e.to_string())
    }

    #[test]
    fn gguf_by_quant_by_file_and_by_preference() {
        let table: &[(&str, &[&str])] = &[
            ("o/m", &["m-q4_k_m.gguf"]),
            ("o/m:Q8_0", &["m-Q8_0.gguf"]),
            ("o/m:q4_k_m", &["m-q4_k_m.gguf"]),
            ("o/m:UD-Q4_K_M", &["m-UD-Q4_K_M.gguf"]),
            ("o/m:Q4_K_XL", &["m-UD-Q4_K_XL.gguf"]),
            ("o/m:bf16", &["BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"]),
            (
                "o/m:m-BF16-00002-of-00002.gguf",
                &["BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"],
            ),
            ("o/m:m-Q8_0.gguf", &["m-Q8_0.gguf"]),
        ];
        for (reference, expected) in table {
            let choice = pick(reference, MIXED).expect(reference);
            assert_eq!(choice.files(), *expected, "{reference}");
            assert!(matches!(choice, Choice::Gguf { remark: None, .. }), "{reference}");
        }
    }

    #[test]
    fn a_second_choice_is_said_aloud() {
        let Ok(Choice::Gguf { files, remark: Some(remark) }) = pick("o/m", &["m-F16.gguf", "m-Q4_0.gguf"])
        else {
            panic!("a GGUF with a remark")
        };
        assert_eq!(files, ["m-Q4_0.gguf"]);
        assert_eq!(remark, "there is no Q4_K_M; taking Q4_0 (others: F16)");
    }

    #[test]
    fn checkpoint_takes_what_is_needed_and_no_more() {
        let expected = [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        assert_eq!(pick("o/m", SHARDED).unwrap().files(), expected);
        assert_eq!(pick("o/m:safetensors", SHARDED).unwrap().files(), expected);
        assert!(pick("o/m", &["config.json", "model-00001-of-00002.safetensors"]).is_err());
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let error = pick("o/m:Q2_K", MIXED).unwrap_err();
        assert_eq!(error, "'o/m' has no Q2_K: it has BF16, Q4_K_M, Q4_K_XL, Q8_0");
        let error = pick("o/m:Q6_K", MIXED).unwrap_err();
        assert!(error.contains("has no Q6_K"), "a split file with a missing part is not there: {error}");
        let error = pick("o/m", &["pytorch_model.bin", "config.json"]).unwrap_err();
        assert!(error.contains("nothing that Lazuli can run"), "{error}");
        let error = pick("o/m:x.gguf", SHARDED).unwrap_err();
        assert!(error.contains("file 'x.gguf': it has safetensors"), "{error}");
    }
}
