//! `docs/reference/cli.md`, made from the same definitions as the help.

use super::args::Cli;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;

/// The whole page.
pub fn reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut page = "# Command line\n\n".to_owned();
    let _ = writeln!(page, "{}\n", about(&root));
    page += INTRODUCTION;
    page += "\n## Everywhere\n\n";
    page += &options(&root, true);
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        page += &section("juchu", command);
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            page += &section(&format!("juchu {}", command.get_name()), inner);
        }
    }
    page.truncate(page.trim_end().len());
    page + "\n"
}

const INTRODUCTION: &str = "\
This page is made from the program's own help; `juchu COMMAND --help` prints the same.

Results go to standard output, everything else to standard error. Colour is used on terminals only, \
never alone, and not with `NO_COLOR`. A failure is `error:` and one sentence, then `hint:` with the \
next command; the exit code says its kind:

| code | meaning |
|---|---|
| 0 | done; for a change: kept, or nothing was different |
| 1 | the command line, the Compose file or another input is wrong |
| 2 | an image could not be built or fetched |
| 3 | a check refused the change |
| 4 | what was started did not become healthy, and there was nothing to go back to |
| 5 | the change failed and was rolled back; the release before serves again |
| 6 | undecided: the rollout is halted half way |
| 7 | somebody else is changing the stack, or took its place |
| 8 | this machine lacks something: permission, disk, a kernel feature, the daemon |
| 70 | a fault of juchu's own |
| 130 | Ctrl-C while a change went on; it is carried out all the same |

`juchu exec` ends with the exit code of the command it ran.

A command means the stack named with `-p`, else the one of the Compose file here (or in the nearest \
directory above), else the only one there is. `JUCHU_HOME` names another directory for everything that \
Juchu keeps, instead of `/var/lib/juchu` and `/run/juchu`.
";

fn section(above: &str, command: &Command) -> String {
    let mut text = format!("\n## {above} {}\n\n{}\n\n", command.get_name(), about(command));
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let _ = writeln!(text, "```\n{usage}\n```\n");
    text + &options(command, false) + names_a_stack(command)
}

/// The arguments that name a stack are told once.
fn names_a_stack(command: &Command) -> &'static str {
    let takes = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
    match (takes("project_name"), takes("follow")) {
        (false, _) => "",
        (true, true) => {
            "\nAlso the arguments that name a stack, as under [Everywhere](#everywhere), without `-f`.\n"
        }
        (true, false) => "\nAlso the arguments that name a stack, as under [Everywhere](#everywhere).\n",
    }
}

const STACK_ARGUMENTS: [&str; 5] = ["files", "project_name", "project_directory", "profiles", "env_files"];

fn about(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about());
    about.map(|text| sentence(&text.to_string())).unwrap_or_default()
}

/// The global ones, or all but those.
fn options(command: &Command, everywhere: bool) -> String {
    let wanted = |arg: &&Arg| {
        let own = matches!(arg.get_id().as_str(), "help" | "version");
        let told = arg.is_global_set() || STACK_ARGUMENTS.contains(&arg.get_id().as_str());
        !arg.is_hide_set() && !own && (everywhere || !told)
    };
    let args: Vec<_> = command.get_arguments().filter(wanted).collect();
    if args.is_empty() {
        return String::new();
    }
    let mut text = "| argument | meaning |\n|---|---|\n".to_owned();
    for arg in args {
        let _ = writeln!(text, "| {} | {} |", spelling(arg), meaning(arg));
    }
    text
}

/// `-f`, `--file <FILE>`.
fn spelling(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let value = match arg.get_action().takes_values() {
        true => names.first().map(|name| format!("<{name}>")).unwrap_or_default(),
        false => String::new(),
    };
    let Some(long) = arg.get_long() else {
        return format!("`{}`", value.replace('|', "\\|"));
    };
    let aliases = arg.get_visible_aliases().unwrap_or_default();
    let mut forms: Vec<_> = arg.get_short().map(|short| format!("`-{short}`")).into_iter().collect();
    forms.extend(aliases.iter().map(|alias| format!("`--{alias}`")));
    forms.push(if value.is_empty() { format!("`--{long}`") } else { format!("`--{long} {value}`") });
    forms.join(", ")
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(|help| sentence(&help.to_string())).unwrap_or_default();
    let choices: Vec<_> = arg.get_possible_values().iter().filter(|v| !v.is_hide_set()).map(choice).collect();
    if arg.get_action().takes_values() && !choices.is_empty() {
        let _ = write!(text, " One of {}.", choices.join(", "));
    }
    let defaults = arg.get_default_values();
    let shown = arg.get_action().takes_values() && !arg.is_hide_default_value_set();
    if let Some(default) = defaults.first().filter(|_| shown) {
        let _ = write!(text, " Default: `{}`.", default.to_string_lossy());
    }
    text.replace('|', "\\|")
}

fn choice(value: &clap::builder::PossibleValue) -> String {
    match value.get_help() {
        Some(help) => format!("`{}` ({})", value.get_name(), help.to_string().trim_end_matches('.')),
        None => format!("`{}`", value.get_name()),
    }
}

/// The help leaves out the full stop that a page has.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs};

    #[test]
    fn the_page_is_what_the_help_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");
        if env::var_os("UPDATE").is_some() {
            fs::write(path, reference()).expect("the page can be written");
        }
        let page = fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == reference(),
            "docs/reference/cli.md is stale: UPDATE=1 cargo test -p juchu reference"
        );
    }
}
