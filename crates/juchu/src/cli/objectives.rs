//! `juchu objectives`: what services promise, and how much of it was kept.

use super::args::Objectives;
use super::reach;
use super::screen::{Hue, Outcome, Screen};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::api::v1::{BurnWindow, ObjectiveStatus};
use console::when::Clock;
use model::Timestamp;
use model::objective::share_text;
use model::range::Level;

pub async fn objectives(screen: &Screen, home: &Home, args: Objectives) -> Outcome {
    let mut all = reach::running(home).await?.objectives().await?;
    if let Some(what) = &args.what {
        all.retain(|one| {
            format!("{}/", one.subject).starts_with(&format!("{}/", what.trim_end_matches('/')))
        });
    }
    if args.output.json {
        return screen.json(&all);
    }
    if all.is_empty() {
        screen.note("no service promises anything by this name");
        screen.hint("in the Compose file: `x-juchu: {objectives: {availability: 99.9%}}`, then `juchu up`");
        return Ok(());
    }
    screen.print(&table(&all, &screen.clock).render(screen.width, screen.out))?;
    if all.iter().any(|one| one.level.is_some()) {
        screen.hint("`juchu incidents` says what is wrong");
    }
    Ok(())
}

fn table(all: &[ObjectiveStatus], clock: &Clock) -> Table {
    let mut table = Table::new(vec![
        Column::kept("SERVICE"),
        Column::kept("PROMISE"),
        Column::kept("STANDING"),
        Column::rank("1 H", 2).right(),
        Column::rank("6 H", 4).right(),
        Column::rank("3 D", 3).right(),
        Column::rank("LEFT OF 30 D", 1).right(),
        Column::rank("SINCE", 5),
    ]);
    for one in all {
        let (standing, hue) = look(one);
        let window = |at: usize| one.windows.get(at).map(good).unwrap_or_default();
        let left = one.budget_left.map_or_else(|| "–".to_owned(), |left| format!("{:.0} %", left * 100.0));
        let since = one.since_ms.map(|at| clock.short(Timestamp(at))).unwrap_or_default();
        table.row(vec![
            Cell::from(one.subject.to_string()),
            Cell::from(format!("{} {}", share_text(one.target), one.name)),
            Cell::from(standing).hue(hue),
            Cell::from(window(0)),
            Cell::from(window(1)),
            Cell::from(window(2)),
            Cell::from(left),
            Cell::from(since),
        ]);
    }
    table
}

fn look(one: &ObjectiveStatus) -> (&'static str, Hue) {
    let is_asked = one.windows.iter().any(|window| window.rate.is_some());
    match one.level {
        Some(Level::Urgent) => ("✗ broken, urgent", Hue::Bad),
        Some(_) => ("! broken, important", Hue::Warn),
        None if is_asked => ("✓ kept", Hue::Good),
        None => ("· too few requests", Hue::Quiet),
    }
}

fn good(window: &BurnWindow) -> String {
    window.good.map_or_else(|| "–".to_owned(), share_text)
}

#[cfg(test)]
mod tests {
    use super::super::screen::Paint;
    use super::*;
    use console::fake::{NOW, objectives};

    #[test]
    fn promises_stand_with_what_was_kept() {
        let text = table(&objectives(), &Clock::utc(NOW)).render(None, Paint(false));
        insta::assert_snapshot!(text, @"
        SERVICE          PROMISE                     STANDING                1 H      6 H      3 D  LEFT OF 30 D  SINCE
        guestbook/web    99.9 % availability         ✗ broken, urgent     98.2 %  99.57 %  99.91 %          41 %  11:52:00
        guestbook/web    99 % answers within 300 ms  ✓ kept              99.81 %  99.78 %   99.8 %          80 %
        guestbook/cache  99.5 % availability         · too few requests        –        –        –             –
        ");
        assert_eq!(table(&[], &Clock::utc(NOW)).render(None, Paint(false)).lines().count(), 1);
    }
}
