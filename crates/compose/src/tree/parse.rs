//! YAML text → trees, one per document: anchors, aliases, merge keys, duplicate keys, limits.
//!
//! Built over parser events with an explicit stack, so depth is a limit and never a stack overflow.

use super::{Entry, Map, Node, Tag, Value, scalar};
use crate::diagnostics::{Pos, Sink};
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use std::collections::HashMap;

/// Largest file that is read.
pub(crate) const MAX_FILE_BYTES: usize = 8 << 20;
/// Levels of nesting; real files need about ten.
pub(crate) const MAX_DEPTH: usize = 128;
/// Nodes of one file after its aliases are expanded.
pub(crate) const MAX_NODES: usize = 400_000;
/// What anchors and aliases of one file may repeat: a few kilobytes of text must not become
/// gigabytes of values.
pub(crate) const MAX_REPEATED_BYTES: usize = 12 << 20;
/// About what a value takes beside its text.
const NODE_BYTES: usize = 128;

/// The documents of a file. `None` after a problem that leaves nothing to go on with.
pub(crate) fn parse(bytes: &[u8], file: u32, sink: &mut Sink) -> Option<Vec<Node>> {
    if bytes.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, the limit is {MAX_FILE_BYTES}", bytes.len());
        sink.error(Pos::start(file), message);
        return None;
    }
    let wide = from_utf16(bytes);
    let bytes = wide.as_deref().map_or(bytes, str::as_bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            sink.error(position_after(before, file), "the file is not UTF-8 text");
            return None;
        }
    };
    if let Some((at, found)) = text.char_indices().find(|(_, c)| is_control(*c)) {
        let what = match found {
            '\0' => "a NUL byte".to_owned(),
            other => format!("the control character U+{:04X}", u32::from(other)),
        };
        sink.error(position_after(&text.as_bytes()[..at], file), format!("the file contains {what}"));
        return None;
    }
    if let Some((line, directive)) = unknown_directive(text) {
        let pos = Pos { file, line, column: 1, length: directive.chars().count() as u32 };
        sink.error_hint(pos, format!("the directive `{directive}` is not known"), "remove the line");
        return None;
    }
    Builder::new(file, sink).run(text)
}

/// Text in UTF-16, which its first two bytes tell.
fn from_utf16(bytes: &[u8]) -> Option<String> {
    let read: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect();
    String::from_utf16(&units).ok()
}

/// Characters YAML does not allow, in quotes or not.
fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}')
}

/// A directive other than `%YAML 1.1` and `%TAG` before the first document.
fn unknown_directive(text: &str) -> Option<(u32, &str)> {
    let head = text.lines().zip(1..).take_while(|(line, _)| {
        line.trim().is_empty() || line.starts_with('%') || line.trim_start().starts_with('#')
    });
    let mut directives = head.filter(|(line, _)| line.starts_with('%'));
    directives.find_map(|(line, number)| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let known = matches!(words[..], ["%YAML", "1.1", ..] | ["%TAG", ..]);
        (!known).then_some((number, line.trim_end()))
    })
}

fn position_after(before: &[u8], file: u32) -> Pos {
    let line = before.iter().filter(|b| **b == b'\n').count() as u32 + 1;
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() as u32 + 1;
    Pos { file, line, column, length: 0 }
}

/// A list or mapping being filled.
struct Frame {
    anchor: usize,
    node: Node,
    /// The key whose value comes next (mappings only).
    key: Option<(String, Pos)>,
    /// Values of `<<`, applied when the mapping ends.
    merges: Vec<Node>,
    /// What was made before this one, to know its size.
    before: Size,
}

/// How much a value is, with everything in it.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    fn one(text: &str) -> Self {
        Self { nodes: 1, bytes: NODE_BYTES + text.len() }
    }
    fn since(self, before: Self) -> Self {
        Self { nodes: self.nodes - before.nodes, bytes: self.bytes - before.bytes }
    }
}

struct Builder<'a> {
    file: u32,
    sink: &'a mut Sink,
    stack: Vec<Frame>,
    /// Finished anchored nodes and their sizes.
    anchors: HashMap<usize, (Node, Size)>,
    documents: Vec<Node>,
    made: Size,
    repeated_bytes: usize,
}

/// Parsing cannot go on; the reason is in the sink.
struct Stop;

impl<'a> Builder<'a> {
    fn new(file: u32, sink: &'a mut Sink) -> Self {
        Self {
            file,
            sink,
            stack: Vec::new(),
            anchors: HashMap::new(),
            documents: Vec::new(),
            made: Size::default(),
            repeated_bytes: 0,
        }
    }

