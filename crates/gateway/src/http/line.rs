//! A request that comes while every instance of its service has as many as it may have: it waits its
//! turn, for a time, or is told at once that it cannot.

use super::admission::field;
use super::connection::Client;
use super::exchange::is_repeatable;
use super::request::{Refusal, Request};
use crate::options::MAX_HELD_BYTES;
use crate::policy::queue::{NoPlace, Place};
use crate::seat::Seat;
use model::traffic::{Limit, Priority, PriorityFrom};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two looks at a client that waits, and at places that nobody handed on: those of new
/// instances, of ones that are well again, and of limits that have grown.
const LOOK: Duration = Duration::from_millis(100);
const FULL: Refusal = Refusal { status: 503, reason: "too many requests wait for this service" };
const LATE: Refusal = Refusal { status: 503, reason: "no instance had room for the request in time" };
const SHED: Refusal = Refusal { status: 503, reason: "the service is overloaded and others go first" };
const TOO_LARGE: Refusal =
    Refusal { status: 503, reason: "no instance has room, and the request is too large to wait" };

/// Why a request gets no place.
pub enum NoSeat {
    Refused(Refusal),
    ClientGone,
}

/// A place at an instance. None where there is no limit, or no instance to have one.
pub async fn enter(client: &mut Client, request: &Request, head: &[u8]) -> Result<Option<Seat>, NoSeat> {
    if client.backend.policy.limit.is_none() {
        return Ok(None);
    }
    client.refresh();
    if !has_places(client) {
        return Ok(None);
    }
    if client.backend.line.waiting() == 0
        && let Some(seat) = seat(client, is_repeatable(request))
    {
        return Ok(Some(seat));
    }
    // Boxed so that an exchange does not carry the room a wait needs.
    Box::pin(wait(client, request, head)).await
}

fn has_places(client: &Client) -> bool {
    client.backend.policy.limit.is_some() && !client.backend.endpoints.is_empty()
}

fn seat(client: &Client, may_try: bool) -> Option<Seat> {
    let worker = &client.worker;
    client.backend.seat(None, may_try, worker.registry.clock().now_ms(), &worker.random)
}

async fn wait(client: &mut Client, request: &Request, head: &[u8]) -> Result<Option<Seat>, NoSeat> {
    let policy = client.backend.policy.clone();
    if head.len() + client.buf.footprint() > MAX_HELD_BYTES {
        return Err(NoSeat::Refused(TOO_LARGE));
    }
    let priority = priority(client, request, head);
    let mut place = stand(client, priority)?;
    let end = Instant::now() + policy.queue.timeout;
    loop {
        // What came free before this one stood in line was handed to nobody.
        client.backend.line.serve(|| seat(client, false));
        match turn(&mut place, end).await {
            Turn::Comes(seat) if seat.is_open() => return Ok(Some(seat)),
            // Its instance was taken out of service at the same moment.
            Turn::Comes(_) => place = stand(client, priority)?,
            Turn::Passes => return Err(NoSeat::Refused(SHED)),
            Turn::Looks => {}
        }
        if client.stream.is_gone() {
            return Err(NoSeat::ClientGone);
        }
        if Instant::now() >= end {
            client.backend.line.counts.late.fetch_add(1, Relaxed);
            return Err(NoSeat::Refused(LATE));
        }
        client.refresh();
        if !has_places(client) {
            return Ok(None);
        }
        // One that was left alone is tried by whoever may be sent elsewhere afterwards.
        if is_repeatable(request)
            && let Some(seat) = seat(client, true)
        {
            return Ok(Some(seat));
        }
    }
}

/// A place behind those that wait already.
fn stand(client: &Client, priority: Priority) -> Result<Place<Seat>, NoSeat> {
    let (line, policy) = (&client.backend.line, &client.backend.policy);
    let is_adaptive = matches!(policy.limit, Some(Limit::Adaptive { .. }));
    line.enter(priority, &policy.queue, is_adaptive).map_err(|no_place| {
        NoSeat::Refused(match no_place {
            NoPlace::Full => FULL,
            NoPlace::Shed => SHED,
        })
    })
}

/// What a while of waiting brings.
enum Turn {
    Comes(Seat),
    /// Its place was given to one that goes first.
    Passes,
    Looks,
}

async fn turn(place: &mut Place<Seat>, end: Instant) -> Turn {
    let look = (Instant::now() + LOOK).min(end);
    match tokio::time::timeout_at(look, &mut place.wait).await {
        Ok(Ok(seat)) => Turn::Comes(seat),
        Ok(Err(_)) => Turn::Passes,
        Err(_) => Turn::Looks,
    }
}

/// By its route, or by what its service says. A field is believed of other services alone: anybody
/// outside could set it.
fn priority(client: &Client, request: &Request, head: &[u8]) -> Priority {
    if let Some(priority) = request.rule.as_ref().and_then(|rule| rule.priority) {
        return priority;
    }
    match &client.backend.policy.priority {
        Some(PriorityFrom::Fixed(priority)) => *priority,
        Some(PriorityFrom::Header(name)) if !client.route.public => {
            Priority::parse(field(head, name)).unwrap_or_default()
        }
        Some(PriorityFrom::Header(_)) | None => Priority::default(),
    }
}
