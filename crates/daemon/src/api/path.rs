//! How paths and names travel in JSON: valid UTF-8 as it is, every other byte and every control
//! character as `\xNN`, a backslash as two. No path is lost, whatever its bytes.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// Returns the text for a path's raw bytes.
pub fn to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => {
                    let mut utf8 = [0; 4];
                    c.encode_utf8(&mut utf8)
                        .bytes()
                        .for_each(|byte| escape(byte, &mut text));
                }
                c => text.push(c),
            }
        }
        part.invalid()
            .iter()
            .for_each(|&byte| escape(byte, &mut text));
    }
    text
}

/// Returns the path that a text stands for.
pub fn to_path(text: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(to_bytes(text)))
}

/// Returns the raw bytes that a text stands for. A backslash that starts no escape is itself.
pub fn to_bytes(text: &str) -> Vec<u8> {
    let (source, mut bytes, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < source.len() {
        let rest = &source[at..];
        let escaped = match rest {
            [b'\\', b'\\', ..] => Some((b'\\', 2)),
            [b'\\', b'x', high, low, ..] => digits(*high, *low).map(|byte| (byte, 4)),
            _ => None,
        };
        let (byte, length) = escaped.unwrap_or((rest[0], 1));
        bytes.push(byte);
        at += length;
    }
    bytes
}

fn escape(byte: u8, text: &mut String) {
    text.push_str(&format!("\\x{byte:02x}"));
}

fn digits(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(to_bytes(&to_text(&all)), all);
        let tricky = b"a\\x41\\\\b\n\xff\xfe\\".to_vec();
        assert_eq!(to_bytes(&to_text(&tricky)), tricky);
        assert_eq!(
            to_text("B\u{fc}cher/\u{4e00}".as_bytes()),
            "B\u{fc}cher/\u{4e00}"
        );
        assert_eq!(to_text(b"a\nb\xff"), "a\\x0ab\\xff");
    }

    #[test]
    fn a_lone_backslash_is_itself() {
        assert_eq!(to_bytes("a\\b\\x4"), b"a\\b\\x4");
    }
}
