//! The hub as a small server on 127.0.0.1 that can refuse, redirect and break off.

use super::*;
use crate::store::landing::hex;
use crate::store::{Format, ModelRef, Places, Removal, Selector, Silent, Store};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server saw: path, range, authorisation.
type Seen = Arc<Mutex<Vec<(String, Option<String>, Option<String>)>>>;

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Close the connection after this many bytes of the body.
    cut: Option<usize>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Answer { status, headers: Vec::new(), body: body.into(), cut: None }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Serves until the process ends; the answer may depend on path, first byte asked for, and the number of the request.
fn serve(answer: impl Fn(&str, u64, usize) -> Answer + Send + 'static) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = handle(&stream.unwrap(), &log, &answer);
        }
    });
    (endpoint, seen)
}

fn handle(
    stream: &TcpStream,
    log: &Seen,
    answer: impl Fn(&str, u64, usize) -> Answer,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap()?;
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let (mut range, mut token) = (None, None);
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => range = Some(value.to_owned()),
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                token = Some(value.to_owned());
            }
            Some(_) => {}
            None => break,
        }
    }
    let from = range.as_ref().map_or(0, |r| r["bytes=".len()..].split('-').next().unwrap().parse().unwrap());
    let number = {
        let mut log = log.lock().unwrap();
        log.push((path.clone(), range, token));
        log.len()
    };
    let Answer { status, headers, body, cut } = answer(&path, from, number);
    let mut out = stream;
    write!(out, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len())?;
    for (name, value) in headers {
        write!(out, "{name}: {value}\r\n")?;
    }
    write!(out, "\r\n")?;
    out.write_all(&body[..cut.unwrap_or(body.len())])
}

/// A repository of these files; the large ones are stored as the hub stores large files.
fn listing(files: &[(&str, &[u8])]) -> String {
    let siblings: Vec<_> = files
        .iter()
        .map(|(name, bytes)| {
            let sum = hex(&Sha256::digest(bytes));
            let mut file =
                serde_json::json!({ "rfilename": name, "size": bytes.len(), "blobId": &sum[..40] });
            if bytes.len() > 1000 {
                file["lfs"] = serde_json::json!({ "sha256": sum, "size": bytes.len(), "pointerSize": 133 });
            }
            file
        })
        .collect();
    serde_json::json!({ "id": "org/m", "sha": COMMIT, "siblings": siblings }).to_string()
}

fn part(bytes: &[u8], from: u64) -> Answer {
    if from == 0 {
        return Answer::new(200, bytes);
    }
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    Answer::new(206, &bytes[from as usize..]).header("content-range", range)
}

/// A server with one repository, `org/m`.
fn repository(files: &[(&str, &[u8])]) -> (String, Seen) {
    let listing = listing(files);
    let files: Vec<(String, Vec<u8>)> =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    serve(move |path, from, _| {
        if path.starts_with("/api/models/org/m/revision/main") {
            return Answer::new(200, listing.clone());
        }
        let prefix = format!("/org/m/resolve/{COMMIT}/");
        let file = path.strip_prefix(&prefix).and_then(|name| files.iter().find(|(n, _)| *n == name));
        let absent = || Answer::new(404, "").header("x-error-code", "EntryNotFound");
        file.map_or_else(absent, |(_, bytes)| part(bytes, from))
    })
}

fn store(dir: &TempDir, endpoint: &str) -> Store {
    let places = Places {
        cache: dir.path().join("lazuli"),
        hub: dir.path().join("hub"),
        token_file: dir.path().join("token"),
        aliases: dir.path().join("aliases.toml"),
    };
    Store::new(places, HubSettings { endpoint: endpoint.to_owned(), token: None, offline: false })
}

fn resolve_in(store: &Store, reference: &str, policy: FetchPolicy) -> Result<PathBuf, StoreError> {
    Ok(store.resolve(&ModelRef::parse(reference)?, policy)?.path)
}

