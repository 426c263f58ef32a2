//! `juchu watch`: the rules of a stack are followed in the foreground, without its logs.

use super::super::args::{ChangeArgs, StackArgs, Watch};
use super::super::change::{Wanted, declared, follow, left_alone, submit};
use super::super::ending::{Asked, tell};
use super::super::screen::{Outcome, Screen};
use super::super::signals::Signals;
use super::super::{reach, target};
use super::{Session, prepare};
use crate::home::Home;
use std::cell::Cell;
use std::rc::Rc;
use store::record::v1::Intent;

pub async fn watch(screen: &Screen, home: &Home, args: Watch, stack: StackArgs) -> Outcome {
    let declared = declared(screen, &args.targets, &stack)?;
    let json = args.output.json;
    let prepared = prepare(screen, &declared.stack, &declared.services)?;
    let mut signals = Signals::new()?;
    let client = match args.no_up {
        true => reach::running(home).await?,
        false => reach::started(home, screen).await?,
    };
    let (name, services) = (declared.stack.name.clone(), declared.services);
    let change = ChangeArgs { why: "watch".to_owned(), json };
    let wanted = Wanted {
        stack: name.clone(),
        services: services.clone(),
        intent: Intent::Up,
        declared: Some(declared.stack),
        args: &change,
    };
    let request = wanted.request();
    let asked = Asked::of(&request, &stack, declared.directory.as_deref());
    if args.no_up {
        let named: Vec<_> = services.iter().map(ToString::to_string).collect();
        target::running_services(&client, &name, &named).await?;
    } else {
        let accepted = submit(screen, &client, &request, json).await?;
        match follow(screen, home, &client, accepted.change, json, &mut signals).await? {
            Some(conclusion) => tell(screen, &asked, &conclusion, json)?,
            None => return Err(left_alone(screen)),
        }
    }
    let pending = Rc::new(Cell::new(None));
    let mut session = Session::new(screen, home, &client, prepared, asked, json, Rc::clone(&pending));
    tokio::select! {
        ended = session.run() => ended.map(|never| match never {}),
        _ = signals.next() => {
            let rest = if pending.get().is_some() { "; the change goes on in the daemon" } else { "" };
            screen.note(format!("\n{name} goes on running, its files are not watched any more{rest}"));
            Ok(())
        }
    }
}
