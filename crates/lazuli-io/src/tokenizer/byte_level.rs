//! The printable alphabet of byte-level BPE (GPT-2): each of the 256 bytes has a character of its own.

use std::sync::LazyLock;

/// Byte to character: printable Latin-1 stands for itself, the other 68 bytes follow from U+0100 on.
static CHARACTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut table = ['\0'; 256];
    let mut next = 0x100;
    for byte in 0..=255u8 {
        table[byte as usize] = if matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) {
            char::from(byte)
        } else {
            next += 1;
            char::from_u32(next - 1).unwrap_or_default()
        };
    }
    table
});

/// Characters below this may stand for a byte.
const LIMIT: usize = 0x144;

static BYTES: LazyLock<[Option<u8>; LIMIT]> = LazyLock::new(|| {
    let mut table = [None; LIMIT];
    for byte in 0..=255u8 {
        table[CHARACTERS[byte as usize] as usize] = Some(byte);
    }
    table
});

/// Appends the characters that stand for `bytes`.
pub(super) fn encode(bytes: &[u8], out: &mut String) {
    let table = &*CHARACTERS;
    out.extend(bytes.iter().map(|&byte| table[byte as usize]));
}

/// Appends the bytes that `text` stands for; characters outside the alphabet stand for themselves.
pub(super) fn decode(text: &str, out: &mut Vec<u8>) {
    let table = &*BYTES;
    for character in text.chars() {
        match table.get(character as usize).copied().flatten() {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_character_and_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = String::new();
        encode(&all, &mut text);
        assert_eq!(text.chars().count(), 256);
        let mut back = Vec::new();
        decode(&text, &mut back);
        assert_eq!(back, all);
        let mut words = String::new();
        encode("a b\n\u{a0}".as_bytes(), &mut words);
        assert_eq!(words, "aĠbĊÂł");
        back.clear();
        decode("日Ġ", &mut back);
        assert_eq!(back, "日 ".as_bytes());
    }
}
