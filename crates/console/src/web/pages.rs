//! The pages about what runs: everything, a node, a stack, a service, an instance, a route. Each is
//! drawn from fresh answers.

use super::chart::Mark;
use super::charts;
use super::logs;
use super::of_signal;
use super::panel::{self, Panel};
use super::parts;
use super::releases;
use super::subject::{Subject, View};
use super::traffic::{self, Looks};
use super::verdict::{self, Verdict};
use crate::api::Failure;
use crate::caller::Caller;
use crate::measured::{Range, Shelf};
use crate::report::Origins;
use crate::serve::App;
use crate::story::Story;
use crate::traffic::Names;
use crate::when::Clock;
use axum::http::StatusCode;
use maud::{Markup, html};
use model::{InstanceId, Report, ServiceName, StackName};
use run::control::{Control, ServiceLine, ServiceStatus, StackStatus, State};
use run::engine::LogQuery;
use std::time::Duration;
use store::HistoryQuery;

/// Changes on the first page and on the others.
const CHANGES_SHORT: usize = 6;
const CHANGES_LONG: usize = 12;
/// A change is about four entries; incidents lie between them.
const ENTRIES_PER_CHANGE: usize = 8;
const INCIDENTS_MAX: usize = 10;
const LOG_LINES: usize = 100;
/// Programs that are slow to be read do not hold up the page.
const LOG_WAIT: Duration = Duration::from_millis(500);
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A page ready to be shown.
pub struct Drawn {
    pub title: String,
    /// Names and addresses from the first page to here.
    pub path: Vec<(String, String)>,
    pub failure: Option<Failure>,
    /// Whether it is sent again when it changes.
    is_live: bool,
    content: Markup,
}

impl Drawn {
    /// A page that stays as it is.
    pub fn of(title: &str, path: Vec<(String, String)>, content: Markup) -> Self {
        Self { title: title.to_owned(), path, failure: None, is_live: false, content }
    }

    /// The part that is sent again when it changes.
    pub fn main(&self) -> Markup {
        html! { main data-live[self.is_live] data-title={ (self.title) " · Juchu" } { (self.content) } }
    }
}

/// Asks and draws; a failure is drawn too.
pub async fn draw(app: &App, caller: &Caller, view: &View) -> Drawn {
    let clock = Clock::system();
    let desk = Desk {
        control: app.control.as_ref(),
        caller,
        looks: &app.looks,
        shelf: &app.shelf,
        origins: app.attached.origins.as_deref(),
        range: view.range,
        clock,
    };
    let drawn = match tokio::time::timeout(ANSWER_WAIT, desk.draw(&view.subject)).await {
        Ok(drawn) => drawn,
        Err(_) => Err(Report::environment("the daemon is busy and gave no answer within 10 s")
            .hint("reload the page; `juchu doctor`")
            .into()),
    };
    let (title, content, failure) = match drawn {
        Ok((title, content)) => (title, content, None),
        Err(failure) => ("Cannot be shown".to_owned(), broken(&failure), Some(failure)),
    };
    Drawn { title, path: view.subject.path(), failure, is_live: true, content }
}

fn broken(failure: &Failure) -> Markup {
    html! {
        h1 {
            (parts::icon(State::Failed))
            @if failure.status == StatusCode::NOT_FOUND { "Not found." } @else { "This page cannot be shown." }
        }
        (parts::report(&failure.report))
    }
}

/// What drawing needs at hand.
pub(super) struct Desk<'a> {
    pub(super) control: &'a dyn Control,
    pub(super) caller: &'a Caller,
    looks: &'a Looks,
    pub(super) shelf: &'a Shelf,
    pub(super) origins: Option<&'a dyn Origins>,
    range: Range,
    pub(super) clock: Clock,
}

pub(super) type Content = (String, Markup);