static BIG: [u8; 300_000] = {
    let mut bytes = [0; 300_000];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = (i * i / 7) as u8;
        i += 1;
    }
    bytes
};

#[test]
fn a_gguf_is_fetched_once_into_the_shared_layout() {
    let dir = TempDir::new().unwrap();
    let (endpoint, seen) =
        repository(&[("m-Q8_0.gguf", &BIG), ("sub/m-Q4_K_M.gguf", &BIG), ("README.md", b"hi")]);
    let store = store(&dir, &endpoint);
    let path = resolve_in(&store, "org/m", FetchPolicy::IfMissing).unwrap();
    let repo = dir.path().join("hub/models--org--m");
    assert_eq!(path, repo.join("snapshots").join(COMMIT).join("sub/m-Q4_K_M.gguf"));
    assert_eq!(std::fs::read(&path).unwrap(), BIG);
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    {
        let sum = hex(&Sha256::digest(BIG));
        assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("../../../blobs").join(sum));
    }
    let requests = seen.lock().unwrap().len();
    assert_eq!(requests, 2);
    for reference in ["org/m", "org/m:q4_k_m", "org/m:m-Q4_K_M.gguf", &format!("org/m@{COMMIT}")] {
        assert_eq!(resolve_in(&store, reference, FetchPolicy::Never).unwrap(), path, "{reference}");
    }
    // The same bytes under another name cost a listing and no download.
    resolve_in(&store, "org/m:Q8_0", FetchPolicy::IfMissing).unwrap();
    assert_eq!(seen.lock().unwrap().len(), requests + 1);
}

#[test]
fn a_checkpoint_is_a_folder_with_what_a_model_needs() {
    let dir = TempDir::new().unwrap();
    let files: &[(&str, &[u8])] = &[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{ }"),
        ("model.safetensors", &BIG),
        ("pytorch_model.bin", &BIG),
        ("onnx/model.onnx", &BIG),
    ];
    let (endpoint, _) = repository(files);
    let store = store(&dir, &endpoint);
    let path = resolve_in(&store, "org/m", FetchPolicy::IfMissing).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&path).unwrap().flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].format), ("org/m:safetensors", Format::Safetensors));
    assert_eq!(listed[0].bytes, 300_005);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let dir = TempDir::new().unwrap();
    let (endpoint, seen) = serve(|path, from, number| match path {
        p if p.starts_with("/api/") => Answer::new(200, listing(&[("m.gguf", &BIG)])),
        _ if number < 4 => Answer { cut: Some(100_000), ..part(&BIG, from) },
        _ => part(&BIG, from),
    });
    let path = resolve_in(&store(&dir, &endpoint), "org/m", FetchPolicy::IfMissing).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BIG);
    let ranges: Vec<_> = seen.lock().unwrap().iter().skip(1).map(|(_, range, _)| range.clone()).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned()), Some("bytes=200000-".to_owned())]);
}

#[test]
fn what_another_process_left_is_continued_or_replaced() {
    let sum = hex(&Sha256::digest(BIG));
    let left = |bytes: &[u8]| {
        let dir = TempDir::new().unwrap();
        let (endpoint, seen) = repository(&[("m.gguf", &BIG)]);
        let store = store(&dir, &endpoint);
        let blobs = dir.path().join("hub/models--org--m/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(format!("{sum}.incomplete")), bytes).unwrap();
        let found =
            resolve_in(&store, "org/m", FetchPolicy::IfMissing).map(|path| std::fs::read(path).unwrap());
        let range = seen.lock().unwrap().get(1).and_then(|(_, range, _)| range.clone());
        let rest: Vec<_> = std::fs::read_dir(&blobs).unwrap().flatten().map(|e| e.file_name()).collect();
        (found, range, rest)
    };
    let (found, range, rest) = left(&BIG[..1234]);
    assert!(found.unwrap() == BIG && range.as_deref() == Some("bytes=1234-"));
    assert_eq!(rest, [sum.as_str()]);
    // Too long: it cannot be the beginning of this file.
    assert!(left(&vec![0; 300_001]).0.unwrap() == BIG);
    // The wrong bytes: found out at the end, and thrown away.
    let (found, _, rest) = left(&[0; 1234]);
    assert!(matches!(found, Err(StoreError::Checksum { expected, .. }) if expected == sum));
    assert!(rest.is_empty());
}

#[test]
fn a_server_that_cannot_continue_starts_again() {
    let dir = TempDir::new().unwrap();
    let (endpoint, _) = serve(|path, _, number| match path {
        p if p.starts_with("/api/") => Answer::new(200, listing(&[("m.gguf", &BIG)])),
        _ if number == 2 => Answer { cut: Some(7), ..Answer::new(200, BIG) },
        _ => Answer::new(200, BIG),
    });
    let path = resolve_in(&store(&dir, &endpoint), "org/m", FetchPolicy::IfMissing).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BIG);
}

