//! How a gateway is told what to do: sockets to listen on, the table in force and on disk, and
//! the conversation with the daemon.

pub mod bind;
mod callers;
pub mod controller;
mod datagrams;
mod endpoints;
mod explain;
mod handing;
pub mod keep;
mod listeners;
pub mod server;
mod status;
pub mod table;