impl Desk<'_> {
    async fn draw(&self, subject: &Subject) -> Result<Content, Failure> {
        match subject {
            Subject::Home => self.home().await,
            Subject::Stack(stack) => self.stack(stack).await,
            Subject::Service(stack, service) => self.service(stack, service).await,
            Subject::Node(name) => self.node(name).await,
            Subject::Instance(stack, service, id) => self.instance(stack, service, id).await,
            Subject::Route(stack, service, number) => self.route(stack, service, *number).await,
            Subject::Ranges => self.ranges().await,
            Subject::Signal(name) => self.signal(name).await,
            Subject::Incidents => self.incidents().await,
            Subject::Incident(number) => self.incident(*number).await,
        }
    }

    async fn home(&self) -> Result<Content, Failure> {
        let stacks = self.control.stacks().await?;
        let story = self.story(None, None, CHANGES_SHORT).await?;
        let verdict = verdict::of_all(&stacks);
        let panel = Panel::ask(self.shelf, self.clock.now).await;
        let content = html! {
            (headline(&verdict, stacks.is_empty()))
            (panel.draw(&self.clock))
            @if stacks.is_empty() {
                p { "In a folder with a " code { "compose.yaml" } ", run:" }
                pre.command { "juchu up" }
            }
            @for stack in &stacks {
                section #{ "stack-" (stack.name) } {
                    h2 { a href={ "/stacks/" (stack.name) } { (stack.name) } }
                    (parts::stack_line(stack))
                    (parts::services(stack, &verdict::by_attention(&stack.services)))
                }
            }
            (self.changes("Last changes", &story, CHANGES_SHORT, stacks.len() != 1))
        };
        Ok((parts::plain(verdict.sentence.trim_end_matches('.')).into_owned(), content))
    }

    async fn stack(&self, name: &StackName) -> Result<Content, Failure> {
        let stack = self.known(name).await?;
        let story = self.story(Some(name), None, CHANGES_LONG).await?;
        let releases = self.control.releases(name).await?;
        let verdict = verdict::of_stack(&stack);
        let session = self.caller.session();
        let content = html! {
            (headline(&verdict, false))
            (parts::stack_line(&stack))
            (parts::actions(session, &format!("/stacks/{name}"), &stack_actions(&stack)))
            section #services {
                h2 { "Services" }
                (parts::services(&stack, &verdict::by_attention(&stack.services)))
            }
            section #instances {
                h2 { "Instances" }
                (parts::instances(name, stack.services.iter().map(|s| (s, s.instances.as_slice())), &self.clock))
            }
            (releases::releases(session, name, &releases, stack.pending.is_none(), &self.clock))
            (self.happened(&story))
            (self.changes("Changes", &story, CHANGES_LONG, false))
        };
        Ok((format!("{name}: {}", parts::plain(verdict.sentence.trim_end_matches('.'))), content))
    }

    async fn service(&self, stack: &StackName, name: &ServiceName) -> Result<Content, Failure> {
        let status = self.known(stack).await?;
        let service = service_in(&status, name)?;
        let story = self.story(Some(stack), Some(name), CHANGES_LONG).await?;
        let lines = self.last_lines(stack, name).await;
        let passed = self.passed(&status, name).await;
        let verdict = verdict::of_service(service);
        let address = format!("/stacks/{stack}/services/{name}");
        let names = Names::of(std::slice::from_ref(&status));
        let wanted =
            of_signal::banded(charts::service(stack.as_str(), name.as_str()), &self.bands(stack, name).await);
        let charts = self.charts(wanted, &address, (&marks(&story), &names)).await;
        let content = html! {
            (headline(&verdict, false))
            (parts::service_line(service, &status.addresses, &self.clock))
            (parts::actions(self.caller.session(), &address, &actions_in(service.state)))
            section #instances {
                h2 { "Instances" }
                (parts::instances(stack, [(service, service.instances.as_slice())], &self.clock))
            }
            (traffic::section(passed.as_ref(), stack, name))
            (charts)
            (self.happened(&story))
            section #output {
                h2 { "Last output" }
                p { a href=(logs::of_service(stack.as_str(), name.as_str())) { "Search all of it" } }
                (parts::log(&lines, &self.clock, service.replicas > 1))
            }
            (self.changes("Changes", &story, CHANGES_LONG, false))
        };
        Ok((format!("{name} in {stack}"), content))
    }

    async fn node(&self, name: &str) -> Result<Content, Failure> {
        let charts =
            self.charts(charts::node(name), &panel::node_address(name), (&[], &Names::default())).await;
        let content = html! {
            h1 { (parts::plain(name)) }
            (charts)
        };
        Ok((parts::plain(name).into_owned(), content))
    }

    async fn instance(
        &self,
        stack: &StackName,
        name: &ServiceName,
        id: &InstanceId,
    ) -> Result<Content, Failure> {
        let status = self.known(stack).await?;
        let service = service_in(&status, name)?;
        let story = self.story(Some(stack), Some(name), CHANGES_LONG).await?;
        let here: Vec<_> = service.instances.iter().filter(|one| one.id == *id).cloned().collect();
        let address = Subject::Instance(stack.clone(), name.clone(), id.clone()).address();
        let names = Names::of(std::slice::from_ref(&status));
        let wanted = charts::instance(id.as_str());
        let charts = self.charts(wanted, &address, (&marks(&story), &names)).await;
        let content = html! {
            h1 { @if let Some(one) = here.first() { (parts::icon(one.state)) } (names.name(id.as_str())) }
            @if here.is_empty() { p.quiet { "It is not there any more. What was measured of it is kept." } }
            @else { section #instances { (parts::instances(stack, [(service, here.as_slice())], &self.clock)) } }
            @if let Some(one) = here.first() {
                p { a href=(logs::of_instance(stack.as_str(), name.as_str(), one.slot)) { "What it wrote" } }
            }
            (charts)
        };
        Ok((format!("{id} in {stack}"), content))
    }

    async fn route(&self, stack: &StackName, name: &ServiceName, number: u32) -> Result<Content, Failure> {
        let status = self.known(stack).await?;
        service_in(&status, name)?;
        let story = self.story(Some(stack), Some(name), CHANGES_LONG).await?;
        let address = Subject::Route(stack.clone(), name.clone(), number).address();
        let names = Names::of(std::slice::from_ref(&status));
        let wanted = charts::route(stack.as_str(), name.as_str(), number);
        let charts = self.charts(wanted, &address, (&marks(&story), &names)).await;
        let content = html! {
            h1 { "Route " (number) " of " (name) }
            p.quiet { code { "juchu route test URL" } " says which requests it takes." }
            (charts)
        };
        Ok((format!("route {number} of {name} in {stack}"), content))
    }

    pub(super) async fn charts(
        &self,
        wanted: Vec<charts::Wanted>,
        address: &str,
        marks: (&[Mark], &Names),
    ) -> Markup {
        let from = self.clock.now.0 - self.range.seconds() * 1000;
        let (marks, names) = marks;
        let marks: Vec<Mark> = marks.iter().filter(|mark| mark.at.0 >= from).cloned().collect();
        charts::section(self.shelf, wanted, self.range, address, (&marks, names), &self.clock).await
    }

    async fn passed(&self, stack: &StackStatus, service: &ServiceName) -> Option<traffic::Passed> {
        let names = Names::of(std::slice::from_ref(stack));
        self.looks.of(self.control, format!("{}/{service}", stack.name), &names).await
    }

    async fn known(&self, name: &StackName) -> Result<StackStatus, Failure> {
        let stacks = self.control.stacks().await?;
        stacks.into_iter().find(|s| s.name == *name).ok_or_else(|| {
            let report = Report::usage(format!("there is no stack `{name}`"))
                .hint("it may have been taken down; `juchu history` tells");
            Failure::new(StatusCode::NOT_FOUND, report)
        })
    }

    async fn story(
        &self,
        stack: Option<&StackName>,
        service: Option<&ServiceName>,
        changes: usize,
    ) -> Result<Story, Failure> {
        let query = HistoryQuery {
            stack: stack.cloned(),
            service: service.cloned(),
            after: None,
            changes_only: true,
            limit: changes * ENTRIES_PER_CHANGE,
        };
        Ok(Story::of(&self.control.history(query).await?))
    }

    /// What there is of the last lines after a short wait; none when they cannot be read.
    async fn last_lines(&self, stack: &StackName, service: &ServiceName) -> Vec<ServiceLine> {
        let query = LogQuery { follow: false, tail: Some(LOG_LINES), since: None };
        let mut lines = Vec::new();
        let reading = async {
            let Ok(mut receiver) = self.control.logs(stack, std::slice::from_ref(service), query).await
            else {
                return;
            };
            while lines.len() < LOG_LINES {
                match receiver.recv().await {
                    Some(line) => lines.push(line),
                    None => return,
                }
            }
        };
        // A time limit that passes leaves what was read so far.
        let _ = tokio::time::timeout(LOG_WAIT, reading).await;
        lines
    }

    fn changes(&self, title: &str, story: &Story, limit: usize, with_stack: bool) -> Markup {
        let newest: Vec<_> = story.changes.iter().rev().take(limit).collect();
        html! {
            @if !newest.is_empty() {
                section #changes { h2 { (title) } (parts::changes(&newest, &self.clock, with_stack)) }
            }
        }
    }

    fn happened(&self, story: &Story) -> Markup {
        let newest: Vec<_> = story.incidents.iter().rev().take(INCIDENTS_MAX).collect();
        html! {
            @if !newest.is_empty() {
                section #incidents { h2 { "Incidents" } (parts::incidents(&newest, &self.clock)) }
            }
        }
    }
}

