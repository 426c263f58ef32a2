//! `--name value` pairs, each known and given at most once.

use std::collections::BTreeMap;
use std::str::FromStr;

pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// `known` are the names without dashes.
    pub fn parse(words: impl IntoIterator<Item = String>, known: &[&str]) -> Result<Self, String> {
        let mut pairs = BTreeMap::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| known.contains(name));
            let name = name.ok_or_else(|| format!("unknown argument `{word}`; known: {}", names(known)))?;
            let value = words.next().ok_or_else(|| format!("`--{name}` needs a value"))?;
            if pairs.insert(name.to_owned(), value).is_some() {
                return Err(format!("`--{name}` is given twice"));
            }
        }
        Ok(Self(pairs))
    }

    pub fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let parse = |text: &String| text.parse().map_err(|_| format!("`--{name} {text}` cannot be read"));
        self.0.get(name).map(parse).transpose()
    }

    pub fn or<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        Ok(self.get(name)?.unwrap_or(default))
    }

    pub fn need<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.get(name)?.ok_or_else(|| format!("`--{name}` is needed"))
    }
}

fn names(known: &[&str]) -> String {
    known.iter().map(|name| format!("--{name}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::parse(text.split_whitespace().map(str::to_owned), &["rate", "seed"])
    }

    #[test]
    fn pairs_are_read() {
        let arguments = parse("--rate 1000").expect("valid");
        assert_eq!(arguments.need::<u64>("rate"), Ok(1000));
        assert_eq!(arguments.or("seed", 7), Ok(7));
        assert_eq!(arguments.need::<u64>("seed"), Err("`--seed` is needed".into()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let failure = |text| parse(text).err().unwrap_or_default();
        assert_eq!(failure("--speed 1"), "unknown argument `--speed`; known: --rate --seed");
        assert_eq!(failure("--rate"), "`--rate` needs a value");
        assert_eq!(failure("--rate 1 --rate 2"), "`--rate` is given twice");
        let arguments = parse("--rate fast").expect("a pair");
        assert_eq!(arguments.need::<u64>("rate"), Err("`--rate fast` cannot be read".into()));
    }
}