#[test]
fn a_download_that_never_moves_is_given_up() {
    let dir = TempDir::new().unwrap();
    let (endpoint, seen) = serve(|path, _, _| match path {
        p if p.starts_with("/api/") => Answer::new(200, listing(&[("m.gguf", &BIG)])),
        _ => Answer::new(503, ""),
    });
    let hub = dir.path().join("hub");
    let settings = HubSettings { endpoint, token: None, offline: false };
    let fetch = Fetch {
        client: Client::new(settings),
        cache: RepoCache::new(&hub, "org/m"),
        repo: "org/m",
        progress: &Silent,
        first_wait: Duration::from_millis(1),
    };
    let what = HubRef { repo: "org/m".into(), revision: None, selector: Selector::Any };
    let error = fetch.model(&what).unwrap_err();
    assert!(matches!(&error, StoreError::BrokeOff { done: 0, total: 300_000, .. }), "{error}");
    assert!(error.to_string().contains("status 503"));
    assert_eq!(seen.lock().unwrap().len(), 1 + TRIES as usize);
}

#[test]
fn refusals_say_what_to_do() {
    let table: &[(u16, &str, &str)] = &[
        (404, "RepoNotFound", "has no model 'org/m'"),
        (401, "RepoNotFound", "has no model 'org/m'"),
        (404, "", "has no model 'org/m'"),
        (404, "RevisionNotFound", "no revision 'main'"),
        (401, "", "set HF_TOKEN"),
        (403, "GatedRepo", "accept its terms"),
        (500, "", "answered 500"),
    ];
    for (status, code, hint) in table {
        let dir = TempDir::new().unwrap();
        let (endpoint, _) = serve(move |_, _, _| Answer::new(*status, "no").header("x-error-code", *code));
        let error =
            resolve_in(&store(&dir, &endpoint), "org/m", FetchPolicy::IfMissing).unwrap_err().to_string();
        assert!(error.contains(hint), "{status} {code}: {error}");
        assert!(!dir.path().join("hub").exists(), "{status} {code} left something behind");
    }
}

#[test]
fn a_gated_file_of_a_listed_repository_says_so() {
    let dir = TempDir::new().unwrap();
    let (endpoint, _) = serve(|path, _, _| match path {
        p if p.starts_with("/api/") => Answer::new(200, listing(&[("m.gguf", &BIG)])),
        _ => Answer::new(401, "").header("x-error-code", "GatedRepo"),
    });
    let error = resolve_in(&store(&dir, &endpoint), "org/m", FetchPolicy::IfMissing).unwrap_err();
    assert!(matches!(error, StoreError::Gated { .. }), "{error}");
}

