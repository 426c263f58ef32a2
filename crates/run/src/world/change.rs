//! A change from its acceptance to the release that is made for it.

use super::stack::StackState;
use super::{Message, World};
use crate::control::{ChangeRequest, Conclusion, Progress};
use crate::making::{self, Made, Order};
use crate::preflight;
use crate::releases;
use model::subnet::Cidr;
use model::{Digest, ErrorKind, Release, ReleaseId, Report, ServiceName, Stack, StackName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::record::v1::{Event, Intent, Outcome};

impl World {
    /// Accepts a change, or says why not; nothing is done yet.
    pub async fn submit(&mut self, mut request: ChangeRequest) -> Result<u64, Report> {
        self.refuse_conflict(&request)?;
        self.check_known(&request)?;
        if request.services.is_empty()
            && matches!(request.intent, Intent::Stop | Intent::Start | Intent::Restart { .. })
        {
            let active = self.stacks.get(&request.stack).and_then(|s| s.active.clone());
            request.services = active.iter().flat_map(|r| r.stack.services.keys().cloned()).collect();
        }
        if matches!(request.intent, Intent::Restart { .. }) {
            let active = self.stacks.get(&request.stack).and_then(|s| s.active.clone());
            let services = active.as_ref().map(|release| &release.stack.services);
            request.services = plan::restarted_with(services, request.services);
        }
        if let Intent::Rollback { to } = request.intent {
            let target = self.rollback_target(&request.stack, &request.services, to).await?;
            request.intent = Intent::Rollback { to: Some(target) };
        }
        if let Intent::Restart { at } = &mut request.intent {
            // Whichever clock is behind: what starts from now on is later than this.
            *at = self.now().min(self.parts.machine.now());
        }
        if let Intent::Promote { release } = request.intent {
            let from = request.from.clone().filter(|from| *from != request.stack);
            let from = from.ok_or_else(|| Report::usage("a release is promoted from another stack"))?;
            // Fixed now: what is in force there may change before it is made.
            let source = self.promoted(&from, release)?;
            request.intent = Intent::Promote { release: Some(source.id) };
            request.from = Some(from);
        }
        let ended = self.superseded(&request.stack);
        let mut events: Vec<_> = ended.iter().map(|ended| (concluded(ended), Vec::new())).collect();
        let mut digest = None;
        let mut blobs = Vec::new();
        if let Some(declared) = request.declared.take() {
            let stack = self.complete(&request, declared)?;
            let bytes = serde_json::to_vec(&stack).expect("plain data always serialises");
            digest = Some(Digest::of(&bytes));
            blobs.push(bytes);
        }
        let accepted = Event::ChangeAccepted {
            intent: request.intent,
            stack: digest,
            services: request.services,
            why: request.why,
            from: request.from,
            again: request.again,
        };
        events.push((accepted, blobs));
        let written = self.record(&request.stack, &request.actor, events).await?;
        let change = *written.last().expect("at least one entry was written");
        if let Some(ended) = ended {
            self.stories.say(ended.change, Progress::Concluded(ended));
        }
        self.stories.say(change, Progress::Accepted { change, at: self.now() });
        Ok(change)
    }

    fn refuse_conflict(&self, request: &ChangeRequest) -> Result<(), Report> {
        let pending = self.stacks.get(&request.stack).and_then(|s| s.view.pending.as_ref());
        match pending {
            Some(p) if !matches!(request.intent, Intent::Down { .. }) => {
                let since = self.now().since(p.at);
                let text = format!(
                    "the stack {} is held by {} of {}, begun {since} ago",
                    request.stack,
                    p.intent.word(),
                    p.actor
                );
                Err(Report::new(ErrorKind::Conflict, text).hint("juchu ps").hint("juchu history"))
            }
            _ => Ok(()),
        }
    }

    /// The release whose images are promoted: kept, and in another stack.
    fn promoted(&self, from: &StackName, release: Option<ReleaseId>) -> Result<Arc<Release>, Report> {
        let Some(source) = self.stacks.get(from) else {
            return Err(Report::usage(format!("there is no stack {from} to promote from")).hint("juchu ps"));
        };
        match release.or(source.view.kept) {
            Some(id) => releases::find(&source.view, self.parts.ledger.as_ref(), id).map(Arc::new),
            None => Err(Report::usage(format!("the stack {from} has no release that was kept"))
                .hint(format!("juchu -p {from} releases"))),
        }
    }

    fn check_known(&self, request: &ChangeRequest) -> Result<(), Report> {
        let active = self.stacks.get(&request.stack).and_then(|s| s.active.as_deref());
        let known: Vec<&ServiceName> = match (&request.declared, active) {
            (Some(stack), _) => stack.services.keys().collect(),
            (None, Some(release)) => release.stack.services.keys().collect(),
            (None, None)
                if matches!(request.intent, Intent::Down { .. })
                    && self.stacks.contains_key(&request.stack) =>
            {
                return Ok(());
            }
            (None, None) => {
                return Err(Report::usage(format!("there is no stack {}", request.stack)).hint("juchu up"));
            }
        };
        match request.services.iter().find(|s| !known.contains(s)) {
            Some(unknown) => {
                let names: Vec<&str> = known.iter().map(|n| n.as_str()).collect();
                Err(Report::usage(format!("there is no service {unknown} in the stack {}", request.stack))
                    .hint(format!("its services are {}", names.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// A removal takes the place of whatever is going on; how that ends.
    fn superseded(&mut self, name: &StackName) -> Option<Conclusion> {
        let now = self.now();
        let state = self.stacks.get_mut(name)?;
        if let Some(cancel) = state.making.take() {
            cancel.store(true, Ordering::Relaxed);
        }
        let pending = state.view.pending.as_ref()?;
        Some(Conclusion {
            change: pending.change,
            outcome: Outcome::Superseded,
            reason: "the stack is being removed".to_owned(),
            release: pending.release,
            took: now.since(pending.at),
            addresses: Vec::new(),
            report: None,
            last_lines: Vec::new(),
            before: None,
            warm_until: None,
            figures: Vec::new(),
        })
    }

    /// The stack as it shall be: defaults of components filled in; with only some services asked
    /// for, the others stay as they are; then everything that can be checked beforehand.
    pub fn complete(&self, request: &ChangeRequest, declared: Stack) -> Result<Stack, Report> {
        let mut stack = declared;
        self.parts.images.complete(&mut stack)?;
        let state = self.stacks.get(&request.stack);
        let active = state.and_then(|s| s.active.as_deref());
        if !request.services.is_empty() {
            restrict(&mut stack, active, &request.services);
        }
        let others: Vec<&Release> = self
            .stacks
            .iter()
            .filter(|(n, _)| **n != request.stack)
            .filter_map(|(_, s)| s.active.as_deref())
            .collect();
        preflight::check(&stack, active, &others, self.parts.machine.as_ref())?;
        Ok(stack)
    }

    /// Starts making the release of the pending change, unless that is done or under way.
    pub fn begin_making(&mut self, name: &StackName) {
        let order = match self.order(name) {
            Ok(Some(order)) => order,
            Ok(None) => return,
            Err(report) => return self.cannot_make(name, report),
        };
        let cancel = Arc::new(AtomicBool::new(false));
        let state = self.stacks.get_mut(name).expect("an order is made for a known stack");
        state.making = Some(Arc::clone(&cancel));
        let Some(messages) = self.messages.upgrade() else { return };
        let (parts, stories) = (Arc::clone(&self.parts), Arc::clone(&self.stories));
        let (stack, change) = (name.clone(), order.change);
        tokio::spawn(async move {
            let images = Arc::clone(&parts.images);
            let result = making::make(order, images, stories, &parts.settings.files, cancel).await;
            // The loop has ended: the change is still pending and is made by the next one.
            let _ = messages.send(Message::Made { stack, change, result: Box::new(result) }).await;
        });
    }

    /// The change ends with it, as one whose images could not be built.
    fn cannot_make(&mut self, name: &StackName, report: Report) {
        let Some(state) = self.stacks.get_mut(name) else { return };
        let (Some(change), Some(messages)) = (state.change(), self.messages.upgrade()) else { return };
        state.making = Some(Arc::default());
        let stack = name.clone();
        tokio::spawn(async move {
            let result = Box::new(Err(report));
            // The loop has ended: the next one comes to the same end.
            let _ = messages.send(Message::Made { stack, change, result }).await;
        });
    }

    fn order(&self, name: &StackName) -> Result<Option<Order>, Report> {
        let Some(state) = self.stacks.get(name) else { return Ok(None) };
        let Some(pending) = &state.view.pending else { return Ok(None) };
        let Some(declared) =
            pending.stack.as_ref().filter(|_| pending.release.is_none() && state.making.is_none())
        else {
            return Ok(None);
        };
        let stack: Stack = self.blob(declared)?;
        let fresh = matches!(pending.intent, Intent::Deploy).then(|| pending.services.clone());
        let promoted = match (&pending.from, pending.intent) {
            (Some(from), Intent::Promote { release }) => Some(self.promoted(from, release)?),
            _ => None,
        };
        Ok(Some(Order {
            change: pending.change,
            stack,
            fresh,
            previous: state.active.clone(),
            promoted,
            known: state.view.images.clone(),
            taken: self.taken_subnets(name),
            others: self.other_releases(name),
            home: self.parts.home.display().to_string(),
            id: ReleaseId(state.view.newest + 1),
            now: self.now(),
        }))
    }

    /// Subnets of the host and of the other stacks; our own bridges are not in the way of
    /// ourselves.
    pub fn taken_subnets(&self, name: &StackName) -> Vec<Cidr> {
        let of = |s: &StackState| -> Vec<Cidr> {
            let addresses = s.active.iter().flat_map(|r| r.addresses.values());
            addresses.filter_map(plan::address::subnet_of).collect()
        };
        let own: BTreeSet<Cidr> = self.stacks.get(name).map(of).unwrap_or_default().into_iter().collect();
        let others = self.stacks.iter().filter(|(n, _)| *n != name).flat_map(|(_, s)| of(s));
        let host = self.parts.machine.subnets().into_iter().filter(|c| !own.iter().any(|o| o.overlaps(*c)));
        others.chain(host).collect()
    }

    fn other_releases(&self, name: &StackName) -> Vec<Arc<Release>> {
        let others = self.stacks.iter().filter(|(other, _)| *other != name);
        others.filter_map(|(_, state)| state.active.clone()).collect()
    }

    pub fn blob<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T, Report> {
        let found = self
            .parts
            .ledger
            .blob(digest)
            .map_err(|error| Report::from_error(ErrorKind::Internal, &error))?
            .ok_or_else(|| Report::internal(format!("the journal lacks the content {}", digest.short())))?;
        serde_json::from_slice(&found)
            .map_err(|error| Report::internal(format!("read the content {}: {error}", digest.short())))
    }

    /// A release is made, or cannot be.
    pub async fn made(&mut self, name: &StackName, change: u64, result: Result<Made, Report>) {
        let Some(state) = self.stacks.get_mut(name) else { return };
        if state.change() != Some(change) {
            return;
        }
        state.making = None;
        match result {
            Ok(mut made) => {
                // Meanwhile another stack may have taken what was free when the making began.
                if let Err(report) = self.address_again(name, &mut made.release) {
                    return self.fail(name, report, None).await;
                }
                if let Some(report) = self.rolled_back_before(name, &made) {
                    return self.fail(name, report, None).await;
                }
                if let Err(report) = self.activate(name, change, made).await {
                    self.fail(name, report, None).await;
                }
            }
            Err(report) => self.fail(name, report, None).await,
        }
    }

    /// What was rolled back is not tried again unless something differs, or somebody says so.
    fn rolled_back_before(&self, name: &StackName, made: &Made) -> Option<Report> {
        let state = self.stacks.get(name)?;
        let is_forced = state.view.pending.as_ref().is_some_and(|pending| pending.again);
        let is_in_force = state.active.as_deref().is_some_and(|active| making::same(active, &made.release));
        if is_forced || is_in_force {
            return None;
        }
        releases::rolled_back_as(&state.view, &made.made_of)
    }

    fn address_again(&self, name: &StackName, release: &mut Release) -> Result<(), Report> {
        let previous = self.stacks.get(name).and_then(|state| state.active.clone());
        let (taken, others) = (self.taken_subnets(name), self.other_releases(name));
        let home = self.parts.home.display().to_string();
        release.addresses = making::addresses(&release.stack, previous.as_deref(), &taken, &home, &others)?;
        Ok(())
    }

    async fn activate(&mut self, name: &StackName, change: u64, made: Made) -> Result<(), Report> {
        let state = self.stacks.get_mut(name).expect("checked by the caller");
        let mut events: Vec<(Event, Vec<Vec<u8>>)> = made
            .built
            .into_iter()
            .map(|(service, inputs, image)| (Event::ImageBuilt { service, inputs, image }, Vec::new()))
            .collect();
        let made_of = Some(made.made_of);
        let before = state.active.clone();
        let same = before.as_ref().filter(|b| making::same(b, &made.release)).cloned();
        let (release, reason) = match &same {
            Some(active) => (Arc::clone(active), "nothing differs"),
            None => (Arc::new(made.release), "declared"),
        };
        if same.is_none() {
            let differences = making::tell_differences(&self.stories, change, before.as_deref(), &release);
            let bundle = serde_json::to_vec(&*release).expect("plain data always serialises");
            let digest = Digest::of(&bundle);
            events.push((
                Event::ReleaseMade { release: release.id, change, bundle: digest, differences, made_of },
                vec![bundle],
            ));
        }
        let activated =
            Event::ReleaseActivated { release: Some(release.id), change, reason: reason.to_owned() };
        events.push((activated, Vec::new()));
        self.record(name, "juchu", events).await?;
        if let Some(state) = self.stacks.get_mut(name) {
            state.active = Some(release);
            state.acted |= same.is_none();
        }
        Ok(())
    }
}

fn concluded(ended: &Conclusion) -> Event {
    Event::Concluded {
        change: ended.change,
        outcome: ended.outcome,
        release: ended.release,
        reason: ended.reason.clone(),
        took_ms: ended.took.0,
        figures: Vec::new(),
    }
}

/// Keeps `services` and what they depend on as declared; the rest stays as it is in force.
pub fn restrict(stack: &mut Stack, active: Option<&Release>, services: &[ServiceName]) {
    let mut wanted: BTreeSet<ServiceName> = BTreeSet::new();
    let mut open: Vec<ServiceName> = services.to_vec();
    while let Some(name) = open.pop() {
        if wanted.insert(name.clone()) {
            let service = stack.services.get(&name);
            open.extend(service.into_iter().flat_map(|s| s.depends_on.keys().cloned()));
        }
    }
    let in_force = active.map(|r| &r.stack.services);
    let kept: BTreeMap<_, _> = std::mem::take(&mut stack.services)
        .into_iter()
        .filter(|(name, _)| wanted.contains(name))
        .chain(
            in_force
                .into_iter()
                .flatten()
                .filter(|(n, _)| !wanted.contains(*n))
                .map(|(n, s)| (n.clone(), s.clone())),
        )
        .collect();
    stack.services = kept;
    let used: BTreeSet<_> = stack.services.values().flat_map(|s| s.networks.keys().cloned()).collect();
    if let Some(active) = active {
        for (name, network) in &active.stack.networks {
            stack.networks.entry(name.clone()).or_insert_with(|| network.clone());
        }
        for (name, volume) in &active.stack.volumes {
            stack.volumes.entry(name.clone()).or_insert_with(|| volume.clone());
        }
        for (name, source) in &active.stack.configs {
            stack.configs.entry(name.clone()).or_insert_with(|| source.clone());
        }
        for (name, source) in &active.stack.secrets {
            stack.secrets.entry(name.clone()).or_insert_with(|| source.clone());
        }
    }
    stack.networks.retain(|name, _| used.contains(name));
}
