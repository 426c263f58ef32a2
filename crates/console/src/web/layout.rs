//! The frame around every page.

use super::assets::{SCRIPT_ADDRESS, STYLE_ADDRESS};
use super::pages::Drawn;
use super::parts;
use crate::api::Failure;
use crate::caller::Caller;
use axum::http::StatusCode;
use maud::{DOCTYPE, Markup, html};

/// A filled circle with a check: the mark of the product, inside the page so that it costs no request.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http:%2f%2fwww.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
    %3Ccircle cx='8' cy='8' r='8' fill='%23157347'/%3E%3Cpath d='M4 8l3 3 5-6' fill='none' stroke='white' \
    stroke-width='2'/%3E%3C/svg%3E";

/// Pages that are about no stack alone.
const EVERYTHING: [(&str, &str); 6] = [
    ("Map", "/map"),
    ("Incidents", "/incidents"),
    ("Ranges", "/ranges"),
    ("Visitors", "/visitors"),
    ("Traces", "/traces"),
    ("Logs", "/logs"),
];

pub fn page(caller: &Caller, drawn: &Drawn) -> Markup {
    document(
        &drawn.title,
        html! {
            header.top {
                nav aria-label="Place" {
                    a.home href="/" { "Juchu" }
                    @for (name, address) in &drawn.path {
                        span.slash aria-hidden="true" { "/" }
                        a href=(address) { (name) }
                    }
                }
                nav.all aria-label="Everything" { @for (name, address) in EVERYTHING { a href=(address) { (name) } } }
                span #live role="status" { noscript { "Reload the page to see what has changed." } }
                @if let Some(session) = caller.session() {
                    form method="post" action="/leave" {
                        (parts::form_token(session))
                        span.who { (session.actor) }
                        button type="submit" { "Sign out" }
                    }
                }
            }
            (drawn.main())
        },
    )
}

pub fn refusal(failure: &Failure) -> Markup {
    let title = match failure.status {
        StatusCode::UNAUTHORIZED => "Not signed in",
        StatusCode::NOT_FOUND => "Not found",
        _ => "Refused",
    };
    document(
        title,
        html! {
            header.top { nav { a.home href="/" { "Juchu" } } }
            main {
                h1 { (title) }
                (parts::report(&failure.report))
            }
        },
    )
}

/// The page behind a one-time link. Opening it uses nothing up; its button does.
pub fn entrance(token: &str) -> Markup {
    document(
        "Sign in",
        html! {
            header.top { nav { a.home href="/" { "Juchu" } } }
            main {
                h1 { "Open the console" }
                p { "The link works once, in this browser, for 12" (parts::NBSP) "hours." }
                form #enter method="post" action={ "/enter/" (token) } {
                    button.main type="submit" { "Open" }
                }
            }
        },
    )
}

fn document(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Juchu" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href=(STYLE_ADDRESS.as_str());
                script src=(SCRIPT_ADDRESS.as_str()) defer {}
            }
            body { (body) }
        }
    }
}
