//! Names that people give: to themselves, to their devices, to each other.
//!
//! Own names are refused if they could deceive; names that others gave themselves are untrusted text,
//! shown with everything visible.

use alloc::{borrow::ToOwned, string::String};
use core::fmt;

use thiserror::Error;

use crate::limits::NAME_BYTES_MAX;

/// Why a text can't be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing but spaces.
    #[error("a name has at least one letter")]
    Empty,
    /// Too long to be shown everywhere.
    #[error("a name has at most {NAME_BYTES_MAX} bytes, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character that can't be seen, or that makes others appear in another order.
    #[error("a name can't contain the invisible character U+{:04X}", u32::from(*.0))]
    Invisible(char),
}

/// A name that can be shown as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Returns the name, without spaces around it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            let bytes = text.len();
            return Err(NameError::TooLong { bytes });
        }
        match text.chars().find(|c| is_invisible(*c)) {
            Some(invisible) => Err(NameError::Invisible(invisible)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Returns the name by which to show what somebody else wrote: invisible characters are spelt
    /// out, and what is too long ends in dots.
    pub fn shown(text: &str) -> Self {
        let mut name = String::new();
        for c in text.trim().chars() {
            let start = name.len();
            if is_invisible(c) {
                name.extend(c.escape_unicode());
            } else {
                name.push(c);
            }
            if name.len() > NAME_BYTES_MAX - 3 {
                name.truncate(start);
                name.push_str("...");
                break;
            }
        }
        if name.is_empty() {
            name.push_str("(no name)");
        }
        Self(name)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Tells whether a character is a control, changes the direction of others, or takes no room. The
/// joiners U+200C and U+200D belong to ordinary words and emoji.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_names() {
        for name in [
            "Ada",
            "Zo\u{eb} O'Neill",
            "\u{645}\u{6cc}\u{200c}\u{62e}",
            "blue disk",
        ] {
            assert_eq!(Name::parse(name).unwrap().as_str(), name);
            assert_eq!(Name::shown(name).as_str(), name);
        }
        assert_eq!(Name::parse("  Ada\n").unwrap().as_str(), "Ada");
    }

    #[test]
    fn deceptive_names() {
        assert_eq!(Name::parse(" \t"), Err(NameError::Empty));
        assert_eq!(
            Name::parse(&"x".repeat(65)),
            Err(NameError::TooLong { bytes: 65 })
        );
        for bad in ['\u{1b}', '\u{202e}', '\u{200b}', '\n', '\u{2066}'] {
            let name = alloc::format!("a{bad}b");
            assert_eq!(Name::parse(&name), Err(NameError::Invisible(bad)));
        }
        assert_eq!(
            NameError::Invisible('\u{202e}').to_string(),
            "a name can't contain the invisible character U+202E"
        );
        assert_eq!(Name::shown("a\u{202e}b").as_str(), "a\\u{202e}b");
        assert_eq!(Name::shown("\u{1b}[2J").as_str(), "\\u{1b}[2J");
        assert_eq!(Name::shown("").as_str(), "(no name)");
        assert_eq!(Name::shown(&"x".repeat(100)).as_str().len(), NAME_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_a_name(text: String) {
            let shown = Name::shown(&text);
            prop_assert_eq!(Name::parse(shown.as_str()), Ok(shown));
        }
    }
}
