//! Images in words: lists, differences, and what came of a build, a check or a collection.

use super::build::{Built, Checked, seconds};
use super::image::{Collected, Entry};
use super::screen::{Hue, Paint, Screen, safe};
use super::table::{Cell, Column, Table};
use build::compare::{Comparison, words};
use console::text::cut;
use model::{Bytes, Timestamp};
use std::fmt::Write;

/// Differences of one kind that are shown; `--json` has all.
const SHOWN_MAX: usize = 50;
/// Characters of a value.
const VALUE_MAX: usize = 80;
/// Releases that are named; the rest is counted.
const NEEDS_MAX: usize = 3;

pub fn built_text(built: &[Built], screen: &Screen) -> String {
    let mut table = Table::new(vec![
        Column::kept("SERVICE"),
        Column::kept("DIGEST"),
        Column::kept("SIZE").right(),
        Column::rank("TIME", 1).right(),
        Column::rank("NAME", 2),
    ]);
    for one in built {
        table.row(vec![
            Cell::from(one.service.to_string()),
            Cell::from(one.digest.short()),
            Cell::from(Bytes(one.size_bytes).to_string()),
            Cell::from(seconds(one.took_ms)),
            Cell::from(one.name.as_str()).hue(Hue::Quiet),
        ]);
    }
    table.render(screen.width, screen.out)
}

pub fn check_text(checked: &[Checked], screen: &Screen) -> String {
    let mut text = String::new();
    for one in checked {
        let place = if one.moved { "two places" } else { "one place, because it reads files beside it" };
        let [a, b] = &one.digests;
        let _ = match one.same {
            true => writeln!(
                text,
                "{} {}  {}, twice the same from {place}",
                screen.out.on(Hue::Good, "●"),
                one.service,
                a.short()
            ),
            false => writeln!(
                text,
                "{} {}  {} and {} from {place}",
                screen.out.on(Hue::Bad, "✗"),
                one.service,
                a.short(),
                b.short()
            ),
        };
        if !one.same {
            text += &comparison_text(&one.differences, screen.out);
        }
    }
    text
}

pub fn list_text(entries: &[Entry], together: u64, screen: &Screen) -> String {
    let mut table = Table::new(vec![
        Column::kept("DIGEST"),
        Column::kept("SIZE").right(),
        Column::rank("STORED", 3),
        Column::kept("NAME"),
        Column::rank("NEEDED BY", 2),
    ]);
    for entry in entries {
        let image = &entry.image;
        let name = image.names.first().unwrap_or(&image.origin);
        table.row(vec![
            Cell::from(image.digest.short()),
            Cell::from(Bytes(image.size_bytes).to_string()),
            Cell::from(screen.clock.short(Timestamp(image.stored_ms))).hue(Hue::Quiet),
            Cell::from(name.as_str()),
            Cell::from(needs(&entry.needed_by)).hue(Hue::Quiet),
        ]);
    }
    let mut text = table.render(screen.width, screen.out);
    let _ = writeln!(text, "{} images, {} together", entries.len(), Bytes(together));
    text
}

fn needs(needed_by: &[String]) -> String {
    let named = needed_by.iter().rev().take(NEEDS_MAX).cloned().collect::<Vec<_>>().join(", ");
    match needed_by.len().saturating_sub(NEEDS_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

pub fn inspect_text(entry: &Entry, screen: &Screen) -> String {
    let image = &entry.image;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let name = screen.out.on(Hue::Quiet, &format!("{name:<12}"));
            let _ = writeln!(text, "{name}{}", safe(value));
        }
    };
    line("digest", image.digest.as_str());
    line("names", &image.names.join(", "));
    line("origin", &image.origin);
    line("platform", &image.platform);
    line("size", &Bytes(image.size_bytes).to_string());
    line("inputs of", image.created.as_deref().unwrap_or_default());
    line("needed by", &entry.needed_by.join(", "));
    for (number, layer) in image.layers.iter().enumerate() {
        let size = Bytes(layer.size_bytes);
        let made = cut(&layer.created_by, VALUE_MAX).to_string();
        line(&format!("layer {}", number + 1), &format!("{} {size}  {made}", layer.diff_id.short()));
    }
    let config = &image.config;
    line("entrypoint", &config.entrypoint.join(" "));
    line("command", &config.command.join(" "));
    line("user", &config.user);
    line("directory", &config.working_dir);
    let ports: Vec<String> = config.ports.iter().map(|(port, kind)| format!("{port}/{kind}")).collect();
    line("ports", &ports.join(", "));
    line("volumes", &config.volumes.join(", "));
    line("stop signal", config.stop_signal.as_deref().unwrap_or_default());
    config.environment.iter().for_each(|(name, value)| line("variable", &format!("{name}={value}")));
    config.labels.iter().for_each(|(name, value)| line("label", &format!("{name}={value}")));
    image.annotations.iter().for_each(|(name, value)| line("annotation", &format!("{name}={value}")));
    image.referrers.iter().for_each(|(kind, digest)| line("document", &format!("{} {kind}", digest.short())));
    text
}

