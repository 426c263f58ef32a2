//! The three pages: everything, one stack, one service. Each is drawn from fresh answers.

use super::parts;
use super::releases;
use super::traffic::{self, Looks};
use super::verdict::{self, Verdict};
use crate::api::Failure;
use crate::caller::Caller;
use crate::serve::App;
use crate::story::Story;
use crate::traffic::Names;
use crate::when::Clock;
use axum::http::StatusCode;
use maud::{Markup, html};
use model::{IdError, Report, ServiceName, StackName};
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

/// What a page is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Home,
    Stack(StackName),
    Service(StackName, ServiceName),
}

/// A page ready to be shown.
pub struct Drawn {
    pub title: String,
    /// Names and addresses from the first page to here.
    pub path: Vec<(String, String)>,
    pub failure: Option<Failure>,
    content: Markup,
}

impl Subject {
    pub fn stack(stack: &str) -> Result<Self, Failure> {
        Ok(Self::Stack(StackName::new(stack).map_err(not_found)?))
    }

    pub fn service(stack: &str, service: &str) -> Result<Self, Failure> {
        let stack = StackName::new(stack).map_err(not_found)?;
        Ok(Self::Service(stack, ServiceName::new(service).map_err(not_found)?))
    }

    /// Names of stacks and services need no escaping in an address.
    pub fn address(&self) -> String {
        match self {
            Subject::Home => "/".to_owned(),
            Subject::Stack(stack) => format!("/stacks/{stack}"),
            Subject::Service(stack, service) => format!("/stacks/{stack}/services/{service}"),
        }
    }

    fn path(&self) -> Vec<(String, String)> {
        let stack = |stack: &StackName| (stack.to_string(), Self::Stack(stack.clone()).address());
        match self {
            Subject::Home => vec![],
            Subject::Stack(name) => vec![stack(name)],
            Subject::Service(name, service) => vec![stack(name), (service.to_string(), self.address())],
        }
    }
}

impl Drawn {
    /// The part that is sent again when it changes.
    pub fn main(&self) -> Markup {
        html! { main data-live data-title={ (self.title) " · Juchu" } { (self.content) } }
    }
}

/// Asks and draws; a failure is drawn too.
pub async fn draw(app: &App, caller: &Caller, subject: &Subject) -> Drawn {
    let desk = Desk { control: app.control.as_ref(), caller, looks: &app.looks, clock: Clock::system() };
    let drawn = match tokio::time::timeout(ANSWER_WAIT, desk.draw(subject)).await {
        Ok(drawn) => drawn,
        Err(_) => Err(Report::environment("the daemon is busy and gave no answer within 10 s")
            .hint("reload the page; `juchu doctor`")
            .into()),
    };
    let (title, content, failure) = match drawn {
        Ok((title, content)) => (title, content, None),
        Err(failure) => ("Cannot be shown".to_owned(), broken(&failure), Some(failure)),
    };
    Drawn { title, path: subject.path(), failure, content }
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

fn not_found(error: IdError) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, Report::usage(error.to_string()))
}

/// What drawing needs at hand.
struct Desk<'a> {
    control: &'a dyn Control,
    caller: &'a Caller,
    looks: &'a Looks,
    clock: Clock,
}

type Content = (String, Markup);

impl Desk<'_> {
    async fn draw(&self, subject: &Subject) -> Result<Content, Failure> {
        match subject {
            Subject::Home => self.home().await,
            Subject::Stack(stack) => self.stack(stack).await,
            Subject::Service(stack, service) => self.service(stack, service).await,
        }
    }

    async fn home(&self) -> Result<Content, Failure> {
        let stacks = self.control.stacks().await?;
        let story = self.story(None, None, CHANGES_SHORT).await?;
        let verdict = verdict::of_all(&stacks);
        let content = html! {
            (headline(&verdict, stacks.is_empty()))
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
                (parts::instances(stack.services.iter().map(|s| (s, s.instances.as_slice())), &self.clock))
            }
            (releases::releases(session, name, &releases, stack.pending.is_none(), &self.clock))
            (self.incidents(&story))
            (self.changes("Changes", &story, CHANGES_LONG, false))
        };
        Ok((format!("{name}: {}", parts::plain(verdict.sentence.trim_end_matches('.'))), content))
    }

    async fn service(&self, stack: &StackName, name: &ServiceName) -> Result<Content, Failure> {
        let status = self.known(stack).await?;
        let Some(service) = status.services.iter().find(|s| s.name == *name) else {
            let report = Report::usage(format!("{stack} has no service `{name}`"))
                .hint(format!("it has {}", names(&status.services)));
            return Err(Failure::new(StatusCode::NOT_FOUND, report));
        };
        let story = self.story(Some(stack), Some(name), CHANGES_LONG).await?;
        let lines = self.last_lines(stack, name).await;
        let passed = self.passed(&status, name).await;
        let verdict = verdict::of_service(service);
        let address = format!("/stacks/{stack}/services/{name}");
        let content = html! {
            (headline(&verdict, false))
            (parts::service_line(service, &status.addresses, &self.clock))
            (parts::actions(self.caller.session(), &address, &actions_in(service.state)))
            section #instances {
                h2 { "Instances" }
                (parts::instances([(service, service.instances.as_slice())], &self.clock))
            }
            (traffic::section(passed.as_ref()))
            (self.incidents(&story))
            section #output {
                h2 { "Last output" }
                (parts::log(&lines, &self.clock, service.replicas > 1))
            }
            (self.changes("Changes", &story, CHANGES_LONG, false))
        };
        Ok((format!("{name} in {stack}"), content))
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

    fn incidents(&self, story: &Story) -> Markup {
        let newest: Vec<_> = story.incidents.iter().rev().take(INCIDENTS_MAX).collect();
        html! {
            @if !newest.is_empty() {
                section #incidents { h2 { "Incidents" } (parts::incidents(&newest, &self.clock)) }
            }
        }
    }
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
