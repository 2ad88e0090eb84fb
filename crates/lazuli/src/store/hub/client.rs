//! Speaks HTTP with the hub: what a repository holds, and the bytes of a file from an offset on.
//!
//! The `hf-hub` crate was weighed and not taken: its current version needs an asynchronous runtime and a TLS library
//! that is built with CMake, the one before brings a C-built TLS library on every system, knows no offline mode, checks
//! no sums and takes a stream that ends early for a whole file. Two requests are all that is needed.

use super::cache::is_commit;
use crate::store::StoreError;
use crate::store::reference::is_inner_path;
use serde::Deserialize;
use std::fmt::Write as _;
use std::io::Read;
use std::time::Duration;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body, config::RedirectAuthHeaders};

/// The hub as the environment describes it.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// Address without a final slash: `HF_ENDPOINT`, else the public hub.
    pub endpoint: String,
    /// `HF_TOKEN`, else what a login left in the token file.
    pub token: Option<String>,
    /// True under `HF_HUB_OFFLINE`.
    pub offline: bool,
}

/// A connection to the hub.
pub(in crate::store) struct Client {
    agent: Agent,
    settings: HubSettings,
}

/// What a repository holds at one commit.
#[derive(Debug)]
pub(in crate::store) struct Listing {
    /// In hex.
    pub commit: String,
    /// All files.
    pub files: Vec<RemoteFile>,
}

/// A file as the hub describes it.
#[derive(Debug, Clone)]
pub(in crate::store) struct RemoteFile {
    /// Path in the repository; never leaves it.
    pub path: String,
    /// Bytes, if the hub says.
    pub size: Option<u64>,
    /// Names the content, and so the blob in the cache: the SHA-256 of large files, Git's hash of small ones.
    pub etag: String,
    /// Known for large files.
    pub sha256: Option<String>,
}

/// A running download.
pub(in crate::store) struct Stream {
    /// The offset of the first byte: what was asked for, or 0 if the server cannot start in the middle.
    pub start: u64,
    /// Bytes of the whole file, if the server says.
    pub total: Option<u64>,
    /// The bytes.
    pub body: Box<dyn Read>,
}

/// Why a download did not start.
pub(in crate::store) enum OpenError {
    /// Trying again may help.
    Transient(String),
    /// It will not.
    Final(StoreError),
}

