//! `juchu registry user`: who may pull and push.

use super::super::args::{RegistryUserAdd, RegistryUserCommand};
use super::super::screen::{Outcome, Screen};
use super::super::table::{Cell, Column, Table};
use crate::home::Home;
use ::registry::Users;
use ::registry::access::{Right, Rule, TOKEN_MIN};
use build::repositories::Repositories;
use model::Report;
use serde::Serialize;
use std::io::Read;

/// Of what is read from standard input.
const INPUT_MAX: u64 = 4 << 10;

/// What `ls --json` prints.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    rules: Vec<Rule>,
}

pub fn user(screen: &Screen, home: &Home, command: RegistryUserCommand) -> Outcome {
    let store = super::store(home)?;
    Repositories::open(&store).map_err(|error| error.report())?;
    let users = Users::open(&store).map_err(|error| error.report())?;
    match command {
        RegistryUserCommand::Add(args) => add(screen, &users, &args),
        RegistryUserCommand::Rm(args) => {
            users.remove(&args.name).map_err(|error| error.report())?;
            Ok(())
        }
        RegistryUserCommand::Ls(args) => {
            let all = users.all().map_err(|error| error.report())?;
            let listed: Vec<_> =
                all.into_iter().map(|user| Listed { name: user.name, rules: user.rules }).collect();
            match args.output.json {
                true => screen.json(&listed),
                false => screen.print(&text(&listed, screen)),
            }
        }
    }
}

fn add(screen: &Screen, users: &Users, args: &RegistryUserAdd) -> Outcome {
    let rule = |right| move |text: &String| Rule::new(text, right).ok_or_else(|| pattern(text));
    let read = args.read.iter().map(rule(Right::Read));
    let mut rules: Vec<Rule> =
        read.chain(args.write.iter().map(rule(Right::Write))).collect::<Result<_, _>>()?;
    if rules.is_empty() {
        rules.push(Rule::all(Right::Read));
    }
    let token = if args.token_stdin { Some(from_stdin()?) } else { None };
    let made = token.is_none();
    let token = users.add(&args.name, rules, token).map_err(|error| error.report())?;
    if made {
        screen.print(&format!("{token}\n"))?;
        screen.note("this token is not shown again");
    }
    screen.hint(format!("log in with it: `docker login -u {} --password-stdin HOST:PORT`", args.name));
    Ok(())
}

fn pattern(text: &str) -> Report {
    Report::usage(format!("`{text}` is neither a repository nor `NAME/*` nor `*`"))
        .hint("`app/web` is one repository, `app/*` all below `app`, `'*'` all")
}

fn from_stdin() -> Result<String, Report> {
    let mut text = String::new();
    let read = std::io::stdin().take(INPUT_MAX).read_to_string(&mut text);
    read.map_err(|error| Report::usage(format!("the token cannot be read from standard input: {error}")))?;
    match text.trim() {
        "" => Err(Report::usage("standard input holds no token")
            .hint(format!("at least {TOKEN_MIN} characters; `openssl rand -hex 32` makes one"))),
        token => Ok(token.to_owned()),
    }
}

fn text(listed: &[Listed], screen: &Screen) -> String {
    let mut table = Table::new(vec![Column::kept("USER"), Column::kept("MAY")]);
    for user in listed {
        let rules: Vec<String> = user.rules.iter().map(Rule::to_string).collect();
        table.row(vec![Cell::from(user.name.as_str()), Cell::from(rules.join(", "))]);
    }
    table.render(screen.width, screen.out)
}