/// The moments that a chart shows: when what runs was changed.
pub(super) fn marks(story: &Story) -> Vec<Mark> {
    let mark = |change: &crate::story::Change| Mark {
        at: change.at,
        text: format!("{}, {}", change.what(), change.outcome_word()),
    };
    story.changes.iter().map(mark).collect()
}

fn service_in<'s>(stack: &'s StackStatus, name: &ServiceName) -> Result<&'s ServiceStatus, Failure> {
    stack.services.iter().find(|service| service.name == *name).ok_or_else(|| {
        let report = Report::usage(format!("{} has no service `{name}`", stack.name))
            .hint(format!("it has {}", names(&stack.services)));
        Failure::new(StatusCode::NOT_FOUND, report)
    })
}

fn headline(verdict: &Verdict, nothing: bool) -> Markup {
    html! {
        h1 {
            @if !nothing { (parts::icon(verdict.state)) }
            (parts::plain(&verdict.sentence))
        }
    }
}

/// The actions that make sense in a state, as their words.
fn actions_in(state: State) -> Vec<&'static str> {
    match state {
        State::Stopped | State::Done => vec!["start"],
        _ => vec!["restart", "stop"],
    }
}

fn stack_actions(stack: &StackStatus) -> Vec<&'static str> {
    match stack.pending {
        Some(_) => vec![],
        None => actions_in(stack.state),
    }
}

fn names(services: &[ServiceStatus]) -> String {
    let names: Vec<_> = services.iter().map(|s| s.name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
