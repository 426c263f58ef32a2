//! Debian version numbers in their order (`deb-version(7)`): epoch, upstream version, revision.

use std::cmp::Ordering;

/// Compares two versions as dpkg does.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    a.epoch
        .cmp(&b.epoch)
        .then_with(|| compare_part(a.upstream, b.upstream))
        .then_with(|| compare_part(a.revision, b.revision))
}

struct Parts<'a> {
    epoch: u64,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch: epoch.parse().unwrap_or(0), upstream, revision }
    }
}

/// Alternates between a part without digits, in which `~` sorts before everything, the end
/// included, and letters before other characters, and a number.
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (text_a, rest_a) = a.split_at(a.find(|c: char| c.is_ascii_digit()).unwrap_or(a.len()));
        let (text_b, rest_b) = b.split_at(b.find(|c: char| c.is_ascii_digit()).unwrap_or(b.len()));
        let order = compare_text(text_a, text_b);
        if order.is_ne() {
            return order;
        }
        let (number_a, tail_a) = number(rest_a);
        let (number_b, tail_b) = number(rest_b);
        let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if order.is_ne() || (tail_a.is_empty() && tail_b.is_empty()) {
            return order;
        }
        (a, b) = (tail_a, tail_b);
    }
}

/// Leading digits without their zeros, and what follows.
fn number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}

fn compare_text(a: &str, b: &str) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let (a, b) = (a.as_bytes(), b.as_bytes());
    (0..a.len().max(b.len()))
        .map(|i| weight(a.get(i)).cmp(&weight(b.get(i))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_order_as_dpkg_orders_them() {
        let ascending = [
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0~rc1",
            "1.0",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb13u1",
            "1.0a",
            "1.0+a",
            "1.0.1",
            "1.1",
            "1.02.3",
            "1.10",
            "2",
            "1:0.1",
            "10:0",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(compare("0:1.0-0", "1.0"), Ordering::Equal);
        assert_eq!(compare("1.00", "1.0"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0-9a-z.+~:-]{0,12}", b in "[0-9a-z.+~:-]{0,12}", c in "[0-9a-z.+~:-]{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
