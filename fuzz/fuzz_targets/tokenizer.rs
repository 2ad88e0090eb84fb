//! Tokenizer metadata: any GGUF metadata makes a tokenizer or is refused, and a tokenizer takes any text and
//! any ids.
#![no_main]

use lazuli_io::gguf::Gguf;
use lazuli_io::{MappedFile, Specials, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = MappedFile::from_bytes(data, "fuzz.gguf");
    let Ok(gguf) = Gguf::parse(&file) else { return };
    let Ok(tokenizer) = Tokenizer::from_gguf(&gguf.metadata) else { return };
    let text = String::from_utf8_lossy(&data[data.len() / 2..]);
    for text in ["Hello,  wörld! 123\n\n<|im_end|></s>", &text] {
        for specials in [Specials::Parse, Specials::AsText] {
            let ids = tokenizer.encode(text, specials);
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            let _ = tokenizer.decode(&ids);
        }
    }
    let ids: Vec<u32> = data.iter().map(|&byte| u32::from(byte)).collect();
    let _ = tokenizer.decode(&ids);
    let _ = (tokenizer.bos(), tokenizer.eos(), tokenizer.eog(), tokenizer.add_bos());
});
