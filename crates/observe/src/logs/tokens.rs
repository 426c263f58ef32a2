//! The words of a text: runs of letters, digits and `_`, without regard to the case of ASCII.

/// Words of fewer bytes are not worth a place in a filter.
pub const TOKEN_BYTES_MIN: usize = 2;

/// What a byte adds to the hash of a word, in lower case; 0 ends the word.
static CLASS: [u8; 256] = {
    let mut class = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        let it = byte as u8;
        // 0xff, which ends rows, is in no text.
        if it.is_ascii_alphanumeric() || it == b'_' || (it >= 0x80 && it != 0xff) {
            class[byte] = it.to_ascii_lowercase();
        }
        byte += 1;
    }
    class
};

pub fn is_of_word(byte: u8) -> bool {
    CLASS[usize::from(byte)] != 0
}

/// Calls with the hash of each word, never 0.
pub fn each_token(text: &[u8], mut token: impl FnMut(u32)) {
    let mut at = 0;
    while at < text.len() {
        let start = at;
        let mut hash = 0x811c_9dc5u32;
        while let Some(&byte) = text.get(at) {
            let class = CLASS[usize::from(byte)];
            if class == 0 {
                break;
            }
            hash = (hash ^ u32::from(class)).wrapping_mul(0x0100_0193);
            at += 1;
        }
        if at - start >= TOKEN_BYTES_MIN {
            token(hash.max(1));
        }
        at += 1;
    }
}

pub fn tokens_of(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    each_token(text.as_bytes(), |token| found.push(token));
    found
}

/// The distinct words of a block.
#[derive(Debug)]
pub struct TokenSet {
    /// Open addressing; 0 is free. At most half full.
    table: Vec<u32>,
    distinct: Vec<u32>,
}

impl Default for TokenSet {
    fn default() -> Self {
        Self { table: vec![0; 8192], distinct: Vec::new() }
    }
}

impl TokenSet {
    pub fn add_text(&mut self, text: &[u8]) {
        each_token(text, |token| self.add(token));
    }

    fn add(&mut self, token: u32) {
        if self.insert(token) {
            self.distinct.push(token);
            if self.distinct.len() * 2 > self.table.len() {
                self.table = vec![0; self.table.len() * 2];
                for at in 0..self.distinct.len() {
                    self.insert(self.distinct[at]);
                }
            }
        }
    }

    fn insert(&mut self, token: u32) -> bool {
        let mask = self.table.len() - 1;
        let mut at = (token.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
        loop {
            match self.table[at] {
                0 => {
                    self.table[at] = token;
                    return true;
                }
                known if known == token => return false,
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// What was added since the last call.
    pub fn take(&mut self) -> Vec<u32> {
        self.table.fill(0);
        std::mem::take(&mut self.distinct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_without_regard_to_case() {
        let one = tokens_of("GET /api/Users?id=42 x");
        assert_eq!(one, tokens_of("get api USERS id 42"), "single letters do not count");
        assert_eq!(one.len(), 5);
        assert_eq!(tokens_of("Größe"), tokens_of("größe"), "only letters beyond ASCII keep their case");
        assert_ne!(tokens_of("ab cd"), tokens_of("abcd"));
    }

    #[test]
    fn each_word_counts_once() {
        let mut set = TokenSet::default();
        let many: String = (0..20_000).map(|number| format!("w{number} w{} ", number / 2)).collect();
        set.add_text(many.as_bytes());
        assert_eq!(set.take().len(), 20_000);
        set.add_text(b"again again");
        assert_eq!(set.take().len(), 1);
    }
}
