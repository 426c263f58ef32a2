//! `juchu notify`: who is told about incidents.

use super::args::{Notify, NotifyAdd, NotifyCommand};
use super::reach;
use super::screen::{Hue, Outcome, Screen, safe};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::api::v1::{ReceiverRequest, ReceiverStatus};
use console::when::Clock;
use model::{Report, Timestamp};
use std::io::{IsTerminal, Read};

/// Bytes of an address.
const URL_MAX: u64 = 4096;

pub async fn notify(screen: &Screen, home: &Home, args: Notify) -> Outcome {
    match args.command {
        NotifyCommand::Add(args) => add(screen, home, args).await,
        NotifyCommand::Ls(args) => {
            let receivers = reach::running(home).await?.receivers().await?;
            if args.output.json {
                return screen.json(&receivers);
            }
            if receivers.is_empty() {
                screen.note("nobody is told");
                screen.hint("juchu notify add ops webhook < FILE");
                return Ok(());
            }
            screen.print(&table(&receivers, &screen.clock).render(screen.width, screen.out))
        }
        NotifyCommand::Rm(args) => {
            let client = reach::running(home).await?;
            known(&client, &args.name).await?;
            client.remove_receiver(&args.name).await?;
            screen.note(format!("{} is told no longer", args.name));
            Ok(())
        }
        NotifyCommand::Test(args) => {
            let client = reach::running(home).await?;
            known(&client, &args.name).await?;
            client.test_receiver(&args.name).await?;
            screen.note(format!("{} took it", args.name));
            Ok(())
        }
    }
}

/// A name that is none must not become part of an address.
async fn known(client: &console::client::Client, name: &str) -> Outcome {
    if client.receivers().await?.iter().any(|receiver| receiver.name == name) {
        return Ok(());
    }
    Err(Report::usage(format!("there is no receiver {}", safe(name))).hint("juchu notify ls").into())
}

async fn add(screen: &Screen, home: &Home, args: NotifyAdd) -> Outcome {
    let input = std::io::stdin();
    let mut url = String::new();
    let read = if input.is_terminal() {
        screen.say("the address, which is kept in a file of this user alone:");
        input.read_line(&mut url).map(drop)
    } else {
        input.lock().take(URL_MAX).read_to_string(&mut url).map(drop)
    };
    read.map_err(|error| Report::usage(format!("the address cannot be read: {error}")))?;
    let request = ReceiverRequest {
        name: args.name,
        kind: args.kind.word().to_owned(),
        url: url.trim().to_owned(),
        least: args.least.into(),
    };
    let client = reach::started(home, screen).await?;
    let added = client.add_receiver(&request).await?;
    screen.note(format!(
        "{} at {} is told of what is {} or more",
        added.name,
        added.place,
        added.least.word()
    ));
    screen.hint(format!("`juchu notify test {}` tries it", added.name));
    Ok(())
}

fn table(receivers: &[ReceiverStatus], clock: &Clock) -> Table {
    let mut table = Table::new(vec![
        Column::kept("NAME"),
        Column::kept("KIND"),
        Column::rank("WHERE", 2),
        Column::rank("LEAST", 4),
        Column::kept("SENT").right(),
        Column::kept("WAIT").right(),
        Column::rank("GIVEN UP", 3).right(),
        Column::rank("LAST", 1),
        Column::kept("TROUBLE"),
    ]);
    for receiver in receivers {
        let last = receiver.last_sent_ms.map(|at| clock.short(Timestamp(at))).unwrap_or_default();
        let trouble = receiver.trouble.as_ref().map(|trouble| format!("✗ {}", safe(trouble)));
        table.row(vec![
            Cell::from(receiver.name.clone()),
            Cell::from(receiver.kind.clone()),
            Cell::from(receiver.place.clone()),
            Cell::from(receiver.least.word()),
            Cell::from(receiver.sent.to_string()),
            Cell::from(receiver.waiting.to_string()),
            Cell::from(receiver.given_up.to_string()),
            Cell::from(last),
            Cell::from(trouble.unwrap_or_default()).hue(Hue::Bad),
        ]);
    }
    table
}
