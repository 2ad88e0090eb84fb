//! What a model on the hub is, by range requests: its settings and the headers of its files.
//!
//! Nothing is written to disk. Checkpoints of very many files have their sizes from the listing instead.

use serde_json::Value;

use super::client::{Client, Listing};
use super::select::{Choice, choose};
use crate::store::{HubRef, StoreError};
use lazuli_io::gguf::{Gguf, Metadata};
use lazuli_io::{Encoding, MappedFile};

use super::HubSettings;

/// The first piece of a file: most safetensors headers fit into it.
const PIECE: u64 = 128 << 10;
/// Beyond any honest header.
const MAX_HEADER: u64 = 100 << 20;
/// Settings are small.
const MAX_CONFIG: u64 = 16 << 20;
/// Files whose headers are read; of more, the listing's sizes are enough.
const MAX_FILES: usize = 12;

/// A model's description, read from afar.
#[derive(Debug)]
pub struct Headers {
    /// The parsed `config.json`, of a checkpoint.
    pub config: Option<Value>,
    /// The key-value section, of a GGUF file.
    pub metadata: Option<Metadata>,
    /// The tensors that there are.
    pub tensors: Vec<TensorHeader>,
    /// Bytes that were fetched.
    pub bytes_read: u64,
}

/// A tensor by its header. A file whose header was not read counts as one tensor without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorHeader {
    /// Its name in the file.
    pub name: String,
    /// How many elements it has.
    pub elements: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// How its elements are stored, if a GGUF file says.
    pub encoding: Option<Encoding>,
}

/// Reads the headers of what a reference means.
pub(in crate::store) fn headers(settings: HubSettings, what: &HubRef) -> Result<Headers, StoreError> {
    if settings.offline {
        return Err(StoreError::NotFetched { label: what.to_string(), offline: true });
    }
    let client = Client::new(settings);
    let listing = client.list(&what.repo, what.revision.as_deref().unwrap_or("main"))?;
    let names: Vec<String> = listing.files.iter().map(|file| file.path.clone()).collect();
    let choice = choose(what, &names)?;
    let mut reader = Reader { client, listing, repo: &what.repo, read: 0 };
    let mut headers = Headers { config: None, metadata: None, tensors: Vec::new(), bytes_read: 0 };
    match &choice {
        Choice::Checkpoint { files } => {
            let config = reader.bytes("config.json", 0..MAX_CONFIG)?;
            let config = serde_json::from_slice(&config);
            headers.config = Some(config.map_err(|error| bad("config.json", &error.to_string()))?);
            let weights: Vec<_> = files.iter().filter(|file| file.ends_with(".safetensors")).collect();
            for (index, file) in weights.into_iter().enumerate() {
                let tensors = if index < MAX_FILES { reader.safetensors(file)? } else { reader.whole(file) };
                headers.tensors.extend(tensors);
            }
        }
        Choice::Gguf { files, .. } => {
            for file in files {
                let (gguf, tensors) = reader.gguf(file)?;
                headers.metadata.get_or_insert(gguf.metadata);
                headers.tensors.extend(tensors);
            }
        }
    }
    headers.bytes_read = reader.read;
    Ok(headers)
}

fn bad(file: &str, why: &str) -> StoreError {
    StoreError::BadAnswer { what: file.to_owned(), why: why.to_owned() }
}

struct Reader<'a> {
    client: Client,
    listing: Listing,
    repo: &'a str,
    read: u64,
}

impl Reader<'_> {
    fn bytes(&mut self, file: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, StoreError> {
        let found = self.client.range(self.repo, &self.listing.commit, file, range)?;
        self.read += found.len() as u64;
        Ok(found)
    }

    fn size(&self, file: &str) -> Option<u64> {
        self.listing.files.iter().find(|f| f.path == file).and_then(|f| f.size)
    }

    /// A file that is not opened: its bytes, which its header adds next to nothing to.
    fn whole(&self, file: &str) -> Vec<TensorHeader> {
        let bytes = self.size(file).unwrap_or(0);
        vec![TensorHeader { name: String::new(), elements: 0, bytes, encoding: None }]
    }

    fn safetensors(&mut self, file: &str) -> Result<Vec<TensorHeader>, StoreError> {
        let mut start = self.bytes(file, 0..PIECE)?;
        let length = start.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let length = length
            .filter(|length| *length <= MAX_HEADER)
            .ok_or_else(|| bad(file, "no safetensors header"))?;
        let end = 8 + length;
        if (start.len() as u64) < end {
            let from = start.len() as u64;
            start.extend(self.bytes(file, from..end)?);
        }
        let text = start.get(8..end as usize).ok_or_else(|| bad(file, "its header is cut short"))?;
        let entries: serde_json::Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| bad(file, &error.to_string()))?;
        let described = entries.iter().filter(|(name, _)| *name != "__metadata__");
        described
            .map(|(name, entry)| tensor(name, entry).ok_or_else(|| bad(file, &format!("tensor '{name}'"))))
            .collect()
    }

    fn gguf(&mut self, file: &str) -> Result<(Gguf, Vec<TensorHeader>), StoreError> {
        let size = self.size(file).unwrap_or(u64::MAX).min(isize::MAX as u64);
        let mut start = Vec::new();
        let mut wanted = 4 * PIECE;
        loop {
            let from = start.len() as u64;
            start.extend(self.bytes(file, from..wanted.min(size))?);
            let mapped = MappedFile::from_bytes(start, file);
            match Gguf::parse_start(&mapped, size as usize) {
                Ok(gguf) => {
                    let tensors = gguf.tensors.iter().map(|t| TensorHeader {
                        name: t.name.clone(),
                        elements: t.elements() as u64,
                        bytes: t.bytes() as u64,
                        encoding: Some(t.encoding),
                    });
                    let tensors = tensors.collect();
                    return Ok((gguf, tensors));
                }
                // What ends inside the header may go on in the file.
                Err(lazuli_io::Error::Header { .. }) if wanted < size.min(MAX_HEADER) => {
                    start = mapped.to_vec();
                    wanted *= 4;
                }
                Err(error) => return Err(bad(file, &error.to_string())),
            }
        }
    }
}

fn tensor(name: &str, entry: &Value) -> Option<TensorHeader> {
    let numbers =
        |key: &str| entry.get(key)?.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>();
    let offsets = numbers("data_offsets")?;
    let elements = numbers("shape")?.into_iter().fold(1, u64::saturating_mul);
    let bytes = offsets.get(1)?.checked_sub(*offsets.first()?)?;
    Some(TensorHeader { name: name.to_owned(), elements, bytes, encoding: None })
}
