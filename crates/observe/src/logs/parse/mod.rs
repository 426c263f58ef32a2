//! What a row of text says: its fields and its level, read from JSON, logfmt, access logs or plain text.
//!
//! Pure. Nothing is an error: what has no known form has no fields.

mod access;
mod join;
mod json;
mod level;
mod logfmt;

pub use join::{JOINED_BYTES_MAX, JOINED_LINES_MAX, Joined, Joiner};
pub use level::level;

/// Fields of one row that are read.
pub const FIELDS_MAX: usize = 256;

/// The form of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Json,
    Logfmt,
    /// Common or combined.
    Access,
    Text,
}

/// Calls with the name and the value of each field, and says which form the row has.
pub fn each_field(text: &str, field: &mut dyn FnMut(&str, &str)) -> Form {
    let text = text.trim_start();
    let mut count = 0;
    let mut bounded = |name: &str, value: &str| {
        count += 1;
        if count <= FIELDS_MAX {
            field(name, value);
        }
    };
    if text.starts_with('{') {
        if json::is_object(text) {
            json::each_field(text, &mut bounded);
            return Form::Json;
        }
        return Form::Text;
    }
    if let Some(access) = access::parse(text) {
        access.each_field(&mut bounded);
        return Form::Access;
    }
    if logfmt::is_logfmt(text) {
        logfmt::each_field(text, &mut bounded);
        return Form::Logfmt;
    }
    Form::Text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(text: &str) -> (Form, Vec<(String, String)>) {
        let mut found = Vec::new();
        let form = each_field(text, &mut |name, value| found.push((name.to_owned(), value.to_owned())));
        (form, found)
    }

    #[test]
    fn forms_are_told_apart() {
        assert_eq!(fields(r#"{"a":1}"#).0, Form::Json);
        assert_eq!(fields("{not json}").0, Form::Text);
        assert_eq!(fields("level=info msg=x").0, Form::Logfmt);
        assert_eq!(fields("just some words a=b").0, Form::Text);
        assert_eq!(fields(r#"::1 - - [23/Nov/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 3"#).0, Form::Access);
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let many: Vec<String> = (0..FIELDS_MAX + 10).map(|number| format!("k{number}=v")).collect();
        assert_eq!(fields(&many.join(" ")).1.len(), FIELDS_MAX);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[ -~ü\n\t{}":,=\[\]\\]{0,120}"#) {
            fields(&text);
            level(&text);
        }

        /// What a serializer writes is read back.
        #[test]
        fn json_is_read_as_it_was_written(name in "[a-z]{1,8}", value in any::<String>(), number in any::<i64>()) {
            let text = serde_json::json!({ "n": { "number": number }, "s": { name.clone(): value.clone() } }).to_string();
            let (form, found) = fields(&text);
            prop_assert_eq!(form, Form::Json);
            let path = format!("s.{name}");
            prop_assert!(found.contains(&(path, value)));
            prop_assert!(found.contains(&("n.number".to_owned(), number.to_string())));
        }
    }
}
