//! The numbers by which callers are known to the threads, and their names again.

use crate::calls::{Calls, Who};
use crate::spans::Passed;
use crate::wire::{CallStatus, Caller, PassedSpan};
use model::route::RouteTable;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Services that have called, by name, for as long as anything is counted of them.
#[derive(Default)]
pub struct Callers {
    numbers: HashMap<String, u32>,
    last: u32,
}

impl Callers {
    /// Takes over what a table says of addresses; `backends` are its backends by their numbers.
    pub fn update(
        &mut self,
        table: &RouteTable,
        backends: &HashMap<String, u32>,
        calls: &Calls,
    ) -> HashMap<IpAddr, u32> {
        let mut callers = HashMap::with_capacity(table.callers.len());
        for (address, name) in &table.callers {
            let number = *self.numbers.entry(name.clone()).or_insert_with(|| {
                self.last += 1;
                self.last
            });
            callers.insert(*address, number);
        }
        let backends: HashSet<u32> = backends.values().copied().collect();
        let present: HashSet<u32> = callers.values().copied().collect();
        calls.retain(|backend| backends.contains(&backend), |caller| present.contains(&caller));
        let counted: HashSet<Who> = calls.read().into_iter().map(|((who, _), _)| who).collect();
        self.numbers.retain(|_, number| present.contains(number) || counted.contains(&Who::Service(*number)));
        callers
    }

    /// What was counted, by names.
    pub fn status(&self, backends: &HashMap<String, u32>, calls: &Calls) -> Vec<CallStatus> {
        let backends: HashMap<u32, &str> =
            backends.iter().map(|(name, number)| (*number, name.as_str())).collect();
        let callers: HashMap<u32, &str> =
            self.numbers.iter().map(|(name, number)| (*number, name.as_str())).collect();
        let caller = |who| caller(who, |number| callers.get(&number).copied());
        let named = calls.read().into_iter().filter_map(|((who, backend), counts)| {
            let backend = match who {
                Who::Others => String::new(),
                _ => (*backends.get(&backend)?).to_owned(),
            };
            Some(CallStatus { caller: caller(who)?, backend, counts })
        });
        let mut all: Vec<CallStatus> = named.collect();
        all.sort_by(|a, b| (&a.caller, &a.backend).cmp(&(&b.caller, &b.backend)));
        all
    }
    /// A request as a span, its caller by name.
    pub fn named(&self, passed: Passed) -> PassedSpan {
        let name = |wanted: u32| {
            let mut known = self.numbers.iter();
            known.find(|(_, number)| **number == wanted).map(|(name, _)| name.as_str())
        };
        let digits = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
        PassedSpan {
            trace: digits(&passed.trace),
            span: digits(&passed.span),
            parent: passed.parent.as_ref().map(|parent| digits(parent)),
            start_ns: passed.start_ns,
            duration_us: passed.micros,
            first_byte_us: passed.first_byte_us,
            caller: caller(passed.who, name).unwrap_or(Caller::Unknown),
            backend: passed.backend,
            rule: passed.rule,
            instance: passed.instance,
            method: passed.method,
            host: passed.host,
            path: passed.path,
            version: passed.version.to_owned(),
            secured: passed.secured,
            status: passed.status,
            grpc_status: passed.grpc_status,
            failed: passed.failed,
            fault: passed.fault.map(str::to_owned),
            bytes_in: passed.bytes_in,
            bytes_out: passed.bytes_out,
        }
    }
}

fn caller<'n>(who: Who, name: impl FnOnce(u32) -> Option<&'n str>) -> Option<Caller> {
    Some(match who {
        Who::Service(number) => Caller::Service(name(number)?.to_owned()),
        Who::Outside => Caller::Outside,
        Who::Host => Caller::Host,
        Who::Unknown => Caller::Unknown,
        Who::Others => Caller::Others,
    })
}
