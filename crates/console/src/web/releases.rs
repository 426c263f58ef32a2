//! The releases of a stack: how each was judged, and the button that goes back to it.

use super::parts;
use crate::access::Session;
use crate::when::Clock;
use crate::words::{can_be_gone_back_to, origin_text, standing_text, verdict_word};
use maud::{Markup, html};
use model::StackName;
use run::control::{ReleaseStanding, ReleaseStatus, State};

/// Releases on a stack's page; the command line lists all.
const RELEASES_SHOWN: usize = 8;
/// Names of services in one cell.
const CHANGED_SHOWN: usize = 4;

/// Newest first. `quiet` is said while nothing else goes on: only then can one go back.
pub fn releases(
    session: Option<&Session>,
    stack: &StackName,
    releases: &[ReleaseStatus],
    quiet: bool,
    clock: &Clock,
) -> Markup {
    if releases.is_empty() {
        return html! {};
    }
    let hidden = releases.len().saturating_sub(RELEASES_SHOWN);
    html! {
        section #releases {
            h2 { "Releases" }
            table {
                thead { tr {
                    th scope="col" { "Verdict" } th scope="col" { "Release" } th scope="col" { "What" }
                    th scope="col" { "Made" } th.wide scope="col" { "Changed" } th scope="col" { "Standing" }
                    th.action scope="col" { span.unseen { "Action" } }
                } }
                tbody {
                    @for release in releases.iter().rev().take(RELEASES_SHOWN) {
                        (row(session, stack, release, quiet, clock))
                    }
                }
            }
            @if hidden > 0 { p.quiet { (hidden) " older: " code { "juchu releases" } } }
        }
    }
}

fn row(
    session: Option<&Session>,
    stack: &StackName,
    release: &ReleaseStatus,
    quiet: bool,
    clock: &Clock,
) -> Markup {
    let in_force = release.standing == ReleaseStanding::Active;
    html! {
        tr #{ "release-" (release.id) } {
            td { (parts::labelled(look_of(release), verdict_word(release))) }
            td { @if in_force { b { (release.id) } } @else { (release.id) } }
            td.text title=(parts::plain(&release.reason)) { (parts::plain(&origin_text(release))) }
            td { (parts::time(release.made, clock)) }
            td.wide.quiet { (changed(release)) }
            td.standing { @if in_force { b { "in force" } } @else { (standing_text(release.standing, clock)) } }
            td.action {
                @if quiet && can_be_gone_back_to(release.standing) {
                    form method="post" action={ "/stacks/" (stack) "/releases/" (release.id.0) "/rollback" } {
                        @if let Some(session) = session { (parts::form_token(session)) }
                        button type="submit" aria-label={ "Go back to " (release.id) } { "Go back to this" }
                    }
                }
            }
        }
    }
}

fn changed(release: &ReleaseStatus) -> String {
    let names: Vec<_> = release.changed.iter().map(|service| service.as_str()).collect();
    match names.len().checked_sub(CHANGED_SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..CHANGED_SHOWN].join(", ")),
    }
}

const fn look_of(release: &ReleaseStatus) -> State {
    match (release.outcome, release.standing) {
        (None, ReleaseStanding::Active) => State::Starting,
        (None, _) => State::Stopped,
        (Some(outcome), _) => parts::look_of_outcome(outcome),
    }
}