pub fn difference_text(found: &Comparison, screen: &Screen) -> String {
    match found.is_empty() {
        true => "The two are the same.\n".to_owned(),
        false => comparison_text(found, screen.out),
    }
}

fn comparison_text(found: &Comparison, paint: Paint) -> String {
    let mut text = String::new();
    let packages = found.packages.iter().map(|p| {
        let kind = format!("{:?}", p.ecosystem).to_lowercase();
        let (before, after) = (p.before.join(", "), p.after.join(", "));
        (
            sign(p.before.is_empty(), p.after.is_empty()),
            format!("{} ({kind}) {}", p.name, arrow(&before, &after)),
        )
    });
    section(&mut text, "Packages", packages.collect(), paint);
    let configuration = found.configuration.iter().map(|c| {
        let value = |v: &Option<serde_json::Value>| {
            v.as_ref().map(|v| cut(&v.to_string(), VALUE_MAX).to_string()).unwrap_or_default()
        };
        let text = format!("{} {}", c.key, arrow(&value(&c.before), &value(&c.after)));
        (sign(c.before.is_none(), c.after.is_none()), text)
    });
    section(&mut text, "Configuration", configuration.collect(), paint);
    let files = found.files.iter().map(|f| {
        let layer = f.after.as_ref().or(f.before.as_ref()).map_or(0, |listed| listed.layer);
        let text = format!("{} (layer {layer}): {}", f.path, words(f));
        (sign(f.before.is_none(), f.after.is_none()), text)
    });
    section(&mut text, "Files", files.collect(), paint);
    for layer in &found.packing {
        let _ = writeln!(text, "Layer {layer} holds the same files in other bytes.");
    }
    text
}

const fn sign(is_new: bool, is_gone: bool) -> char {
    match (is_new, is_gone) {
        (true, _) => '+',
        (_, true) => '-',
        _ => '~',
    }
}

fn arrow(before: &str, after: &str) -> String {
    match (before.is_empty(), after.is_empty()) {
        (true, _) => after.to_owned(),
        (_, true) => before.to_owned(),
        _ => format!("{before} → {after}"),
    }
}

fn section(text: &mut String, title: &str, lines: Vec<(char, String)>, paint: Paint) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "{} ({})", paint.on(Hue::Strong, title), lines.len());
    for (sign, line) in lines.iter().take(SHOWN_MAX) {
        let hue = match sign {
            '+' => Hue::Good,
            '-' => Hue::Bad,
            _ => Hue::Warn,
        };
        let _ = writeln!(text, "  {} {}", paint.on(hue, &sign.to_string()), safe(line));
    }
    if lines.len() > SHOWN_MAX {
        let _ = writeln!(text, "  and {} more; `--json` has all", lines.len() - SHOWN_MAX);
    }
}

pub fn gc_text(collected: &Collected, screen: &Screen) -> String {
    let mut text = String::new();
    let word = if collected.dry_run { "would remove" } else { "removed" };
    for image in &collected.removed {
        let _ = writeln!(
            text,
            "{} {word} {}  {}",
            screen.out.on(Hue::Bad, "-"),
            image.digest.short(),
            safe(&image.name)
        );
    }
    let (freed, kept) = (Bytes(collected.freed_bytes), Bytes(collected.kept_bytes));
    let _ = match collected.dry_run {
        true => write!(text, "{} images would go and free {freed}", collected.removed.len()),
        false => write!(text, "{} images are gone, {freed} are free", collected.removed.len()),
    };
    let _ = writeln!(text, "; {} stay with {kept}", collected.kept);
    let (held, most) = (Bytes(collected.cache_bytes), Bytes(collected.cache_max_bytes));
    let _ = writeln!(text, "the caches of builds hold {held} of at most {most}");
    text
}
