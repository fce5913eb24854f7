//! Fingerprints of definitions, to notice that one has changed.
//!
//! They are taken over tokens, so layout, comments and the case of unquoted words do not matter,
//! and they are kept in tables for years, so they depend on nothing but the text: each token
//! contributes a tag, its length and its bytes to a SHA-256.

use std::fmt;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use sha2::{Digest as _, Sha256};

/// A stable digest of a definition, in 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The fingerprint of a list of tokens.
    pub(super) fn of_tokens(tokens: &[TokenWithSpan]) -> Self {
        let mut parts = Parts::default();
        for TokenWithSpan { token, .. } in tokens {
            match token {
                Token::Whitespace(_) => {}
                Token::Word(word) if word.quote_style.is_none() => {
                    parts.add(b'w', &word.value.to_lowercase());
                }
                Token::Word(word) => parts.add(b'q', &word.value),
                Token::SingleQuotedString(text) => parts.add(b's', text),
                Token::DoubleQuotedString(text) => parts.add(b's', text),
                other => parts.add(b't', &other.to_string()),
            }
        }
        parts.finish()
    }

    /// The fingerprint of something that is made of named parts.
    pub(super) fn combine<'a>(parts: impl IntoIterator<Item = (&'a str, &'a Fingerprint)>) -> Self {
        let mut all = Parts::default();
        for (name, fingerprint) in parts {
            all.add(b'n', name);
            all.add(b'f', fingerprint.as_str());
        }
        all.finish()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, tag: u8, text: &str) {
        self.0.update([tag]);
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    fn finish(self) -> Fingerprint {
        let digest = self.0.finalize();
        Fingerprint(
            digest
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}