    fn run(mut self, text: &str) -> Option<Vec<Node>> {
        let errors = self.sink.errors();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            match event {
                Ok((event, span)) => self.event(event, span).ok()?,
                Err(error) => {
                    self.syntax_error(&error);
                    return None;
                }
            }
        }
        (self.sink.errors() == errors).then_some(self.documents)
    }

    fn pos(&self, span: Span) -> Pos {
        let (start, end) = (span.start, span.end);
        let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 0 };
        Pos {
            file: self.file,
            line: start.line() as u32,
            column: start.col() as u32 + 1,
            length: length as u32,
        }
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let mark = error.marker();
        let (line, column) = (mark.line() as u32, mark.col() as u32 + 1);
        let pos = Pos { file: self.file, line, column, length: 0 };
        let message = format!("not valid YAML: {}", error.info());
        match hint_for(&error.info()) {
            Some(hint) => self.sink.error_hint(pos, message, hint),
            None => self.sink.error(pos, message),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let pos = self.pos(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let size = Size::one(&text);
                self.count(size, pos)?;
                let tag = tag.as_deref();
                let value = scalar_value(&text, style, tag).unwrap_or_else(|| {
                    let kind = tag.map_or("", |tag| tag.suffix());
                    self.sink.error(pos, format!("`{text}` is not a value of the type `!!{kind}`"));
                    Value::Invalid
                });
                let node = Node { pos, tag: merge_tag(tag), value };
                let is_merge_key = text == "<<" && is_merge(style, tag);
                self.add(node, anchor, size, is_merge_key)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(anchor, Value::List(Vec::new()), tag.as_deref(), pos)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(anchor, Value::Map(Map::new()), tag.as_deref(), pos)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, pos),
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            // The beginnings and ends of streams and documents.
            _ => Ok(()),
        }
    }

    fn count(&mut self, size: Size, pos: Pos) -> Result<(), Stop> {
        self.made.nodes += size.nodes;
        self.made.bytes += size.bytes;
        if self.made.nodes > MAX_NODES {
            self.sink.error(
                pos,
                format!("the file has more than {MAX_NODES} values once its aliases are expanded"),
            );
            return Err(Stop);
        }
        Ok(())
    }

    /// Before a value is copied, for an anchor or for an alias.
    fn count_again(&mut self, size: Size, pos: Pos) -> Result<(), Stop> {
        self.repeated_bytes += size.bytes;
        if self.repeated_bytes > MAX_REPEATED_BYTES {
            let limit = MAX_REPEATED_BYTES >> 20;
            self.sink.error(pos, format!("anchors and aliases repeat more than {limit} MiB of values"));
            return Err(Stop);
        }
        Ok(())
    }

    fn open(
        &mut self,
        anchor: usize,
        value: Value,
        tag: Option<&granit_parser::Tag>,
        pos: Pos,
    ) -> Result<(), Stop> {
        if self.stack.len() >= MAX_DEPTH {
            self.sink.error(pos, format!("nested deeper than {MAX_DEPTH} levels"));
            return Err(Stop);
        }
        let before = self.made;
        self.count(Size::one(""), pos)?;
        let node = Node { pos, tag: merge_tag(tag), value };
        self.stack.push(Frame { anchor, node, key: None, merges: Vec::new(), before });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let mut frame = self.stack.pop().expect("the parser ends only what it started");
        let merges = std::mem::take(&mut frame.merges);
        for merge in merges {
            self.merge(&mut frame.node, merge)?;
        }
        let size = self.made.since(frame.before);
        self.add(frame.node, frame.anchor, size, false)
    }

    fn alias(&mut self, anchor: usize, pos: Pos) -> Result<(), Stop> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            self.sink.error(pos, "the alias stands inside the value it names");
            return Err(Stop);
        };
        let (size, depth) = (*size, depth(node));
        self.count(size, pos)?;
        self.count_again(size, pos)?;
        let node = self.anchors[&anchor].0.clone();
        if self.stack.len() + depth > MAX_DEPTH {
            self.sink.error(pos, format!("nested deeper than {MAX_DEPTH} levels"));
            return Err(Stop);
        }
        self.add(node, 0, size, false)
    }

    /// Puts a finished node where it belongs: key, value, item or document.
    fn add(&mut self, node: Node, anchor: usize, size: Size, is_merge_key: bool) -> Result<(), Stop> {
        if anchor != 0 {
            self.count_again(size, node.pos)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        let map = match &mut frame.node.value {
            Value::List(list) => {
                list.push(node);
                return Ok(());
            }
            Value::Map(map) => map,
            _ => unreachable!("only lists and mappings are opened"),
        };
        match frame.key.take() {
            None if is_merge_key => {
                if !frame.merges.is_empty() {
                    let hint = "write one `<<` with a list of mappings: `<<: [*a, *b]`";
                    self.sink.error_hint(node.pos, "`<<` is already there in this mapping", hint);
                }
                frame.key = Some(("<<".to_owned(), Pos::default()));
            }
            None => frame.key = Some(key_of(&node, self.sink)),
            Some((_, pos)) if pos == Pos::default() => frame.merges.push(node),
            Some((key, pos)) => insert(map, key, pos, node, self.sink),
        }
        Ok(())
    }

    /// `<<`: keys of `source` that `target` does not have.
    fn merge(&mut self, target: &mut Node, source: Node) -> Result<(), Stop> {
        let pos = source.pos;
        let sources = match source.value {
            Value::Map(_) => vec![source],
            Value::List(list) => list,
            _ => {
                self.sink.error(pos, "`<<` takes a mapping or a list of mappings");
                return Ok(());
            }
        };
        for source in sources {
            let Value::Map(entries) = source.value else {
                self.sink.error(source.pos, "`<<` takes a mapping or a list of mappings");
                continue;
            };
            let target = target.as_map_mut().expect("only mappings have merge keys");
            for (key, entry) in entries {
                target.entry(key).or_insert(entry);
            }
        }
        Ok(())
    }
}

