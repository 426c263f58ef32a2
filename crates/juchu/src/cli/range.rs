//! `juchu range`: what is normal, what is not, and who says so.

use super::args::{Range, RangeAccept, RangeCommand, RangeLs, RangeSet, RangeShow};
use super::reach;
use super::screen::{Hue, Outcome, Paint, Screen};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::api::v1::{RangeChange, RangeStatus, SignalNote};
use console::when::Clock;
use model::range::Declared;
use model::{Report, Timestamp};
use run::ranges::BoundsSource;
use signals::range::Standing;
use std::fmt::Write;

pub async fn range(screen: &Screen, home: &Home, args: Range) -> Outcome {
    match args.command {
        RangeCommand::Ls(args) => ls(screen, home, args).await,
        RangeCommand::Show(args) => show(screen, home, args).await,
        RangeCommand::Set(args) => set(screen, home, args).await,
        RangeCommand::Accept(args) => accept(screen, home, args).await,
    }
}

async fn ls(screen: &Screen, home: &Home, args: RangeLs) -> Outcome {
    let mut ranges = reach::running(home).await?.ranges().await?;
    if let Some(what) = &args.what {
        ranges.retain(|range| range.name.to_string().starts_with(what.as_str()));
    }
    if args.output.json {
        return screen.json(&ranges);
    }
    if ranges.is_empty() {
        screen
            .note("no signal is watched by this name; a daemon that has just started knows them after 10 s");
        return Ok(());
    }
    screen.print(&table(&ranges, &screen.clock).render(screen.width, screen.out))?;
    let outside = ranges.iter().filter(|range| range.standing.is_out()).count();
    if outside > 0 {
        screen.hint(
            "`juchu incidents` says what belongs together; `juchu range accept SIGNAL` if it is normal",
        );
    }
    Ok(())
}

fn table(ranges: &[RangeStatus], clock: &Clock) -> Table {
    let mut table = Table::new(vec![
        Column::kept("SIGNAL"),
        Column::kept("STANDING"),
        Column::kept("VALUE").right(),
        Column::kept("NORMAL"),
        Column::rank("SINCE", 1),
    ]);
    for range in ranges {
        let (icon, hue) = look(range);
        let value = range.value.map_or_else(|| "–".to_owned(), |value| range.unit.show(value));
        let since = match range.standing.is_out() {
            true => clock.short(Timestamp(range.since_ms)),
            false => String::new(),
        };
        table.row(vec![
            Cell::from(range.name.to_string()),
            Cell::from(format!("{icon} {}", range.standing.word())).hue(hue),
            Cell::from(value),
            Cell::from(range.range_text()),
            Cell::from(since),
        ]);
    }
    table
}

const fn look(range: &RangeStatus) -> (&'static str, Hue) {
    match range.standing {
        Standing::Outside | Standing::Far => ("✗", Hue::Bad),
        Standing::Edge => ("!", Hue::Warn),
        Standing::Inside => ("✓", Hue::Good),
        Standing::Learning => ("◐", Hue::Busy),
        Standing::Unknown => ("·", Hue::Quiet),
    }
}

async fn show(screen: &Screen, home: &Home, args: RangeShow) -> Outcome {
    let ranges = reach::running(home).await?.ranges().await?;
    let range = ranges.iter().find(|range| range.name.to_string() == args.signal).ok_or_else(|| {
        Report::usage(format!("there is no signal {}", args.signal)).hint("`juchu range ls` lists them")
    })?;
    match args.output.json {
        true => screen.json(range),
        false => screen.print(&text(range, &screen.clock, screen.out)),
    }
}

fn text(range: &RangeStatus, clock: &Clock, paint: Paint) -> String {
    let (icon, hue) = look(range);
    let value = range.value.map_or_else(|| "unknown".to_owned(), |value| range.unit.show(value));
    let mut text = format!("{} {} is {value}, {}\n", paint.on(hue, icon), range.name, range.standing.word());
    let _ = writeln!(text, "  since     {}", clock.full(Timestamp(range.since_ms)));
    let bounds = run::ranges::range_text(range.unit, range.bounds.as_ref(), None);
    match range.source {
        BoundsSource::None => {}
        BoundsSource::Kind => text += &format!("  bounds    {bounds}, as for all signals of this kind\n"),
        BoundsSource::File => text += &format!("  bounds    {bounds}, by x-juchu.ranges\n"),
        BoundsSource::Set => text += &format!("  bounds    {bounds}, by juchu range set\n"),
    }
    match (&range.band, range.learned_since_ms) {
        (Some(band), Some(since)) => {
            let band = run::ranges::range_text(range.unit, None, Some(band));
            let since = clock.full(Timestamp(since));
            let _ = writeln!(text, "  band      {band}, learned since {since}");
        }
        (Some(band), None) => {
            let band = run::ranges::range_text(range.unit, None, Some(band));
            let _ = writeln!(text, "  band      {band}, as somebody said");
        }
        (None, Some(since)) => {
            let since = clock.full(Timestamp(since));
            let _ = writeln!(text, "  band      is being learned since {since}; it takes a day");
        }
        (None, None) => {}
    }
    if range.beyond != 0.0 {
        let _ = writeln!(text, "  beyond    {:.1} widths of the band", range.beyond.abs());
    }
    if let Some(decay) = &range.decay {
        let _ = writeln!(text, "  over days {}", paint.on(Hue::Warn, decay));
    }
    let _ = writeln!(text, "  level     {}", range.level.word());
    text
}

async fn set(screen: &Screen, home: &Home, args: RangeSet) -> Outcome {
    let says_something =
        args.min.is_some() || args.max.is_some() || args.no_learn || args.off || args.level.is_some();
    if !says_something && !args.reset {
        let report = Report::usage("it is not said what is normal");
        return Err(report
            .hint(format!("juchu range set {} --max VALUE; --reset takes it back", args.signal))
            .into());
    }
    let declared = Declared {
        bounds: None,
        learn: !args.no_learn,
        off: args.off,
        level: args.level.map(Into::into),
        query: None,
    };
    let change = RangeChange {
        signal: args.signal,
        declared: (!args.reset).then_some(declared),
        min: args.min,
        max: args.max,
        actor: String::new(),
        why: args.message,
    };
    let range = reach::running(home).await?.set_range(&change).await?;
    if args.output.json {
        return screen.json(&range);
    }
    screen.note(match (args.reset, args.off) {
        (true, _) => format!("{} is as its file says, from the next evaluation on", range.name),
        (_, true) => format!("{} is not watched any more", range.name),
        _ => format!("{}: {}", range.name, range.range_text()),
    });
    Ok(())
}

async fn accept(screen: &Screen, home: &Home, args: RangeAccept) -> Outcome {
    let client = reach::running(home).await?;
    for signal in args.signals {
        let note = SignalNote { signal, actor: String::new(), why: args.message.clone() };
        let range = client.accept_range(&note).await?;
        screen.note(format!("{}: {} is the new normal", range.name, range.range_text()));
    }
    Ok(())
}
