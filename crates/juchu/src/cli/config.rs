//! `juchu config`: what the files say, whole or in lists. It needs no daemon: it only reads.

use super::args::{Config, ConfigFormat, Skipped, StackArgs};
use super::explain::explain;
use super::load::{self, Reading};
use super::screen::{Outcome, Screen};
use compose::{Resolved, Skip, Variable};
use model::Report;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

pub fn config(screen: &Screen, args: &Config, stack: &StackArgs) -> Outcome {
    let (directory, services) = load::split_targets(&args.targets, stack);
    if args.check {
        let stack = load::load(screen, stack, directory.as_deref())?;
        screen.note(format!("{} is valid: {} services", stack.name, stack.services.len()));
        return Ok(());
    }
    let listed = &args.listed;
    let of_all =
        listed.services || listed.volumes || listed.networks || listed.models || listed.hash.is_some();
    let services = if of_all { Vec::new() } else { services };
    let reading =
        Reading { directory, services, skip: skip(args.skipped, args), trace: args.explain.is_some() };
    let resolved = load::resolved(screen, stack, reading)?;
    let text = match &args.explain {
        Some(path) => explain(screen, &resolved, path, format(args) == Some(ConfigFormat::Json))?,
        None => printed(&resolved, args)?,
    };
    if screen.quiet {
        return Ok(());
    }
    match &args.output {
        None => screen.print(&text),
        Some(path) => fs::write(path, text).map_err(|error| {
            Report::environment(format!("{} cannot be written: {error}", path.display()))
                .hint("name a file in a directory that exists and can be written")
                .into()
        }),
    }
}

fn skip(skipped: Skipped, args: &Config) -> Skip {
    Skip {
        interpolation: skipped.no_interpolate || args.listed.variables,
        normalization: skipped.no_normalize,
        paths: skipped.no_path_resolution,
        consistency: skipped.no_consistency,
        env_files: args.listed.hash.is_some(),
    }
}

fn format(args: &Config) -> Option<ConfigFormat> {
    args.format.or(args.json.then_some(ConfigFormat::Json))
}

fn printed(resolved: &Resolved, args: &Config) -> Outcome<String> {
    let listed = &args.listed;
    let format = format(args);
    if listed.variables {
        return Ok(variables(resolved, format));
    }
    if let Some(named) = &listed.hash {
        return hashes(resolved, named);
    }
    type Listing = fn(&Resolved) -> Vec<String>;
    let lists: [(bool, Listing); 7] = [
        (listed.services, Resolved::services),
        (listed.volumes, Resolved::volumes),
        (listed.networks, Resolved::networks),
        (listed.images, Resolved::images),
        (listed.models, Resolved::models),
        (listed.profiles, Resolved::profiles),
        (listed.environment, Resolved::environment),
    ];
    if let Some((_, list)) = lists.iter().find(|(wanted, _)| *wanted) {
        return Ok(list(resolved).iter().map(|line| format!("{line}\n")).collect());
    }
    Ok(match format {
        Some(ConfigFormat::Json) => format!("{}\n", resolved.json_text()),
        Some(ConfigFormat::Yaml) | None => resolved.yaml_text(),
    })
}

fn hashes(resolved: &Resolved, named: &str) -> Outcome<String> {
    let all = resolved.hashes();
    let mut names: Vec<&str> = match named {
        "*" => all.keys().map(String::as_str).collect(),
        named => named.split(',').map(str::trim).collect(),
    };
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let Some(hash) = all.get(name) else {
            let known: Vec<_> = all.keys().map(String::as_str).collect();
            let report = Report::usage(format!("there is no service `{name}`"));
            return Err(report.hint(format!("the services are {}", known.join(", "))).into());
        };
        let _ = writeln!(text, "{name} {hash}");
    }
    Ok(text)
}

/// A table unless a format is asked for.
fn variables(resolved: &Resolved, format: Option<ConfigFormat>) -> String {
    let all = resolved.variables();
    match format {
        None => table(&all),
        Some(ConfigFormat::Yaml) => all.iter().map(|(name, variable)| yaml(name, variable)).collect(),
        Some(ConfigFormat::Json) => {
            let about: Vec<_> = all.iter().map(|(name, variable)| json(name, variable)).collect();
            format!("{{\n{}\n}}\n", about.join(",\n"))
        }
    }
}

fn table(all: &BTreeMap<String, Variable>) -> String {
    /// Columns are at least this wide, and so far apart.
    const WIDTH: usize = 20;
    const GAP: usize = 3;
    let widest = |lengths: &mut dyn Iterator<Item = usize>| (lengths.max().unwrap_or(0) + GAP).max(WIDTH);
    let name_width = widest(&mut all.keys().map(|name| name.chars().count()));
    let default_width = widest(&mut all.values().map(|variable| variable.default.chars().count()));
    let row = |name: &str, required: &str, default: &str, alternate: &str| {
        format!("{name:name_width$}{required:WIDTH$}{default:default_width$}{alternate}\n")
    };
    let mut text = row("NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE");
    for (name, variable) in all {
        text += &row(name, &variable.required.to_string(), &variable.default, &variable.alternate);
    }
    text
}

fn json(name: &str, variable: &Variable) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let fields = [
        ("Name", quoted(name)),
        ("DefaultValue", quoted(&variable.default)),
        ("PresenceValue", quoted(&variable.alternate)),
        ("Required", variable.required.to_string()),
    ];
    let lines = fields.map(|(key, value)| format!("        \"{key}\": {value}"));
    format!("    {}: {{\n{}\n    }}", quoted(name), lines.join(",\n"))
}

fn yaml(name: &str, variable: &Variable) -> String {
    let scalar = compose::yaml_scalar;
    let fields = [
        ("name", scalar(name)),
        ("defaultvalue", scalar(&variable.default)),
        ("presencevalue", scalar(&variable.alternate)),
        ("required", variable.required.to_string()),
    ];
    let lines = fields.map(|(key, value)| format!("    {key}: {value}\n"));
    format!("{}:\n{}", scalar(name), lines.concat())
}