fn key_of(node: &Node, sink: &mut Sink) -> (String, Pos) {
    if let Value::Text(text) = &node.value {
        return (text.clone(), node.pos);
    }
    let text = node.scalar_text().unwrap_or_default();
    let message = format!("a key must be text, this is {}", node.kind());
    match text.is_empty() {
        true => sink.error(node.pos, message),
        false => sink.error_hint(node.pos, message, format!("put it in quotes: \"{text}\"")),
    }
    (text, node.pos)
}

fn insert(map: &mut Map, key: String, pos: Pos, node: Node, sink: &mut Sink) {
    if let Some(first) = map.get(&key) {
        let message = format!("`{key}` is already defined on line {}", first.key.line);
        sink.error_hint(pos, message, "keep one of the two");
        return;
    }
    map.insert(key, Entry { key: pos, node });
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Map(map) => 1 + map.values().map(|entry| depth(&entry.node)).max().unwrap_or(0),
        _ => 0,
    }
}

/// What stands before the names of YAML's own tags.
const YAML: &str = "tag:yaml.org,2002:";

/// The name of a tag of YAML itself, `!!NAME`, whether or not today's core schema has it.
fn own(tag: &granit_parser::Tag) -> Option<&str> {
    match tag.parts() {
        (YAML, name) => Some(name),
        ("", name) => name.strip_prefix(YAML),
        _ => None,
    }
}

/// Whether `<<` merges rather than names a key: written plainly, or under `!!merge`.
fn is_merge(style: ScalarStyle, tag: Option<&granit_parser::Tag>) -> bool {
    match tag {
        None => style == ScalarStyle::Plain,
        Some(tag) => own(tag) == Some("merge"),
    }
}

fn merge_tag(tag: Option<&granit_parser::Tag>) -> Tag {
    match tag {
        Some(tag) if tag.handle() == "!" && tag.suffix() == "reset" => Tag::Reset,
        Some(tag) if tag.handle() == "!" && tag.suffix() == "override" => Tag::Override,
        _ => Tag::None,
    }
}

/// `None` where the text is none of what its tag says.
fn scalar_value(text: &str, style: ScalarStyle, tag: Option<&granit_parser::Tag>) -> Option<Value> {
    let core = tag.and_then(own);
    let number = || scalar::number(text);
    Some(match core {
        Some("str") => Value::Text(text.to_owned()),
        Some("null") => Value::Null,
        Some("int") => number().filter(|value| matches!(value, Value::Int(_)))?,
        Some("float") => match scalar::resolve(text) {
            Value::Int(value) => Value::Float(value as f64),
            value @ Value::Float(_) => value,
            _ => return None,
        },
        Some("bool") => Some(scalar::resolve(text)).filter(|value| matches!(value, Value::Bool(_)))?,
        Some("timestamp") => Value::Time(scalar::timestamp(text)?),
        Some("binary") => Value::Text(scalar::base64(text)?),
        _ if style == ScalarStyle::Plain && tag.is_none_or(|tag| own(tag).is_some()) => scalar::resolve(text),
        _ => Value::Text(text.to_owned()),
    })
}

/// What usually causes a syntax error with these words.
fn hint_for(info: &str) -> Option<&'static str> {
    if info.contains("tab") {
        return Some("indent with spaces, not tabs");
    }
    if info.contains("mapping values are not allowed") {
        return Some("check the indentation, or quote a value that contains `: `");
    }
    if info.contains("simple key") || info.contains("expected ':'") {
        return Some("a key needs `: ` after it; check this line and the one before");
    }
    if info.contains("unknown anchor") {
        return Some("define the anchor with `&name` before the alias uses it");
    }
    None
}
