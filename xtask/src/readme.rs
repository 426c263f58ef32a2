//! The commands of the README, as they stand there.

/// One fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Line of the fence, from 1.
    pub line: usize,
    pub language: String,
    pub text: String,
}

/// All fenced blocks of a Markdown text.
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(markdown.lines()) {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(language), None) => {
                let language = language.trim().to_owned();
                open = Some(Block { line: number, language, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The commands of all `sh` blocks, one per line, without comments. Lines that end in a backslash
/// are joined.
pub fn commands(markdown: &str) -> Vec<(usize, String)> {
    let mut commands = Vec::new();
    for block in blocks(markdown).into_iter().filter(|b| b.language == "sh") {
        let mut open: Option<(usize, String)> = None;
        for (number, line) in (block.line + 1..).zip(block.text.lines()) {
            let (start, mut command) = open.take().unwrap_or((number, String::new()));
            command.push_str(line.trim_end_matches('\\'));
            match line.ends_with('\\') {
                true => open = Some((start, command)),
                false => commands.push((start, command)),
            }
        }
        commands.extend(open);
    }
    commands.retain(|(_, command)| !command.trim().is_empty() && !command.trim_start().starts_with('#'));
    commands
}

/// A command as the words of an argument vector: without a comment at its end, quotes removed.
/// `None` when it needs a shell to be understood.
pub fn words(command: &str) -> Option<Vec<String>> {
    let command = command.split(" #").next().unwrap_or_default();
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in command.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('|' | '&' | ';' | '<' | '>' | '$' | '`' | '*' | '~', None) | ('$' | '`', Some('"')) => {
                return None;
            }
            (' ', None) => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_with_their_lines() {
        let text = "# Title\n```sh\n# a comment\nls -l \\\n  /tmp\n\ncargo test\n```\n```text\nrm x\n```\n";
        assert_eq!(commands(text), [(4, "ls -l   /tmp".to_owned()), (7, "cargo test".to_owned())]);
    }

    #[test]
    fn words_are_as_a_shell_sees_them() {
        let words = |c| words(c).map(|w| w.join("|"));
        assert_eq!(words("a 'b c' \"d\" e'f'  # g"), Some("a|b c|d|ef".into()));
        for shell in ["a | b", "a $B", "a > b", "a 'b", "a \"$b\""] {
            assert_eq!(words(shell), None, "{shell}");
        }
    }
}
