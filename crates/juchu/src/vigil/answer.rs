//! What people ask about ranges, incidents and who is told.

use super::{Vigil, now_ms};
use alerts::{Kind, Message, Receiver, ReceiverError, What};
use async_trait::async_trait;
use model::range::{Bounds, Declared, Level};
use model::{ErrorKind, Report, StackName};
use run::ranges::{
    IncidentStatus, Note, ObjectiveStatus, RangeChange, RangeStatus, Ranges, ReceiverRequest, ReceiverStatus,
    SignalName, SignalNote, Silence, SilenceRequest, Subject, Words,
};
use store::record::v1::{Event, IncidentStep};

/// A silence lasts at most so long: 30 days.
const SILENCE_MAX_MS: u64 = 30 * 24 * 60 * 60 * 1000;

#[async_trait]
impl Ranges for Vigil {
    async fn ranges(&self) -> Result<Vec<RangeStatus>, Report> {
        Ok(self.state().ranges())
    }

    async fn set(&self, request: RangeChange) -> Result<RangeStatus, Report> {
        let name = self.known(&request.signal)?;
        let declared = self.declared(&name, &request)?;
        let text = declared.as_ref().map_or_else(|| "as its file says".to_owned(), words);
        {
            let mut state = self.state();
            match declared {
                Some(declared) => drop(state.overrides.insert(name.to_string(), declared)),
                None => drop(state.overrides.remove(&name.to_string())),
            }
            state.apply_override(&name);
        }
        let status = self.status(&name);
        if self.state().overrides.get(&name.to_string()).is_some_and(|declared| declared.off) {
            self.state().forget(&name);
        }
        self.changed(&name, text, request.why, &request.actor).await;
        status
    }

    async fn accept(&self, request: SignalNote) -> Result<RangeStatus, Report> {
        let name = self.known(&request.signal)?;
        let accepted = self.state().accept(&name, now_ms());
        let band = accepted.ok_or_else(|| {
            Report::usage(format!("{name} has no values of the last minutes that could be normal"))
                .hint("juchu range ls")
        })?;
        // Somebody was told that it is so: it must outlive a daemon that dies now.
        self.end();
        self.changed(&name, format!("{band} is the new normal"), request.why, &request.actor).await;
        self.status(&name)
    }

    async fn objectives(&self) -> Result<Vec<ObjectiveStatus>, Report> {
        Ok(self.state().promised.statuses(now_ms()))
    }

    async fn incidents(&self) -> Result<Vec<IncidentStatus>, Report> {
        let state = self.state();
        let now_ms = now_ms();
        Ok(state.book.all().filter_map(|incident| state.incident(incident.number, now_ms)).collect())
    }

    async fn acknowledge(&self, number: u64, request: Words) -> Result<IncidentStatus, Report> {
        let note = Note { by: request.actor.clone(), at_ms: now_ms(), why: request.why.clone() };
        if !self.state().book.acknowledge(number, note) {
            return Err(no_incident(number));
        }
        let status = self.state().incident(number, now_ms()).ok_or_else(|| no_incident(number))?;
        self.write_book();
        let text = if request.why.is_empty() { status.text.clone() } else { request.why };
        self.note(&status.incident, IncidentStep::Acknowledged, text, &request.actor).await;
        Ok(status)
    }

    async fn silence(&self, request: SilenceRequest) -> Result<Silence, Report> {
        let now_ms = now_ms();
        let incident = match request.incident {
            Some(number) => {
                Some(self.state().incident(number, now_ms).ok_or_else(|| no_incident(number))?.incident)
            }
            None => None,
        };
        let (subject, signal) = match (&incident, &request.what) {
            (Some(incident), _) => (Some(incident.subject.clone()), None),
            (None, Some(what)) => matched(what)?,
            (None, None) => (None, None),
        };
        if request.lasting.0 == 0 || request.lasting.0 > SILENCE_MAX_MS {
            return Err(Report::usage("a silence lasts up to 30 days").hint("--for 2h"));
        }
        let silence = Silence {
            subject,
            signal,
            until_ms: now_ms + request.lasting.0 as i64,
            by: request.actor.clone(),
            why: request.why.clone(),
        };
        if !self.state().book.silence(silence.clone(), now_ms) {
            return Err(Report::new(ErrorKind::Conflict, "there are 100 silences already")
                .hint("they end by themselves; silence a whole stack instead"));
        }
        self.write_book();
        if let Some(incident) = &incident {
            let text = format!("for {}", request.lasting);
            self.note(incident, IncidentStep::Silenced, text, &request.actor).await;
        }
        Ok(silence)
    }