#[test]
fn the_token_goes_to_the_hub_and_not_where_it_redirects() {
    let dir = TempDir::new().unwrap();
    let (elsewhere, seen_elsewhere) = serve(|_, from, _| part(&BIG, from));
    let elsewhere = elsewhere.replace("127.0.0.1", "localhost");
    let (endpoint, seen) = serve(move |path, _, _| match path {
        p if p.starts_with("/api/") => Answer::new(200, listing(&[("m.gguf", &BIG)])),
        "/moved" => Answer::new(302, "").header("location", format!("{elsewhere}/blob")),
        _ => Answer::new(307, "").header("location", "/moved"),
    });
    let places = store(&dir, &endpoint).places().clone();
    let store = Store::new(places, HubSettings { endpoint, token: Some("secret".into()), offline: false });
    resolve_in(&store, "org/m", FetchPolicy::IfMissing).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|(.., token)| token.as_deref() == Some("Bearer secret")));
    assert_eq!(seen_elsewhere.lock().unwrap()[0].2, None);
}

#[test]
fn no_network_is_said_and_not_needed_for_what_is_here() {
    let dir = TempDir::new().unwrap();
    let (endpoint, _) = repository(&[("m-Q4_0.gguf", &BIG)]);
    let there = store(&dir, &endpoint);
    let path = resolve_in(&there, "org/m", FetchPolicy::IfMissing).unwrap();
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let gone = store(&dir, &closed);
    assert_eq!(resolve_in(&gone, "org/m", FetchPolicy::IfMissing).unwrap(), path);
    let error = resolve_in(&gone, "org/m", FetchPolicy::Refresh).unwrap_err().to_string();
    assert!(error.contains("cannot reach http://127.0.0.1") && error.contains("HF_ENDPOINT"), "{error}");
    let error = resolve_in(&gone, "org/other", FetchPolicy::Never).unwrap_err().to_string();
    assert_eq!(error, "'org/other' is not on this machine: fetch it with 'lazuli pull org/other'");
    let offline = HubSettings { endpoint: closed, token: None, offline: true };
    let offline = Store::new(gone.places().clone(), offline);
    let error = resolve_in(&offline, "org/other", FetchPolicy::IfMissing).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE is set"), "{error}");
}

