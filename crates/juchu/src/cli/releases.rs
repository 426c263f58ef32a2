//! `juchu releases` and `juchu diff`: what there was, what can be gone back to, and what differs.

use super::args::{Diff, Releases, StackArgs};
use super::ending::look_of;
use super::history::differences_text;
use super::screen::{Hue, Outcome, Paint, Screen, safe};
use super::table::{Cell, Column, Table};
use super::{reach, target};
use crate::home::Home;
use console::when::Clock;
use console::words::{origin_text, standing_text, verdict_word};
use model::{ReleaseId, Report};
use run::control::{ReleaseStanding, ReleaseStatus};
use serde::Serialize;
use std::fmt::Write;
use store::record::v1::Difference;

/// Names of services in one cell; the rest is counted.
const CHANGED_SHOWN: usize = 4;

pub async fn releases(screen: &Screen, home: &Home, args: Releases, stack: StackArgs) -> Outcome {
    let client = reach::running(home).await?;
    let name = target::stack(&client, &stack).await?;
    let mut releases = client.releases(&name).await?;
    releases.drain(..releases.len().saturating_sub(args.number));
    releases.reverse();
    if args.output.json {
        return screen.json(&releases);
    }
    if releases.is_empty() {
        screen.note(format!("{name} has no release yet"));
        screen.hint("`juchu up` makes the first one");
    }
    screen.print(&releases_text(&releases, args.images, &screen.clock, screen.width, screen.out))
}

/// Newest first, one line for each.
fn releases_text(
    releases: &[ReleaseStatus],
    images: bool,
    clock: &Clock,
    width: Option<usize>,
    paint: Paint,
) -> String {
    if releases.is_empty() {
        return String::new();
    }
    let mut table = Table::new(vec![
        Column::kept("RELEASE"),
        Column::rank("MADE", 1),
        Column::kept("VERDICT"),
        Column::kept("STANDING"),
        Column::rank("WHAT", 2),
        Column::rank("CHANGED", 3),
        Column::rank("REASON", 4),
    ]);
    for release in releases {
        let (icon, hue) = match (release.outcome, release.standing) {
            (Some(outcome), _) => look_of(outcome),
            (None, ReleaseStanding::Active) => ("◐", Hue::Busy),
            (None, _) => ("□", Hue::Quiet),
        };
        table.row(vec![
            Cell::from(release.id.to_string()),
            Cell::from(clock.short(release.made)),
            Cell::from(format!("{icon} {}", verdict_word(release))).hue(hue),
            standing_cell(release.standing, clock),
            Cell::from(origin_text(release)),
            Cell::from(changed_text(release)),
            Cell::from(release.reason.as_str()),
        ]);
    }
    let text = table.render(width, paint);
    if images { with_images(&text, releases, paint) } else { text }
}

fn standing_cell(standing: ReleaseStanding, clock: &Clock) -> Cell {
    let cell = Cell::from(standing_text(standing, clock));
    match standing {
        ReleaseStanding::Active => cell.hue(Hue::Strong),
        ReleaseStanding::Refused | ReleaseStanding::Collected => cell.hue(Hue::Quiet),
        ReleaseStanding::Warm { .. } | ReleaseStanding::Kept => cell,
    }
}

fn changed_text(release: &ReleaseStatus) -> String {
    let names: Vec<_> = release.changed.iter().map(|service| service.as_str()).collect();
    match names.len().checked_sub(CHANGED_SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..CHANGED_SHOWN].join(", ")),
    }
}

/// Under each line of the table the image of each service.
fn with_images(table: &str, releases: &[ReleaseStatus], paint: Paint) -> String {
    let mut lines = table.lines();
    let mut text = format!("{}\n", lines.next().unwrap_or_default());
    for (line, release) in lines.zip(releases) {
        let _ = writeln!(text, "{line}");
        let wide = release.images.keys().map(|name| name.as_str().len()).max().unwrap_or_default();
        for (service, image) in &release.images {
            let _ = writeln!(text, "  {:wide$}  {}", service.as_str(), paint.on(Hue::Quiet, &safe(image)));
        }
    }
    text
}

pub async fn diff(screen: &Screen, home: &Home, args: Diff, stack: StackArgs) -> Outcome {
    let client = reach::running(home).await?;
    let name = target::stack(&client, &stack).await?;
    let from = args.from.0;
    let to = match args.to {
        Some(to) => to.0,
        None => in_force(&client.releases(&name).await?)?,
    };
    let compared = Compared::of(from, to, client.compare(&name, from, to).await?);
    if args.output.json {
        return screen.json(&compared);
    }
    screen.print(&compared.text(screen.out))?;
    if from == to && args.to.is_none() {
        screen.hint(format!("{from} is in force; name the other one: `juchu diff {from} RELEASE`"));
    }
    Ok(())
}

fn in_force(releases: &[ReleaseStatus]) -> Result<ReleaseId, Report> {
    let active = releases.iter().find(|release| release.standing == ReleaseStanding::Active);
    active.map(|release| release.id).ok_or_else(|| {
        Report::usage("no release is in force to compare with")
            .hint("name both: `juchu diff R1 R2`; `juchu releases` lists them")
    })
}

/// What `diff --json` prints.
#[derive(Debug, Serialize)]
struct Compared {
    from: ReleaseId,
    to: ReleaseId,
    image: Vec<Difference>,
    configuration: Vec<Difference>,
    environment: Vec<Difference>,
    /// The rest of the Compose file.
    compose: Vec<Difference>,
}

impl Compared {
    fn of(from: ReleaseId, to: ReleaseId, differences: Vec<Difference>) -> Self {
        let nothing = Vec::new;
        let mut compared = Self {
            from,
            to,
            image: nothing(),
            configuration: nothing(),
            environment: nothing(),
            compose: nothing(),
        };
        for difference in differences {
            compared.group_of(&difference.field).push(difference);
        }
        compared
    }