    async fn receivers(&self) -> Result<Vec<ReceiverStatus>, Report> {
        Ok(self.alerts.status().into_iter().map(shown).chain(self.unusable()).collect())
    }

    async fn add_receiver(&self, request: ReceiverRequest) -> Result<ReceiverStatus, Report> {
        let kind = kind(&request.kind)?;
        let receiver = Receiver::new(&request.name, kind, &request.url, request.least).map_err(refused)?;
        self.receivers().add(receiver).map_err(refused)?;
        self.employ();
        let mut all = self.alerts.status().into_iter().map(shown);
        all.find(|status| status.name == request.name)
            .ok_or_else(|| Report::internal("the receiver was removed"))
    }

    async fn remove_receiver(&self, name: &str) -> Result<(), Report> {
        if name.contains('/') && self.receiver(name).is_some() {
            return Err(Report::usage(format!("{name} is declared by a file"))
                .hint("take it out of `x-juchu.notify`, then `juchu up`"));
        }
        self.receivers().remove(name).map_err(refused)?;
        self.employ();
        Ok(())
    }

    async fn test_receiver(&self, name: &str) -> Result<(), Report> {
        let receiver = self.receiver(name).ok_or_else(|| refused(ReceiverError::Unknown(name.to_owned())))?;
        let message = self.test_message();
        let tried = tokio::task::spawn_blocking(move || alerts::try_out(&receiver, &message)).await;
        let tried = tried.map_err(|error| Report::internal(error.to_string()))?;
        tried.map_err(|error| {
            Report::environment(format!("{name} was not told: {error}"))
                .hint("`juchu notify ls` shows its host; `juchu notify rm` and `add` give it another address")
        })
    }
}

impl Vigil {
    fn known(&self, text: &str) -> Result<SignalName, Report> {
        let unknown =
            || Report::usage(format!("there is no signal {text}")).hint("`juchu range ls` lists them");
        let name = SignalName::parse(text).ok_or_else(unknown)?;
        let state = self.state();
        let is_known = state.range(&name).is_some() || state.overrides.contains_key(&name.to_string());
        is_known.then_some(name).ok_or_else(unknown)
    }

    fn status(&self, name: &SignalName) -> Result<RangeStatus, Report> {
        let found = self.state().range(name);
        found
            .ok_or_else(|| Report::usage(format!("{name} has no value yet")).hint("ask again in ten seconds"))
    }

