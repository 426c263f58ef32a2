//! The style sheet and the script, kept in the binary and cached by browsers for their content.

use axum::http::header;
use axum::response::IntoResponse;
use model::Digest;
use std::sync::LazyLock;

pub const STYLE: &str = include_str!("assets/style.css");
pub const SCRIPT: &str = include_str!("assets/live.js");

/// The addresses change with the content, so a browser may keep what it has.
pub static STYLE_ADDRESS: LazyLock<String> = LazyLock::new(|| address("/style.css", STYLE));
pub static SCRIPT_ADDRESS: LazyLock<String> = LazyLock::new(|| address("/live.js", SCRIPT));

fn address(path: &str, content: &str) -> String {
    format!("{path}?{}", Digest::of(content.as_bytes()).short())
}

pub async fn style() -> impl IntoResponse {
    asset("text/css; charset=utf-8", STYLE)
}

pub async fn script() -> impl IntoResponse {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

fn asset(kind: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "private, max-age=31536000, immutable")], content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `--name: #rrggbb` of the block after `start`.
    fn colour(start: &str, name: &str) -> [f64; 3] {
        let block = &STYLE[STYLE.find(start).expect("the block is there")..];
        let after = &block[block.find(&format!("--{name}: #")).expect("the colour is there")..];
        let hex = &after[after.find('#').expect("found above") + 1..][..6];
        [0, 2, 4].map(|i| f64::from(u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal")) / 255.0)
    }

    /// Relative luminance, WCAG 2.2.
    fn luminance(colour: [f64; 3]) -> f64 {
        let [r, g, b] =
            colour.map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    #[test]
    fn every_text_colour_can_be_read_on_every_ground() {
        for scheme in [":root", "prefers-color-scheme: dark"] {
            for ground in ["ground", "panel"] {
                for text in ["text", "quiet", "good", "busy", "warn", "bad"] {
                    let (a, b) = (luminance(colour(scheme, text)), luminance(colour(scheme, ground)));
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(contrast >= 4.5, "{text} on {ground} in {scheme}: {contrast:.2}");
                }
            }
        }
    }

    #[test]
    fn assets_ask_nothing_of_other_hosts() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("://") && !text.contains("@import"), "an address of another host");
        }
    }
}
