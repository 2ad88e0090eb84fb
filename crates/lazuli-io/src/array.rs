//! Tensors of a checkpoint as arrays: views into the mapped files.
//!
//! Nothing is copied, with one exception: a plain tensor that does not lie at a multiple of its element's size
//! (possible in safetensors files with an odd header) is copied, because kernels read whole elements.

use std::sync::Arc;

use lazuli_core::{Array, Buffer, DType};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result, TensorFault};
use crate::mmap::MappedFile;
use crate::tensor::{Encoding, TensorInfo};

impl Checkpoint {
    /// The tensor called `name` as an array of its shape (row-major) and type.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], or as for [`Checkpoint::array_of`].
    pub fn array(&self, name: &str) -> Result<Array> {
        let tensor = self.tensor(name).ok_or_else(|| self.missing(name))?;
        self.array_of(tensor)
    }

    /// An error that says that there is no tensor of this name.
    pub fn missing(&self, name: &str) -> Error {
        Error::MissingTensor { path: self.path().to_owned(), tensor: name.to_owned() }
    }

    /// One of this checkpoint's tensors as an array.
    ///
    /// # Errors
    /// [`Error::Tensor`] if no array has its type, [`Error::Array`] if its planes do not fit its shape.
    pub fn array_of(&self, tensor: &TensorInfo) -> Result<Array> {
        let first = &tensor.planes[0];
        let fail = |fault| Error::Tensor {
            path: self.files()[first.file].path().to_owned(),
            tensor: tensor.name.clone(),
            offset: first.bytes.start,
            fault,
        };
        let dtype = dtype(tensor.encoding).ok_or_else(|| {
            fail(TensorFault::Unsupported { name: format!("{} (as an array)", tensor.encoding) })
        })?;
        let array = |source| Error::Array { tensor: tensor.name.clone(), source };
        let mut planes = Vec::with_capacity(tensor.planes.len());
        for (number, plane) in tensor.planes.iter().enumerate() {
            let buffer = &self.buffers()[plane.file];
            let start = plane.bytes.start;
            if start % tensor.encoding.alignment(number) == 0 {
                planes.push((buffer.clone(), start));
                continue;
            }
            let mut copy = Buffer::zeroed(plane.bytes.len()).map_err(array)?;
            copy.write(0, &buffer.as_bytes()[plane.bytes.clone()]);
            planes.push((copy, 0));
        }
        Array::from_planes(&planes, tensor.shape.clone(), dtype).map_err(array)
    }
}

/// The array type of an encoding, if there is one.
pub(crate) fn dtype(encoding: Encoding) -> Option<DType> {
    Some(match encoding {
        Encoding::F32 => DType::F32,
        Encoding::F16 => DType::F16,
        Encoding::BF16 => DType::BF16,
        Encoding::I32 => DType::I32,
        Encoding::U32 => DType::U32,
        Encoding::U8 => DType::U8,
        Encoding::Bool => DType::Bool,
        Encoding::Quant(format) => DType::Quant(format),
        _ => return None,
    })
}

/// The whole file as a buffer, without a copy.
pub(crate) fn buffer(file: &MappedFile) -> Buffer {
    Buffer::from_mapped(Arc::new(file.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(header: &str, data: &[u8]) -> Checkpoint {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
        std::fs::write(&path, bytes).unwrap();
        Checkpoint::open_tensors(&path).unwrap()
    }

    #[test]
    fn arrays_are_views_of_the_file_unless_misaligned() {
        let header = r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"l":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}}"#;
        let data: Vec<u8> = [[1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat(), vec![0; 8]].concat();
        for pad in 0..5 {
            let header = format!("{header}{}", " ".repeat(pad));
            let checkpoint = open(&header, &data);
            let a = checkpoint.array("a").unwrap();
            assert_eq!(a.as_slice::<f32>().unwrap(), [1.5, -2.0]);
            assert_eq!(a.shape(), &[1, 2].into());
            let aligned = (8 + header.len()) % 4 == 0;
            let in_place =
                checkpoint.files()[0].as_ptr_range().contains(&a.as_slice::<f32>().unwrap().as_ptr().cast());
            assert_eq!(in_place, aligned, "{pad} bytes of padding");
            let error = checkpoint.array("l").unwrap_err().to_string();
            assert!(error.contains("`l`") && error.contains("I64"), "{error}");
            assert!(checkpoint.array("b").unwrap_err().to_string().contains("no tensor `b`"));
        }
    }
}
