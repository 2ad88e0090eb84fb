//! GGUF headers, right and wrong: every fault must be named.

use proptest::prelude::*;

use super::*;
use crate::tensor::Encoding;
use lazuli_quant::Format;

/// Writes GGUF headers byte by byte, so that tests can get any field wrong.
#[derive(Default)]
pub(crate) struct Writer {
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

impl Writer {
    pub(crate) fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push([&string(key.as_bytes())[..], &kind.to_le_bytes(), value].concat());
        self
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.key(key, 8, &string(value.as_bytes()))
    }

    pub(crate) fn number(self, key: &str, value: u32) -> Self {
        self.key(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn strings<T: AsRef<[u8]>>(self, key: &str, values: &[T]) -> Self {
        let mut body = [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        for value in values {
            body.extend(string(value.as_ref()));
        }
        self.key(key, 9, &body)
    }

    fn tensor(mut self, name: &str, ne: &[u64], kind: u32, offset: u64) -> Self {
        let mut entry = string(name.as_bytes());
        entry.extend((ne.len() as u32).to_le_bytes());
        for n in ne {
            entry.extend(n.to_le_bytes());
        }
        entry.extend(kind.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    fn data(mut self, bytes: usize) -> Self {
        self.data = (0..bytes).map(|i| i as u8).collect();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = [&MAGIC[..], &3u32.to_le_bytes()].concat();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        out.extend(self.keys.concat());
        out.extend(self.tensors.concat());
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }

    pub(crate) fn file(&self) -> MappedFile {
        MappedFile::from_bytes(self.bytes(), "test.gguf")
    }
}

fn parse(writer: &Writer) -> Result<Gguf> {
    Gguf::parse(&writer.file())
}

fn tensor_fault(writer: &Writer) -> TensorFault {
    match parse(writer).unwrap_err() {
        Error::Tensor { fault, tensor, path, offset } => {
            assert!(tensor.starts_with('t') && path.ends_with("test.gguf") && offset >= 24);
            fault
        }
        other => panic!("{other}"),
    }
}

fn header_fault(bytes: Vec<u8>) -> (usize, HeaderFault) {
    match Gguf::parse(&MappedFile::from_bytes(bytes, "test.gguf")).unwrap_err() {
        Error::Header { fault, offset, .. } => (offset, fault),
        other => panic!("{other}"),
    }
}

fn sample() -> Writer {
    Writer::default()
        .text("general.architecture", "llama")
        .number("llama.block_count", 2)
        .key("f", 6, &1.5f32.to_le_bytes())
        .key("b", 7, &[1])
        .key("i", 11, &(-5i64).to_le_bytes())
        .strings("tokens", &[&b"a"[..], b"", b"\xff\xfe", "é".as_bytes()])
        .key(
            "heads",
            9,
            &[5u32.to_le_bytes(), 2u32.to_le_bytes(), [0; 4], [7, 0, 0, 0], [8, 0, 0, 0]].concat(),
        )
        .key(
            "nested",
            9,
            &[
                &9u32.to_le_bytes()[..],
                &1u64.to_le_bytes(),
                &0u32.to_le_bytes(),
                &2u64.to_le_bytes(),
                &[3, 4],
            ]
            .concat(),
        )
        .tensor("t.q", &[64, 3], 2, 0)
        .tensor("t.f", &[4], 0, 128)
        .data(144)
}

#[test]
fn reads_what_was_written() {
    let file = sample().file();
    let gguf = Gguf::parse(&file).unwrap();
    let m = &gguf.metadata;
    assert_eq!(m.str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(m.u32("llama.block_count").unwrap(), Some(2));
    assert_eq!(m.f32("f").unwrap(), Some(1.5));
    assert_eq!(m.bool("b").unwrap(), Some(true));
    assert_eq!(m.u32s("heads").unwrap(), Some(vec![7, 8]));
    assert_eq!(m.u32s("llama.block_count").unwrap(), Some(vec![2]));
    assert_eq!(m.str("absent").unwrap(), None);
    let tokens = m.strings("tokens").unwrap().unwrap();
    assert_eq!(tokens.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"\xff\xfe", "é".as_bytes()]);
    assert_eq!((tokens.text(2), tokens.text(3), tokens.get(4)), (None, Some("é"), None));
    let Some(Value::Array(Array::Nested(arrays))) = m.get("nested") else { panic!() };
    assert_eq!(arrays[0].len(), 2);
    // Wrong types are refused by name, and a negative number is no count.
    let error = m.u32("i").unwrap_err().to_string();
    assert!(error.contains("`i`") && error.contains("-5"), "{error}");
    assert!(m.str("b").is_err() && m.require("absent", m.u32("absent")).is_err());

    let [q, f] = &gguf.tensors[..] else { panic!() };
    assert_eq!((&q.shape[..], q.encoding), (&[3, 64][..], Encoding::Quant(Format::Q4_0)));
    assert_eq!((&f.shape[..], f.encoding, f.bytes()), (&[4][..], Encoding::F32, 16));
    assert_eq!(file[f.planes[0].bytes.clone()], (128..144).map(|i| i as u8).collect::<Vec<_>>()[..]);
    assert_eq!(q.planes[0].bytes.start % 32, 0);
}

#[test]
fn faults_of_the_header_are_named() {
    let good = sample().bytes();
    let with = |at: usize, bytes: &[u8]| {
        let mut out = good.clone();
        out[at..at + bytes.len()].copy_from_slice(bytes);
        header_fault(out)
    };
    assert!(matches!(with(0, b"GGML"), (0, HeaderFault::Magic { .. })));
    assert_eq!(with(4, &1u32.to_le_bytes()), (4, HeaderFault::Version(1)));
    assert_eq!(with(4, &4u32.to_le_bytes()), (4, HeaderFault::Version(4)));
    assert_eq!(with(4, &3u32.to_be_bytes()), (4, HeaderFault::BigEndian));
    assert!(matches!(with(8, &u64::MAX.to_le_bytes()), (8, HeaderFault::Layout(_))));
    assert!(matches!(with(16, &u64::MAX.to_le_bytes()), (8, HeaderFault::Layout(_))));
    // The first key's length.
    let (at, fault) = with(24, &u64::MAX.to_le_bytes());
    assert_eq!(at, 32);
    assert!(matches!(fault, HeaderFault::Truncated { need: u64::MAX, .. }));
    assert_eq!(with(32, b"\xff"), (24, HeaderFault::Utf8("a metadata key")));
    let huge = [&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    let key = |kind, value: &[u8]| header_fault(Writer::default().key("k", kind, value).bytes()).1;
    assert!(matches!(key(9, &huge), HeaderFault::Truncated { .. }));
    assert!(matches!(
        key(9, &[&4u32.to_le_bytes()[..], &(u64::MAX / 2).to_le_bytes()].concat()),
        HeaderFault::Truncated { .. }
    ));
    assert_eq!(key(13, &[]), HeaderFault::ValueType(13));
    assert_eq!(key(7, &[2]), HeaderFault::Bool(2));
    let deep: Vec<u8> =
        (0..9).flat_map(|_| [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat()).collect();
    assert_eq!(key(9, &deep), HeaderFault::TooDeep(4));
    let twice = Writer::default().number("k", 1).number("k", 1);
    assert_eq!(header_fault(twice.bytes()).1, HeaderFault::DuplicateKey("k".to_owned()));
    let odd = Writer::default().number("general.alignment", 33);
    assert!(matches!(parse(&odd), Err(Error::Metadata { .. })));
}

#[test]
fn faults_of_tensors_are_named() {
    let one = |ne: &[u64], kind, offset| Writer::default().tensor("t", ne, kind, offset).data(256);
    assert!(parse(&one(&[32, 2, 2, 2], 2, 0)).is_ok());
    assert!(matches!(tensor_fault(&one(&[64; 5], 0, 0)), TensorFault::Rank(5)));
    assert!(matches!(tensor_fault(&one(&[33], 2, 0)), TensorFault::RaggedRow { cols: 33, block: 32, .. }));
    assert!(matches!(tensor_fault(&one(&[4, 0], 0, 0)), TensorFault::EmptyAxis(_)));
    assert!(matches!(tensor_fault(&one(&[1 << 40, 1 << 40], 0, 0)), TensorFault::ShapeOverflow(_)));
    assert!(matches!(tensor_fault(&one(&[64], 0, 32)), TensorFault::OutOfFile { .. }));
    assert!(matches!(tensor_fault(&one(&[1], 0, !31)), TensorFault::OutOfFile { .. }));
    assert!(matches!(tensor_fault(&one(&[1], 0, 4)), TensorFault::Misaligned { offset: 4, alignment: 32 }));
    let unsupported = parse(&one(&[64], 41, 0)).unwrap_err().to_string();
    assert!(unsupported.contains("Q1_0") && unsupported.contains("`t`"), "{unsupported}");
    assert!(matches!(tensor_fault(&one(&[64], 4_000_000_000, 0)), TensorFault::Unsupported { .. }));
    let two =
        |name, offset| Writer::default().tensor("t", &[16], 0, 32).tensor(name, &[16], 0, offset).data(256);
    assert!(parse(&two("u", 96)).is_ok());
    assert_eq!(tensor_fault(&two("t2", 64)), TensorFault::Overlap("t".to_owned()));
    assert_eq!(tensor_fault(&two("t2", 0)), TensorFault::Overlap("t2".to_owned()));
    assert_eq!(tensor_fault(&two("t", 96)), TensorFault::DuplicateName);
}

#[test]
fn every_truncation_is_an_error() {
    let good = sample().bytes();
    for len in 0..good.len() {
        let file = MappedFile::from_bytes(good[..len].to_vec(), "test.gguf");
        assert!(Gguf::parse(&file).is_err(), "{len} of {} bytes parse", good.len());
    }
}

#[test]
fn split_models_are_joined_from_any_part() {
    let dir = tempfile::tempdir().unwrap();
    let path = |n: u32| dir.path().join(format!("m-{n:05}-of-00002.gguf"));
    let part = |n: u16, name: &str| {
        Writer::default()
            .key("split.no", 2, &n.to_le_bytes())
            .key("split.count", 2, &2u16.to_le_bytes())
            .key("split.tensors.count", 5, &2i32.to_le_bytes())
            .tensor(name, &[4], 0, 0)
            .data(16)
            .bytes()
    };
    std::fs::write(path(1), part(0, "a")).unwrap();
    assert!(matches!(join(&path(1)), Err(Error::Open { .. })), "the second part is missing");
    std::fs::write(path(2), part(1, "b")).unwrap();
    for n in [1, 2] {
        let joined = join(&path(n)).unwrap();
        let places: Vec<_> = joined.tensors.iter().map(|t| (t.name.as_str(), t.planes[0].file)).collect();
        assert_eq!(places, [("a", 0), ("b", 1)]);
    }
    std::fs::write(path(2), part(1, "a")).unwrap();
    assert!(matches!(join(&path(1)), Err(Error::Split { .. })), "a name in both parts");
    std::fs::write(path(2), part(0, "b")).unwrap();
    assert!(matches!(join(&path(1)), Err(Error::Metadata { .. })), "a part in the wrong place");
    let renamed = dir.path().join("renamed.gguf");
    std::fs::copy(path(1), &renamed).unwrap();
    assert!(matches!(join(&renamed), Err(Error::Split { .. })));
}

proptest! {
    #[test]
    fn damaged_headers_never_panic(flips in prop::collection::vec((0usize..600, any::<u8>()), 1..8), cut in 0usize..800) {
        let mut bytes = sample().bytes();
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(cut.max(1));
        let file = MappedFile::from_bytes(bytes, "test.gguf");
        if let Ok(gguf) = Gguf::parse(&file) {
            for tensor in &gguf.tensors {
                prop_assert!(file.get(tensor.planes[0].bytes.clone()).is_some());
            }
        }
    }
}
