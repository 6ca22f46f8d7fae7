//! The 12 recovery words, and the keys that follow from them.
//!
//! Words are shown once and typed back; they are never stored, and neither is the root.

use alloc::{string::String, vec::Vec};

use bip39::{Language, Mnemonic};
use ed25519_dalek::SigningKey;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{context, wrap};
use crate::id::MemberId;

/// How many words there are: 128 bits and a 4-bit checksum.
const WORDS: usize = 12;
/// Longest piece of a mistyped word that is repeated in an error, in characters.
const SHOWN_CHARS: usize = 20;

/// The 12 words of a member, as their 128 bits of entropy.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Words([u8; 16]);

/// Why text is not 12 words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WordsError {
    /// Another number of words.
    #[error("there are {found} words, 12 are needed")]
    Count {
        /// How many there were.
        found: usize,
    },
    /// A word that no recovery phrase contains.
    #[error("word {position}, \"{word}\", is not in the list of recovery words")]
    Unknown {
        /// Which word, counted from 1.
        position: usize,
        /// The word as typed, without control characters, cut to a sane length.
        word: String,
    },
    /// Each word exists, but not together.
    #[error("the words don't fit together: one is wrong, or two are swapped")]
    Checksum,
}

impl Words {
    /// Makes new words from 16 random bytes.
    pub const fn generate(entropy: [u8; 16]) -> Self {
        Self(entropy)
    }

    /// Reads words as a person types them: any spacing, any case.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let text = Zeroizing::new(text.to_lowercase());
        let words: Vec<&str> = text.split_whitespace().collect();
        if let Some((at, word)) = words
            .iter()
            .take(WORDS)
            .enumerate()
            .find(|(_, word)| Language::English.find_word(word).is_none())
        {
            return Err(WordsError::Unknown {
                position: at + 1,
                word: shown(word),
            });
        }
        if words.len() != WORDS {
            let found = words.len();
            return Err(WordsError::Count { found });
        }
        let phrase = Zeroizing::new(words.join(" "));
        // Count and words were checked above: only the checksum is left to be wrong.
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &phrase)
            .map_err(|_| WordsError::Checksum)?;
        let (entropy, bytes) = mnemonic.to_entropy_array();
        let entropy = Zeroizing::new(entropy);
        if bytes != 16 {
            return Err(WordsError::Checksum);
        }
        Ok(Self(core::array::from_fn(|i| entropy[i])))
    }

    /// Returns the words, one space between them.
    pub fn phrase(&self) -> Zeroizing<String> {
        let mnemonic = Mnemonic::from_entropy(&self.0).expect("128 bits make 12 words");
        let mut phrase = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in mnemonic.words() {
            if !phrase.is_empty() {
                phrase.push(' ');
            }
            phrase.push_str(word);
        }
        phrase
    }

    /// Derives the member's root.
    pub fn root(&self) -> Root {
        Root {
            signing: SigningKey::from_bytes(&blake3::derive_key(context::ROOT_SIGN, &self.0)),
            recovery: blake3::derive_key(context::RECOVERY, &self.0),
            rendezvous: blake3::derive_key(context::RENDEZVOUS, &self.0),
        }
    }
}

impl core::fmt::Debug for Words {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Words")
    }
}

/// Returns what of a mistyped word may be printed.
fn shown(word: &str) -> String {
    let printable = word.chars().filter(|c| !c.is_control());
    let mut shown: String = printable.clone().take(SHOWN_CHARS).collect();
    if printable.count() > SHOWN_CHARS {
        shown.push_str("...");
    }
    shown
}

/// What the words give: the member's own keys. Lives only while words are typed or shown.
#[derive(Clone)]
pub struct Root {
    signing: SigningKey,
    recovery: [u8; 32],
    rendezvous: [u8; 32],
}

impl Drop for Root {
    fn drop(&mut self) {
        // The signing key wipes itself.
        self.recovery.zeroize();
        self.rendezvous.zeroize();
    }
}

impl Root {
    /// Returns the key that signs the member's card and devices.
    pub const fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// Returns the member's id: the public half of the signing key.
    pub fn member(&self) -> MemberId {
        MemberId(self.signing.verifying_key().to_bytes())
    }

    /// Returns the X25519 secret that opens the recovery wraps.
    pub const fn recovery_secret(&self) -> &[u8; 32] {
        &self.recovery
    }

    /// Returns the X25519 public key to which the vault's keys are wrapped.
    pub fn recovery_public(&self) -> [u8; 32] {
        wrap::public_of(&self.recovery)
    }

    /// Returns the seed of the rendezvous beacon. Friends know it, outsiders don't.
    pub const fn rendezvous(&self) -> &[u8; 32] {
        &self.rendezvous
    }
}

impl core::fmt::Debug for Root {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Root({:?})", self.member())
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use proptest::prelude::*;

    use super::*;
    use crate::golden::assert_golden;

    const ZEROS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                         abandon abandon about";

    #[test]
    fn words_of_the_published_vectors() {
        // From the BIP 39 test vectors: entropy and phrase.
        assert_eq!(&*Words::generate([0; 16]).phrase(), ZEROS);
        assert_eq!(
            &*Words::generate([0x7f; 16]).phrase(),
            "legal winner thank year wave sausage worth useful legal winner thank yellow"
        );
        assert_eq!(Words::parse(ZEROS), Ok(Words([0; 16])));
    }

    #[test]
    fn spacing_and_case_do_not_matter() {
        let typed = format!("  {}\n", ZEROS.to_uppercase().replace(' ', "\t \r\n"));
        assert_eq!(Words::parse(&typed), Ok(Words([0; 16])));
    }

    #[test]
    fn errors_name_the_word() {
        assert_eq!(Words::parse(""), Err(WordsError::Count { found: 0 }));
        assert_eq!(
            Words::parse("abandon about"),
            Err(WordsError::Count { found: 2 })
        );
        let thirteen = format!("{ZEROS} about");
        assert_eq!(
            Words::parse(&thirteen),
            Err(WordsError::Count { found: 13 })
        );
        let swapped = ZEROS.replacen("abandon about", "about abandon", 1);
        assert_eq!(Words::parse(&swapped), Err(WordsError::Checksum));
        let typo = ZEROS.replacen("abandon", "abandom", 1);
        assert_eq!(
            Words::parse(&typo).unwrap_err().to_string(),
            "word 1, \"abandom\", is not in the list of recovery words"
        );
        let long = ZEROS.replacen("about", &"x\u{7}".repeat(500), 1);
        assert_eq!(
            Words::parse(&long),
            Err(WordsError::Unknown {
                position: 12,
                word: format!("{}...", "x".repeat(20))
            })
        );
    }

    #[test]
    fn keys_of_the_words_never_change() {
        let root = Words::generate([0; 16]).root();
        assert_golden(
            include_str!("../../../../testdata/format/root.txt"),
            &[
                ("phrase", ZEROS.to_string()),
                ("member", root.member().to_string()),
                ("recovery_public", crate::id::hex(&root.recovery_public())),
                ("rendezvous", crate::id::hex(root.rendezvous())),
            ],
        );
    }

    proptest! {
        #[test]
        fn words_round_trip(entropy: [u8; 16]) {
            let words = Words::generate(entropy);
            prop_assert_eq!(Words::parse(&words.phrase()), Ok(words));
        }

        #[test]
        fn any_text_is_refused_politely(text in ".{0,200}") {
            prop_assert!(Words::parse(&text).is_err());
        }
    }
}
