//! Relations between packages as their fields state them: `a (>= 1) | b, c [amd64]`.

use super::version;

/// One way to fulfil a dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative<'a> {
    pub name: &'a str,
    pub constraint: Option<(Operator, &'a str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Less,
    LessEqual,
    Equal,
    GreaterEqual,
    Greater,
}

impl Alternative<'_> {
    /// Whether a package of this version fulfils the constraint.
    pub fn admits(&self, version: &str) -> bool {
        let Some((operator, wanted)) = self.constraint else { return true };
        let order = version::compare(version, wanted);
        match operator {
            Operator::Less => order.is_lt(),
            Operator::LessEqual => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::GreaterEqual => order.is_ge(),
            Operator::Greater => order.is_gt(),
        }
    }
}

/// The groups of a field, each a list of alternatives. What cannot be read is left out: a field
/// of the archive is signed, so this is a form from the future rather than an attack.
pub fn groups(field: &str) -> impl Iterator<Item = Vec<Alternative<'_>>> {
    field
        .split(',')
        .map(|group| group.split('|').filter_map(alternative).collect())
        .filter(|group: &Vec<Alternative<'_>>| !group.is_empty())
}

fn alternative(text: &str) -> Option<Alternative<'_>> {
    let text = text.trim();
    let end = text.find([' ', '(', '[', '<']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let name = name.split_once(':').map_or(name, |(name, _architecture)| name);
    let constraint =
        rest.trim_start().strip_prefix('(').and_then(|inner| constraint(inner.split(')').next()?));
    (!name.is_empty()).then_some(Alternative { name, constraint })
}

fn constraint(text: &str) -> Option<(Operator, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !matches!(c, '<' | '>' | '=')).unwrap_or(text.len());
    let operator = match &text[..end] {
        "<<" => Operator::Less,
        "<=" | "<" => Operator::LessEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::GreaterEqual,
        ">>" => Operator::Greater,
        _ => return None,
    };
    Some((operator, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read() {
        let found: Vec<_> =
            groups("libc6 (>= 2.38), perl:any, default-mta | mail-transport-agent, x (= 1:2-3)").collect();
        assert_eq!(found.len(), 4);
        assert_eq!(
            found[0][0],
            Alternative { name: "libc6", constraint: Some((Operator::GreaterEqual, "2.38")) }
        );
        assert_eq!(found[1][0], Alternative { name: "perl", constraint: None });
        assert_eq!(found[2].len(), 2);
        assert!(found[3][0].admits("1:2-3") && !found[3][0].admits("1:2-4"));
        assert_eq!(groups(" ").count(), 0);
    }
}