#[test]
fn foreign_names_never_leave_the_cache() {
    let dir = TempDir::new().unwrap();
    let (endpoint, _) = serve(|path, from, _| match path {
        p if p.starts_with("/api/") => {
            let evil = serde_json::json!({ "sha": COMMIT, "siblings": [
                { "rfilename": "../../../../evil.gguf", "size": 3, "blobId": "aa" },
                { "rfilename": "ok.gguf", "size": 3, "blobId": "../../../evil" },
            ]});
            Answer::new(200, evil.to_string())
        }
        _ => part(b"abc", from),
    });
    let error = resolve_in(&store(&dir, &endpoint), "org/m", FetchPolicy::IfMissing).unwrap_err();
    assert!(matches!(error, StoreError::NothingFits { .. }), "{error}");
    let (endpoint, _) = serve(|_, _, _| Answer::new(200, r#"{"sha":"../../x","siblings":[]}"#));
    let error = resolve_in(&store(&dir, &endpoint), "org/m", FetchPolicy::IfMissing).unwrap_err();
    assert!(matches!(error, StoreError::BadAnswer { .. }), "{error}");
}

#[test]
fn the_choice_is_said_aloud_and_progress_counts_bytes() {
    #[derive(Default)]
    struct Ear(Arc<Mutex<Vec<String>>>, RefCell<String>);
    impl Progress for Ear {
        fn begin(&self, file: &str, total: Option<u64>, already: u64) {
            *self.1.borrow_mut() = format!("{file} {total:?} from {already}");
        }
        fn at(&self, bytes: u64) {
            self.1.borrow_mut().push_str(&["; ", &bytes.to_string()].concat());
        }
        fn end(&self) {
            let line = self.1.take();
            let last = line.rsplit(' ').next().unwrap().to_owned();
            self.0.lock().unwrap().push(format!("{} ... {last}", line.split(';').next().unwrap()));
        }
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
    let dir = TempDir::new().unwrap();
    let (endpoint, _) = repository(&[("m-Q8_0.gguf", &BIG), ("m-Q5_K_M.gguf", &BIG)]);
    let heard = Arc::default();
    let store = store(&dir, &endpoint).with_progress(Box::new(Ear(Arc::clone(&heard), RefCell::default())));
    resolve_in(&store, "org/m", FetchPolicy::IfMissing).unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(
        *heard,
        ["there is no Q4_K_M; taking Q5_K_M (others: Q8_0)", "m-Q5_K_M.gguf Some(300000) from 0 ... 300000",]
    );
}

#[test]
fn removing_one_model_keeps_what_others_link_to() {
    let dir = TempDir::new().unwrap();
    let (endpoint, _) =
        repository(&[("a-Q8_0.gguf", &BIG), ("b-Q4_0.gguf", &[5; 2000]), ("c-F16.gguf", &BIG)]);
    let store = store(&dir, &endpoint);
    for reference in ["org/m:Q8_0", "org/m:Q4_0", "org/m:F16"] {
        resolve_in(&store, reference, FetchPolicy::IfMissing).unwrap();
    }
    let names = || store.list().unwrap().into_iter().map(|e| e.name).collect::<Vec<_>>();
    let remove = |text: &str| store.removal(&ModelRef::parse(text).unwrap()).and_then(Removal::execute);
    assert_eq!(remove("org/m:Q4_0").unwrap(), 2000);
    // The bytes of Q8_0 are those of F16 too.
    assert_eq!(remove("org/m:Q8_0").unwrap(), 0);
    assert_eq!(names(), ["org/m:F16"]);
    assert!(remove("org/m:Q8_0").unwrap_err().to_string().contains("not in the cache"));
    let plan = store.removal(&ModelRef::parse("org/m").unwrap()).unwrap();
    assert!(plan.shared && plan.bytes >= 300_000);
    plan.execute().unwrap();
    assert!(!dir.path().join("hub/models--org--m").exists());
    assert!(names().is_empty());
}

#[test]
fn removing_a_revision_spares_the_others() {
    let dir = TempDir::new().unwrap();
    let other = "f".repeat(40);
    let listing_of_other = listing(&[("m.gguf", &[9; 2000])]).replace(COMMIT, &other);
    let (endpoint, seen) = serve(move |path, from, _| match path {
        "/api/models/org/m/revision/main?blobs=true" => Answer::new(200, listing(&[("m.gguf", &BIG)])),
        "/api/models/org/m/revision/old%2Fone?blobs=true" => Answer::new(200, listing_of_other.clone()),
        _ if path.contains(COMMIT) => part(&BIG, from),
        _ => part(&[9; 2000], from),
    });
    let store = store(&dir, &endpoint);
    let old = resolve_in(&store, "org/m@old/one", FetchPolicy::IfMissing).unwrap();
    let main = resolve_in(&store, "org/m", FetchPolicy::Refresh).unwrap();
    assert!(old != main && old.exists(), "{:?}", seen.lock().unwrap());
    let removal = store.removal(&ModelRef::parse("org/m@old/one").unwrap()).unwrap();
    assert_eq!(removal.execute().unwrap(), 2000);
    assert!(!old.exists() && main.exists());
}

#[test]
fn a_model_that_cannot_fit_is_not_begun() {
    let dir = TempDir::new().unwrap();
    let (endpoint, seen) = serve(|_, _, _| {
        let file = serde_json::json!({ "rfilename": "m.gguf", "size": 1_u64 << 60, "blobId": "abc" });
        Answer::new(200, serde_json::json!({ "sha": COMMIT, "siblings": [file] }).to_string())
    });
    let error = resolve_in(&store(&dir, &endpoint), "org/m", FetchPolicy::IfMissing).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { variable: "HF_HOME", .. }), "{error}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn settings_come_from_the_environment_then_the_token_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "from-file\n").unwrap();
    let settings = |variables: &[(&str, &str)]| {
        HubSettings::from_variables(&file, |name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into())
        })
    };
    let plain = settings(&[]);
    assert_eq!((plain.endpoint.as_str(), plain.offline), ("https://huggingface.co", false));
    assert_eq!(plain.token.as_deref(), Some("from-file"));
    let set = settings(&[("HF_TOKEN", " t "), ("HF_ENDPOINT", "http://mirror/"), ("HF_HUB_OFFLINE", "1")]);
    assert_eq!(
        (set.endpoint.as_str(), set.token.as_deref(), set.offline),
        ("http://mirror", Some("t"), true)
    );
    assert!(!settings(&[("HF_HUB_OFFLINE", "0")]).offline);
}

