//! The alphabet of byte-level vocabularies (GPT-2): a printable character for each byte, so that
//! any text can be spelled. `Ġ` is a space, `Ċ` a newline. Used by [`crate::vocab`] and
//! [`crate::bpe`]; everything past loading works on plain bytes.

use crate::unicode;

/// The character of each byte. Printable Latin-1 stands for itself, the others in their order for
/// U+0100 and following.
const CHARS: [u16; 256] = {
    let mut chars = [0; 256];
    let (mut byte, mut next) = (0, 256);
    while byte < 256 {
        let own = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        chars[byte as usize] = if own { byte } else { next };
        next += !own as u16;
        byte += 1;
    }
    chars
};

/// The byte of each character below [`END`]; 256 where there is none.
const BYTES: [u16; END] = {
    let mut bytes = [256; END];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHARS[byte] as usize] = byte as u16;
        byte += 1;
    }
    bytes
};

/// One past the last character.
const END: usize = 0x144;

/// Appends the bytes that `text` spells; false (with `out` as far as it came) if some character
/// is not of the alphabet.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while at < text.len() {
        // Every character of the alphabet takes one byte or two.
        let (code, len) = match text[at] {
            lead @ 0..0x80 => (usize::from(lead), 1),
            lead @ 0xc2..=0xc5 => match text.get(at + 1) {
                Some(tail @ 0x80..0xc0) => (usize::from(lead & 0x1f) << 6 | usize::from(tail & 0x3f), 2),
                _ => return false,
            },
            _ => return false,
        };
        match BYTES.get(code) {
            Some(&byte @ 0..256) => out.push(byte as u8),
            _ => return false,
        }
        at += len;
    }
    true
}

/// The text of a token that is not wholly spelled in the alphabet, as llama.cpp prints it: each
/// foreign character as `[UNK_BYTE_0x…` with its bytes in hex, the whole spelling, and `]`.
pub(crate) fn decode_marked(text: &[u8]) -> Vec<u8> {
    let clean = unicode::well_formed(text);
    let (mut out, mut at) = (Vec::new(), 0);
    while at < clean.len() {
        let end = (at + unicode::decode(&clean, at).1).min(clean.len());
        let char = &clean[at..end];
        if !decode(char, &mut out) {
            out.extend(b"[UNK_BYTE_0x");
            out.extend(char.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
            out.extend(text);
            out.push(b']');
        }
        at = end;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        for byte in 0..=255u8 {
            let mut text = Vec::new();
            unicode::encode(u32::from(CHARS[usize::from(byte)]), &mut text);
            let mut back = Vec::new();
            assert!(decode(&text, &mut back));
            assert_eq!(back, [byte]);
        }
    }

    #[test]
    fn spellings_of_known_tokens() {
        let decoded = |text: &str| {
            let mut out = Vec::new();
            decode(text.as_bytes(), &mut out).then_some(out)
        };
        assert_eq!(decoded("Ġhello").as_deref(), Some(&b" hello"[..]));
        assert_eq!(decoded("ĊĊ").as_deref(), Some(&b"\n\n"[..]));
        assert_eq!(decoded("ÃŃ").as_deref(), Some("í".as_bytes()));
        assert_eq!(decoded("a b"), None);
        assert_eq!(decoded("<｜end｜>"), None);
        assert_eq!(decode_marked("a｜".as_bytes()), "a[UNK_BYTE_0xefbd9ca｜]".as_bytes());
    }
}