#[derive(Deserialize)]
struct WireListing {
    sha: String,
    siblings: Vec<WireFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireFile {
    rfilename: String,
    blob_id: Option<String>,
    size: Option<u64>,
    lfs: Option<WireLfs>,
}

#[derive(Deserialize)]
struct WireLfs {
    sha256: String,
    size: u64,
}

impl Client {
    /// No request is made yet.
    pub fn new(settings: HubSettings) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("lazuli/", env!("CARGO_PKG_VERSION")))
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(30)))
            .tls_config(tls())
            .build();
        Client { agent: config.into(), settings }
    }

    /// The files of a repository at a revision.
    pub fn list(&self, repo: &str, revision: &str) -> Result<Listing, StoreError> {
        // Of a branch's name even the slashes are escaped, or they would end it.
        let escaped = escape(revision).replace('/', "%2F");
        let url = format!("{}/api/models/{repo}/revision/{escaped}?blobs=true", self.settings.endpoint);
        let mut response = self.get(&url, None).map_err(|error| self.unreachable(&error))?;
        if let Some(error) = self.refusal(&response, repo, revision, repo) {
            return Err(error);
        }
        let bad = |why: String| StoreError::BadAnswer { what: repo.to_owned(), why };
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string();
        let text = text.map_err(|error| self.unreachable(&error))?;
        let wire: WireListing = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if !is_commit(&wire.sha) {
            return Err(bad(format!("'{}' is no commit", wire.sha)));
        }
        let files = wire.siblings.into_iter().filter_map(|file| file.checked(&wire.sha)).collect();
        Ok(Listing { commit: wire.sha, files })
    }

    /// The bytes of a file from an offset on.
    pub fn open(&self, repo: &str, commit: &str, file: &str, from: u64) -> Result<Stream, OpenError> {
        let url = format!("{}/{repo}/resolve/{commit}/{}", self.settings.endpoint, escape(file));
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let response = self.get(&url, range.as_deref()).map_err(|e| OpenError::Transient(e.to_string()))?;
        let status = response.status().as_u16();
        if status == 416 {
            // What is here is longer than the file: it belongs to something else.
            return self.open_again(repo, commit, file, from);
        }
        if status == 429 || status >= 500 {
            return Err(OpenError::Transient(format!("status {status}")));
        }
        if let Some(error) = self.refusal(&response, repo, commit, file) {
            return Err(OpenError::Final(error));
        }
        let (start, total) = match status {
            206 => content_range(response.headers()).ok_or_else(|| {
                OpenError::Final(StoreError::BadAnswer {
                    what: file.to_owned(),
                    why: "no content-range".to_owned(),
                })
            })?,
            _ => (0, response.body().content_length()),
        };
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Stream { start, total, body: Box::new(body) })
    }

    /// Some bytes of a file; fewer if it ends before.
    pub fn range(
        &self,
        repo: &str,
        commit: &str,
        file: &str,
        bytes: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, StoreError> {
        let url = format!("{}/{repo}/resolve/{commit}/{}", self.settings.endpoint, escape(file));
        let range = format!("bytes={}-{}", bytes.start, bytes.end.saturating_sub(1));
        let response = self.get(&url, Some(&range)).map_err(|error| self.unreachable(&error))?;
        if let Some(error) = self.refusal(&response, repo, commit, file) {
            return Err(error);
        }
        // A server that knows no ranges sends everything from the start: what comes before is skipped.
        let skip = if response.status().as_u16() == 206 { 0 } else { bytes.start };
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let failed =
            |why: std::io::Error| StoreError::BadAnswer { what: file.to_owned(), why: why.to_string() };
        std::io::copy(&mut body.by_ref().take(skip), &mut std::io::sink()).map_err(failed)?;
        let mut found = Vec::new();
        body.take(bytes.end.saturating_sub(bytes.start)).read_to_end(&mut found).map_err(failed)?;
        Ok(found)
    }

    fn open_again(&self, repo: &str, commit: &str, file: &str, from: u64) -> Result<Stream, OpenError> {
        if from == 0 {
            let error = StoreError::Status { status: 416, what: file.to_owned() };
            return Err(OpenError::Final(error));
        }
        self.open(repo, commit, file, 0)
    }

    /// The error for a host that cannot be talked to.
    pub fn unreachable(&self, error: &ureq::Error) -> StoreError {
        StoreError::Unreachable { endpoint: self.settings.endpoint.clone(), why: error.to_string() }
    }

    fn get(&self, url: &str, range: Option<&str>) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.settings.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(range) = range {
            request = request.header("range", range);
        }
        request.call()
    }

    /// The error that an answer stands for, if it is none to be used. The hub names its reasons in a header.
    fn refusal(
        &self,
        response: &Response<Body>,
        repo: &str,
        revision: &str,
        what: &str,
    ) -> Option<StoreError> {
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return None;
        }
        let code = response.headers().get("x-error-code").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let (repo, endpoint) = (repo.to_owned(), self.settings.endpoint.clone());
        Some(match (code, status) {
            ("GatedRepo", _) => StoreError::Gated { repo, endpoint },
            ("RepoNotFound", _) => StoreError::NoSuchRepo { repo, endpoint },
            ("RevisionNotFound", _) => StoreError::NoSuchRevision { repo, revision: revision.to_owned() },
            (_, 401 | 403) => StoreError::Unauthorised { repo, token: self.settings.token.is_some() },
            (_, 404) if what == repo => StoreError::NoSuchRepo { repo, endpoint },
            _ => StoreError::Status { status, what: what.to_owned() },
        })
    }
}

impl WireFile {
    /// The file if its name and etag can be parts of paths; others are as good as not there.
    fn checked(self, commit: &str) -> Option<RemoteFile> {
        let is_name = |text: &str| {
            !text.is_empty()
                && text.len() <= 128
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_sha256 = |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let sha256 = self.lfs.as_ref().map(|lfs| lfs.sha256.to_ascii_lowercase()).filter(is_sha256);
        // Without either hash the content is named by commit and place, which no other content shares.
        let place =
            || format!("{commit}-{}", self.rfilename.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let etag = sha256.clone().or(self.blob_id.clone()).unwrap_or_else(place);
        let size = self.lfs.map(|lfs| lfs.size).or(self.size);
        let good = is_inner_path(&self.rfilename) && is_name(&etag);
        good.then_some(RemoteFile { path: self.rfilename, size, etag, sha256 })
    }
}

/// The first byte and the whole length in `bytes 100-199/200`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get("content-range")?.to_str().ok()?;
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = span.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// Percent-encodes what may not stand in the path of an address; `/` stays.
fn escape(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(byte as char);
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// The system's certificates (`SSL_CERT_FILE` counts), or Mozilla's where the system has none.
#[cfg(not(target_vendor = "apple"))]
fn tls() -> ureq::tls::TlsConfig {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    let system = rustls_native_certs::load_native_certs().certs;
    let system = system.iter().map(|cert| Certificate::from_der(cert).to_owned());
    let roots = if system.len() == 0 { RootCerts::WebPki } else { system.into() };
    TlsConfig::builder().root_certs(roots).build()
}

/// The system's own TLS and certificates.
#[cfg(target_vendor = "apple")]
fn tls() -> ureq::tls::TlsConfig {
    use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
    TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build()
}
