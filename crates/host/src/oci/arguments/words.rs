//! The words of a command line: options with and without values, before and after other words.

/// Options in the forms `--name value`, `--name=value` and `-n value`, then words.
pub struct Words {
    rest: std::vec::IntoIter<String>,
    /// The value of an option that was written with `=`.
    attached: Option<String>,
    peeked: Option<String>,
    /// Words that stood before an option.
    passed: Vec<String>,
}

impl Words {
    pub fn new(all: Vec<String>) -> Self {
        Self { rest: all.into_iter(), attached: None, peeked: None, passed: Vec::new() }
    }

    /// The next option before the first word.
    pub fn option(&mut self) -> Result<Option<String>, String> {
        if let Some(value) = self.attached.take() {
            return Err(format!("an option takes no value, so not `{value}`"));
        }
        let Some(word) = self.peeked.take().or_else(|| self.rest.next()) else { return Ok(None) };
        if !word.starts_with('-') || word == "-" {
            self.peeked = Some(word);
            return Ok(None);
        }
        if word == "--" {
            return Ok(None);
        }
        if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
            self.attached = Some(value.to_owned());
            return Ok(Some(name.to_owned()));
        }
        Ok(Some(word))
    }

    /// The next option, which may also stand after words; after the last one the words are there.
    pub fn option_anywhere(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(option) = self.option()? {
                return Ok(Some(option));
            }
            match self.peeked.take() {
                Some(word) => self.passed.push(word),
                None => {
                    let mut words = std::mem::take(&mut self.passed);
                    words.extend(self.rest.by_ref());
                    self.rest = words.into_iter();
                    return Ok(None);
                }
            }
        }
    }

    /// Of an option that takes none, unless it is written `--name=false`.
    pub fn is_set(&mut self) -> bool {
        self.attached.take().as_deref() != Some("false")
    }

    /// All that is left.
    pub fn remaining(&mut self) -> Vec<String> {
        self.peeked.take().into_iter().chain(self.rest.by_ref()).collect()
    }

    pub fn value(&mut self, name: &str) -> Result<String, String> {
        self.attached.take().or_else(|| self.rest.next()).ok_or_else(|| format!("{name} needs a value"))
    }

    pub fn number(&mut self, name: &str) -> Result<i32, String> {
        let text = self.value(name)?;
        text.parse().ok().filter(|n| *n >= 0).ok_or_else(|| format!("{name} takes a number, not `{text}`"))
    }

    pub fn word(&mut self) -> Option<String> {
        self.peeked.take().or_else(|| self.rest.next())
    }

    pub fn id(&mut self) -> Result<String, String> {
        let id = self.word().ok_or("the container's id is missing")?;
        checked_id(id)
    }

    pub fn end(&mut self) -> Result<(), String> {
        self.word().map_or(Ok(()), |word| Err(format!("`{word}` is one word too many")))
    }
}

/// An id becomes a part of paths.
fn checked_id(id: String) -> Result<String, String> {
    let is_valid = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b));
    if is_valid && id != "." && id != ".." { Ok(id) } else { Err(format!("`{id}` is not a container id")) }
}
