//! Environment files in Compose's dotenv syntax: `export`, quotes, several lines, comments,
//! substitution; and the `raw` form, where a value is taken as it stands.

use crate::interpolate::{Expander, TemplateError};

/// One line of a file that gives a value, or asks for it (`NAME` alone).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    /// `None` when the name stood alone and the environment has no value either.
    pub value: Option<String>,
    /// From 1.
    pub line: u32,
}

/// Something wrong, or worth a warning, at a place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: u32,
    pub column: u32,
    pub message: String,
    pub hint: Option<String>,
    /// Only a variable without a value; the file is still usable.
    pub warning: bool,
}

/// What a file says; variables come in the order of the file, later ones win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    pub variables: Vec<Variable>,
    pub problems: Vec<Problem>,
}

/// How the values of a file are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Dotenv,
    /// `format: raw`: no quotes, no substitution.
    Raw,
}

/// Reads an environment file. `lookup` is the environment around it: it wins over the file's own
/// earlier lines in substitutions, and gives the value of a name that stands alone.
///
/// ```
/// let parsed = compose::env_file::parse("A=1\nB=\"${A}2\" # two\n", Default::default(), &|_| None);
/// assert_eq!(parsed.variables[1].value.as_deref(), Some("12"));
/// ```
pub fn parse(text: &str, format: Format, lookup: &dyn Fn(&str) -> Option<String>) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1, column: 1, lookup, parsed: Parsed::default() };
    reader.run(format);
    reader.parsed
}

struct Reader<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    parsed: Parsed,
}

impl<'a> Reader<'a> {
    fn run(&mut self, format: Format) {
        loop {
            self.skip_while(char::is_whitespace);
            if self.rest.is_empty() {
                return;
            }
            if self.rest.starts_with('#') {
                self.take_line();
                continue;
            }
            match format {
                Format::Dotenv => self.dotenv_entry(),
                Format::Raw => self.raw_entry(),
            }
        }
    }

    fn raw_entry(&mut self) {
        let (line, column) = (self.line, self.column);
        let text = self.take_line();
        let text = text.strip_suffix('\r').unwrap_or(text);
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.trim_end(), (self.lookup)(text.trim_end())),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            let message = format!("`{}` is not a variable name", name.trim());
            return self.problem(line, column, message, Some("write NAME=value".to_owned()));
        }
        self.parsed.variables.push(Variable { name: name.to_owned(), value, line });
    }

    fn dotenv_entry(&mut self) {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            self.advance("export".len());
            self.skip_while(is_blank);
        }
        let (line, column) = (self.line, self.column);
        let end = self.rest.find(['=', ':', '\n', '#']).unwrap_or(self.rest.len());
        let has_value = self.rest[end..].starts_with(['=', ':']);
        let name = self.rest[..end].trim_end().to_owned();
        self.advance(end);
        if name.is_empty() {
            self.take_line();
            return self.warning(
                line,
                column,
                "a line without the name of a variable has no effect".to_owned(),
            );
        }
        if let Some(problem) = name_problem(&name) {
            self.take_line();
            return self.problem(line, column, problem, Some("write NAME=value".to_owned()));
        }
        if !has_value {
            self.take_line();
            let value = (self.lookup)(&name);
            return self.parsed.variables.push(Variable { name, value, line });
        }
        self.advance(1);
        self.skip_while(is_blank);
        if let Some(value) = self.value() {
            self.parsed.variables.push(Variable { name, value: Some(value), line });
        }
    }

    fn value(&mut self) -> Option<String> {
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            _ => {
                let (line, column) = (self.line, self.column);
                let text = self.take_line();
                self.expand(unquoted(text), line, column)
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let (line, column) = (self.line, self.column);
        let Some(end) = closing_quote(&self.rest[1..], quote) else {
            let message = format!("the value is not closed by {quote}");
            self.advance(self.rest.len());
            self.problem(line, column, message, Some("add the closing quote".to_owned()));
            return None;
        };
        let raw = self.rest[1..=end].to_owned();
        self.advance(end + 2);
        self.after_quoted();
        match quote {
            '"' => self.expand(&unescape(&raw), line, column),
            _ => Some(raw.replace("\\'", "'")),
        }
    }

    /// A comment may follow a closing quote; anything else is read as a line of its own.
    fn after_quoted(&mut self) {
        self.skip_while(is_blank);
        let (line, column) = (self.line, self.column);
        let rest = self.rest.lines().next().unwrap_or_default().trim();
        if !rest.is_empty() && !rest.starts_with('#') {
            let message = format!("`{rest}` after the closing quote is not part of the value");
            self.warning(line, column, message);
        }
    }

    /// Substitutes; the environment wins over earlier lines.
    fn expand(&mut self, text: &str, line: u32, column: u32) -> Option<String> {
        if !text.contains('$') {
            return Some(text.to_owned());
        }
        let known = |name: &str| {
            let earlier = || self.parsed.variables.iter().rev().find(|variable| variable.name == name);
            (self.lookup)(name).or_else(|| earlier().and_then(|variable| variable.value.clone()))
        };
        let expander = Expander::new(&known);
        let result = expander.expand(text);
        let unset = expander.take_unset();
        for name in unset {
            let message = format!("the variable {name} is not set, an empty text is used");
            self.warning(line, column, message);
        }
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.template_problem(&error, line, column);
                None
            }
        }
    }

    fn template_problem(&mut self, error: &TemplateError, line: u32, column: u32) {
        self.problem(line, column, error.to_string(), error.hint());
    }

    fn warning(&mut self, line: u32, column: u32, message: String) {
        self.parsed.problems.push(Problem { line, column, message, hint: None, warning: true });
    }

    fn problem(&mut self, line: u32, column: u32, message: String, hint: Option<String>) {
        self.parsed.problems.push(Problem { line, column, message, hint, warning: false });
    }

    fn take_line(&mut self) -> &'a str {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.advance(end);
        line
    }

    fn skip_while(&mut self, skip: fn(char) -> bool) {
        let end = self.rest.find(|c| !skip(c)).unwrap_or(self.rest.len());
        self.advance(end);
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.rest[..bytes];
        let lines = passed.bytes().filter(|b| *b == b'\n').count() as u32;
        self.line += lines;
        match passed.rfind('\n') {
            Some(at) => self.column = passed[at + 1..].chars().count() as u32 + 1,
            None => self.column += passed.chars().count() as u32,
        }
        self.rest = &self.rest[bytes..];
    }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn name_problem(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
    if name.contains(char::is_whitespace) {
        return Some(format!("the variable name `{name}` contains a space"));
    }
    let wrong = name.chars().find(|c| !allowed(*c))?;
    Some(format!("unexpected character `{wrong}` in the variable name `{name}`"))
}

/// An unquoted value ends at a comment that follows a space.
fn unquoted(line: &str) -> &str {
    let comment = line.char_indices().find(|(at, c)| *c == '#' && line[..*at].ends_with([' ', '\t']));
    line[..comment.map_or(line.len(), |(at, _)| at)].trim_end()
}

/// Where the quote closes; a quote after a backslash does not count.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// Escapes of a double-quoted value; an escaped dollar sign stays one.
fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\' | '\'')) => out.push(c),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}
