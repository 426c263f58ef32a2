//! Splits a command written as one text, as Compose does: quotes and backslashes as in a shell,
//! no substitution, and nothing after an unquoted `;`, `&`, `|`, `<` or `>`.

/// The words, or `None` when a quote, an escape or a parenthesis is left open or stands alone.
pub(crate) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut in_word = false;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if open == c && matches!(open, '\'' | '"') => quote = None,
            // Shell substitutions stay as they are written.
            (Some(open @ ('`' | ')')), c) => {
                word.push(c);
                quote = quote.filter(|_| open != c);
            }
            (Some('\''), c) => word.push(c),
            (_, '\\') => {
                word.push(chars.next()?);
                in_word = true;
            }
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                in_word = true;
            }
            (None, '`') | (None, '(') if c == '`' || word.ends_with('$') => {
                quote = Some(if c == '`' { '`' } else { ')' });
                word.push(c);
                in_word = true;
            }
            (None, '(' | ')') => return None,
            (None, ';' | '&' | '|' | '<' | '>') => {
                // `2>file`: the number is part of the redirection.
                in_word &= !(c == '>' && word.starts_with(|c: char| c.is_ascii_digit()));
                break;
            }
            (None, c) if c.is_whitespace() => {
                if std::mem::take(&mut in_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            (None, c) => {
                word.push(c);
                in_word = true;
            }
        }
    }
    if quote.is_some() {
        return None;
    }
    if in_word {
        words.push(word);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_split_as_compose_splits_them() {
        let check = |text: &str, words: &[&str]| assert_eq!(split(text).as_deref().unwrap(), words, "{text}");
        check("sh -c 'echo $HOME' \"a\\\"b\" c\\ d | x", &["sh", "-c", "echo $HOME", "a\"b", "c d"]);
        check("  a\n  b\t''  ", &["a", "b", ""]);
        check("", &[]);
        check("a#b # c", &["a#b", "#", "c"]);
        check("a `b c` $(d e) f", &["a", "`b c`", "$(d e)", "f"]);
        check("a 2>x", &["a"]);
        check("a;b", &["a"]);
        assert_eq!(split("(a b)"), None);
        assert_eq!(split("a 'b"), None);
        assert_eq!(split("a \\"), None);
    }
}