/// A safetensors file of one tensor; its data are not there to be read.
fn safetensors(name: &str, data: u64) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[{data}],"data_offsets":[0,{data}]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data as usize]].concat()
}

#[test]
fn headers_of_a_checkpoint_are_read_without_its_weights() {
    let dir = TempDir::new().unwrap();
    let (first, second) = (safetensors("a.weight", 3_000_000), safetensors("lm_head.weight", 500_000));
    let (endpoint, seen) = repository(&[
        ("config.json", br#"{"model_type":"llama"}"#),
        ("model-00001-of-00002.safetensors", &first),
        ("model-00002-of-00002.safetensors", &second),
    ]);
    let store = store(&dir, &endpoint);
    let ModelRef::Hub(what) = ModelRef::parse("org/m").unwrap() else { panic!("a hub model") };
    let headers = store.headers(&what).unwrap();
    assert_eq!(headers.config.as_ref().unwrap()["model_type"], "llama");
    let tensors: Vec<_> = headers.tensors.iter().map(|t| (t.name.as_str(), t.bytes)).collect();
    assert_eq!(tensors, [("a.weight", 3_000_000), ("lm_head.weight", 500_000)]);
    assert!(headers.bytes_read < 300_000, "{}", headers.bytes_read);
    assert!(seen.lock().unwrap().iter().skip(1).all(|(_, range, _)| range.is_some()));
    assert!(!dir.path().join("hub").exists());
}

#[test]
fn headers_of_a_gguf_are_read_as_far_as_they_go() {
    let dir = TempDir::new().unwrap();
    let text = |s: &str| [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat();
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &1u64.to_le_bytes(), &2u64.to_le_bytes()].concat();
    file.extend(text("general.architecture"));
    file.extend(8u32.to_le_bytes());
    file.extend(text("llama"));
    // Longer than the first piece that is fetched.
    file.extend(text("long"));
    file.extend(8u32.to_le_bytes());
    file.extend(text(&"x".repeat(600_000)));
    file.extend(text("token_embd.weight"));
    file.extend([&1u32.to_le_bytes()[..], &2_000_000u64.to_le_bytes(), &0u32.to_le_bytes()].concat());
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32) + 8_000_000, 0);
    let (endpoint, _) = repository(&[("m-F32.gguf", &file)]);
    let store = store(&dir, &endpoint);
    let ModelRef::Hub(what) = ModelRef::parse("org/m").unwrap() else { panic!("a hub model") };
    let headers = store.headers(&what).unwrap();
    let metadata = headers.metadata.as_ref().unwrap();
    assert_eq!(metadata.str("general.architecture").unwrap(), Some("llama"));
    assert_eq!((headers.tensors[0].elements, headers.tensors[0].bytes), (2_000_000, 8_000_000));
    assert!(headers.bytes_read < 3_000_000, "{}", headers.bytes_read);
}

#[test]
fn a_repository_without_weights_has_no_headers() {
    let dir = TempDir::new().unwrap();
    let (endpoint, _) = repository(&[("config.json", b"{}"), ("README.md", b"hi")]);
    let ModelRef::Hub(what) = ModelRef::parse("org/m").unwrap() else { panic!("a hub model") };
    let error = store(&dir, &endpoint).headers(&what).unwrap_err().to_string();
    assert!(error.contains("org/m") && error.contains("safetensors"), "{error}");
}