    /// What is to hold from now on; none: what the file says.
    fn declared(&self, name: &SignalName, request: &RangeChange) -> Result<Option<Declared>, Report> {
        if request.declared.is_none() && request.min.is_none() && request.max.is_none() {
            return Ok(None);
        }
        let unit = self.state().unit(name).unwrap_or(model::range::Unit::Number);
        let read = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => unit.parse(text).filter(|value| value.is_finite()).map(Some).ok_or_else(|| {
                Report::usage(format!("{text} is no value of {name}")).hint("such as 400ms, 1%, 512mb, 3")
            }),
        };
        let mut declared = request.declared.clone().unwrap_or_default();
        let (low, high) = (read(&request.min)?, read(&request.max)?);
        if low.is_some() || high.is_some() {
            let bounds = Bounds::new(low, high);
            declared.bounds = Some(bounds.map_err(|error| {
                Report::usage(error.to_string()).hint(format!("juchu range set {name} --min LOW --max HIGH"))
            })?);
        }
        Ok(Some(declared))
    }

    async fn changed(&self, name: &SignalName, text: String, why: String, actor: &str) {
        self.write_book();
        let event = Event::RangeChanged {
            service: name.subject.service.clone(),
            signal: name.signal.clone(),
            text,
            why,
        };
        self.write_down(name.subject.stack.clone(), actor, event).await;
    }

    fn test_message(&self) -> Message {
        Message {
            what: What::Test,
            incident: 0,
            level: Level::Information,
            machine: self.machine.clone(),
            subject: "machine".to_owned(),
            stack: None,
            service: None,
            release: None,
            signal: "test".to_owned(),
            value: "fine".to_owned(),
            range: "fine".to_owned(),
            text: "messages arrive here".to_owned(),
            changed: String::new(),
            suspects: Vec::new(),
            command: "juchu notify ls".to_owned(),
            opened_ms: now_ms(),
            at_ms: now_ms(),
        }
    }
}

fn words(declared: &Declared) -> String {
    let mut parts = Vec::new();
    if declared.off {
        parts.push("not watched".to_owned());
    }
    parts.extend(declared.bounds.map(|bounds| bounds.to_string()));
    if !declared.learn {
        parts.push("without a learned band".to_owned());
    }
    parts.extend(declared.level.map(|level| level.word().to_owned()));
    if parts.is_empty() { "watched".to_owned() } else { parts.join(", ") }
}

/// `shop`, `shop/web`, `shop/web/p95`, `machine`, `machine/cpu`.
fn matched(what: &str) -> Result<(Option<Subject>, Option<String>), Report> {
    if what == "machine" {
        return Ok((Some(Subject::MACHINE), None));
    }
    if let Some(name) = SignalName::parse(what) {
        return Ok((Some(name.subject), Some(name.signal)));
    }
    let wrong = || {
        Report::usage(format!("{what} is neither a stack, a service nor a signal"))
            .hint("such as shop, shop/web, shop/web/p95 or machine")
    };
    let (stack, service) = match what.split_once('/') {
        Some((stack, service)) => (stack, Some(model::ServiceName::new(service).map_err(|_| wrong())?)),
        None => (what, None),
    };
    Ok((Some(Subject { stack: Some(StackName::new(stack).map_err(|_| wrong())?), service }), None))
}

fn no_incident(number: u64) -> Report {
    Report::usage(format!("there is no incident {number}")).hint("`juchu incidents --all` lists them")
}

fn refused(error: ReceiverError) -> Report {
    match error {
        ReceiverError::Name(_) | ReceiverError::Url => {
            Report::usage(error.to_string()).hint("juchu notify add ops webhook https://example.org/hook")
        }
        ReceiverError::Post => Report::usage(error.to_string()).hint("juchu notify add team mail < FILE"),
        ReceiverError::Known(_) | ReceiverError::Unknown(_) | ReceiverError::TooMany => {
            Report::usage(error.to_string()).hint("juchu notify ls")
        }
        _ => Report::from_error(ErrorKind::Environment, &error).hint("juchu doctor"),
    }
}

pub fn kind(text: &str) -> Result<Kind, Report> {
    match text {
        "webhook" => Ok(Kind::Webhook),
        "slack" => Ok(Kind::Slack),
        "alertmanager" => Ok(Kind::Alertmanager),
        "mail" => Ok(Kind::Mail),
        other => Err(Report::usage(format!("{other} is no kind of receiver"))
            .hint("webhook, slack, alertmanager or mail")),
    }
}

pub fn shown(status: alerts::ReceiverStatus) -> ReceiverStatus {
    ReceiverStatus {
        name: status.name,
        kind: status.kind.word().to_owned(),
        place: status.place,
        least: status.least,
        waiting: status.waiting,
        sent: status.sent,
        failures: status.failures,
        given_up: status.given_up,
        last_sent_ms: status.last_sent_ms,
        trouble: status.trouble,
    }
}
