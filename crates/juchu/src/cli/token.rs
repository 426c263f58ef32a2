//! `juchu token`: who of the programs of others is let in.

use super::args::{Token, TokenCommand, TokenCreate};
use super::reach;
use super::screen::{Outcome, Screen};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::api::v1::{May, TokenRequest, TokenStatus};
use model::Report;

pub async fn token(screen: &Screen, home: &Home, args: Token) -> Outcome {
    match args.command {
        TokenCommand::Create(args) => create(screen, home, args).await,
        TokenCommand::Ls(args) => {
            let tokens = reach::running(home).await?.tokens().await?;
            match args.output.json {
                true => screen.json(&tokens),
                false => screen.print(&table(&tokens, screen).render(screen.width, screen.out)),
            }
        }
        TokenCommand::Rm(args) => {
            let client = reach::running(home).await?;
            if !client.tokens().await?.iter().any(|token| token.name == args.name) {
                let report = Report::usage(format!("there is no token {}", args.name));
                return Err(report.hint("juchu token ls").into());
            }
            client.remove_token(&args.name).await?;
            screen.note(format!("{} is let in no longer", args.name));
            Ok(())
        }
    }
}

async fn create(screen: &Screen, home: &Home, args: TokenCreate) -> Outcome {
    let client = reach::started(home, screen).await?;
    let may = if args.send { vec![May::Read, May::Send] } else { vec![May::Read] };
    let made = client.create_token(&TokenRequest { name: args.name, may }).await?;
    if args.output.json {
        return screen.json(&made);
    }
    screen.print(&format!("{}\n", made.token))?;
    screen.note(
        "it is shown only now; a Prometheus data source of Grafana wants it as the password of any user",
    );
    Ok(())
}

fn table(tokens: &[TokenStatus], screen: &Screen) -> Table {
    let mut table = Table::new(vec![
        Column::kept("NAME"),
        Column::kept("MAY"),
        Column::rank("MADE", 1),
        Column::rank("BY", 2),
    ]);
    for token in tokens {
        let may: Vec<&str> = token.may.iter().map(word).collect();
        table.row(vec![
            Cell::from(token.name.clone()),
            Cell::from(may.join(", ")),
            Cell::from(screen.clock.short(token.made)),
            Cell::from(token.actor.clone()),
        ]);
    }
    table
}

fn word(may: &May) -> &'static str {
    match may {
        May::Read => "read",
        May::Send => "send",
    }
}