    fn group_of(&mut self, field: &str) -> &mut Vec<Difference> {
        match field {
            "image" => &mut self.image,
            _ if field.starts_with("config/") || field.starts_with("secret/") => &mut self.configuration,
            _ if field.starts_with("environment.") => &mut self.environment,
            _ => &mut self.compose,
        }
    }

    fn text(&self, paint: Paint) -> String {
        let groups = [
            ("Image", &self.image),
            ("Configuration", &self.configuration),
            ("Environment", &self.environment),
            ("Compose", &self.compose),
        ];
        let (from, to) = (self.from, self.to);
        if groups.iter().all(|(_, differences)| differences.is_empty()) {
            return format!("Nothing differs between {from} and {to}.\n");
        }
        let mut text = paint.on(Hue::Strong, &format!("{from} → {to}")) + "\n";
        for (title, differences) in groups.iter().filter(|(_, differences)| !differences.is_empty()) {
            let _ = writeln!(text, "\n{}", paint.on(Hue::Strong, title));
            text += &differences_text(&named(differences), "  ", paint);
        }
        text
    }
}

/// Under its heading a field needs only the part of its name that tells it from the others.
fn named(differences: &[Difference]) -> Vec<Difference> {
    let short = |difference: &Difference| {
        let field = match difference.field.as_str() {
            // Shown as the service alone.
            "image" => "service",
            field => field.strip_prefix("environment.").unwrap_or(field),
        };
        Difference { field: field.to_owned(), ..difference.clone() }
    };
    differences.iter().map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::{NOW, guestbook_differences, guestbook_releases};

    fn check(images: bool, width: Option<usize>) -> String {
        let mut releases = guestbook_releases();
        releases.reverse();
        releases_text(&releases, images, &Clock::utc(NOW), width, Paint(false))
    }

    #[test]
    fn a_release_is_one_line() {
        insta::assert_snapshot!(check(false, None), @"
        RELEASE  MADE          VERDICT        STANDING          WHAT                                       CHANGED         REASON
        r5       11:58:30      ● kept         in force          deploy by root (cli)                       web             every service is ready
        r4       11:50:00      ● kept         warm until 12:03  up by ada (cli, sudo)                      web             every service is ready
        r3       11:00:00      ◁ rolled back  kept, was bad     deploy by ada (console)                    web             web: exited with code 1
        r2       09:58:30      ● kept         kept on disk      deploy by ada (cli, sudo): second replica  web             every service is ready
        r1       Nov 21 11:00  ● kept         collected         up by root (cli)                           cache, db, web  every service is ready
        ");
        insta::assert_snapshot!(check(false, Some(80)), @"
        RELEASE  MADE          VERDICT        STANDING          WHAT
        r5       11:58:30      ● kept         in force          deploy by root (cli)
        r4       11:50:00      ● kept         warm until 12:03  up by ada (cli, sudo)
        r3       11:00:00      ◁ rolled back  kept, was bad     deploy by ada (console)
        r2       09:58:30      ● kept         kept on disk      deploy by ada (cli, sud…
        r1       Nov 21 11:00  ● kept         collected         up by root (cli)
        ");
        assert_eq!(releases_text(&[], true, &Clock::utc(NOW), None, Paint(false)), "");
    }

    #[test]
    fn images_stand_below() {
        insta::assert_snapshot!(check(true, Some(60)), @"
        RELEASE  MADE          VERDICT        STANDING
        r5       11:58:30      ● kept         in force
          db   postgres 15.14 (9f8e7d6c5b4a)
          web  guestbook/web (00001a2b3c05)
        r4       11:50:00      ● kept         warm until 12:03
          db   postgres 15.14 (9f8e7d6c5b4a)
          web  guestbook/web (00001a2b3c04)
        r3       11:00:00      ◁ rolled back  kept, was bad
          db   postgres 15.14 (9f8e7d6c5b4a)
          web  guestbook/web (00001a2b3c03)
        r2       09:58:30      ● kept         kept on disk
          db   postgres 15.14 (9f8e7d6c5b4a)
          web  guestbook/web (00001a2b3c02)
        r1       Nov 21 11:00  ● kept         collected
        ");
    }

    #[test]
    fn many_changed_services_are_counted() {
        let mut release = guestbook_releases().remove(0);
        assert_eq!(changed_text(&release), "cache, db, web");
        release.changed = ["a", "b", "c", "d", "e", "f"].map(console::fake::service).to_vec();
        assert_eq!(changed_text(&release), "a, b, c, d and 2 more");
    }

    #[test]
    fn differences_stand_under_what_they_are() {
        let compared = Compared::of(ReleaseId(4), ReleaseId(5), guestbook_differences());
        insta::assert_snapshot!(compared.text(Paint(false)), @"
        r4 → r5

        Image
          ~ web: 00001a2b3c04 (guestbook/web) → 00001a2b3c05 (guestbook/web)

        Configuration
          ~ config/settings: 0a1b2c3d4e5f → f5e4d3c2b1a0

        Environment
          + web DEBUG: (1 characters, 6b86b2)

        Compose
          ~ web replicas: 1 → 2
        ");
        let nothing = Compared::of(ReleaseId(4), ReleaseId(4), vec![]);
        assert_eq!(nothing.text(Paint(false)), "Nothing differs between r4 and r4.\n");
    }

    #[test]
    fn the_release_in_force_is_the_other_one() {
        assert_eq!(in_force(&guestbook_releases()), Ok(ReleaseId(5)));
        assert!(in_force(&[]).expect_err("none").hints[0].contains("juchu diff R1 R2"));
    }
}
