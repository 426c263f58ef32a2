//! The side of the gateway that goes: gives everything away step by step, and takes it all back
//! if the one that comes does not keep up.

use super::descriptors::{self, BATCH};
use crate::control::controller::Controller;
use crate::options::Limits;
use crate::wire::{HANDING_FORM, Refusal, Reply, Request};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// What is said on one control connection.
pub trait Conversation {
    async fn hear(&mut self) -> io::Result<Request>;
    async fn say(&mut self, reply: Reply) -> io::Result<()>;
    fn stream(&self) -> &UnixStream;
}

/// Why nothing was given away.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    #[error("it was asked in form {0}, known is {HANDING_FORM}")]
    Form(u32),
    #[error("it has handed over already")]
    AlreadyGiven,
    #[error("the successor said nothing for {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("the successor said something else than what was expected")]
    Unexpected,
    #[error("the successor is gone: {0}")]
    Gone(#[from] io::Error),
}

impl GiveError {
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Form(_) | Self::AlreadyGiven => Refusal::NotHanded { reason: self.to_string() },
            _ => Refusal::TakenBack { reason: self.to_string() },
        }
    }
}

/// The control socket while it is not accepted from.
pub trait Gate {
    fn close(&self);
    fn open(&self);
}

/// Hands everything over. When this fails, everything is as before.
pub async fn give(
    controller: &mut Controller,
    limits: &Limits,
    (form, with_datagrams): (u32, bool),
    own: [BorrowedFd<'_>; 2],
    gate: &impl Gate,
    talk: &mut impl Conversation,
) -> Result<(), GiveError> {
    if form != HANDING_FORM {
        return Err(GiveError::Form(form));
    }
    if controller.has_handed_over() {
        return Err(GiveError::AlreadyGiven);
    }
    {
        let (handing, sockets) = controller.handing(with_datagrams);
        let all: Vec<BorrowedFd<'_>> = own.into_iter().chain(sockets).collect();
        talk.say(Reply::Handing(Box::new(handing))).await?;
        expect(talk, Request::Descriptors, limits.successor_ready).await?;
        for batch in all.chunks(BATCH) {
            talk.stream().async_io(Interest::WRITABLE, || descriptors::send(talk.stream(), batch)).await?;
        }
    }
    expect(talk, Request::Ready, limits.successor_ready).await?;
    controller.pause().await;
    gate.close();
    match let_serve(talk, limits).await {
        Ok(()) => {
            controller.let_go().await;
            Ok(())
        }
        Err(error) => {
            controller.resume().await;
            gate.open();
            Err(error)
        }
    }
}

async fn let_serve(talk: &mut impl Conversation, limits: &Limits) -> Result<(), GiveError> {
    talk.say(Reply::Go).await?;
    expect(talk, Request::Serving, limits.successor_serves).await?;
    Ok(talk.say(Reply::Yours).await?)
}

async fn expect(talk: &mut impl Conversation, what: Request, limit: Duration) -> Result<(), GiveError> {
    match tokio::time::timeout(limit, talk.hear()).await {
        Err(_) => Err(GiveError::Slow(limit)),
        Ok(Ok(heard)) if heard == what => Ok(()),
        Ok(Ok(_)) => Err(GiveError::Unexpected),
        Ok(Err(error)) => Err(error.into()),
    }
}
