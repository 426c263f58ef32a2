//! The other ports of the control loop: where images come from, who routes, what time it is.

use crate::control::GatewayUpgrade;
use async_trait::async_trait;
use model::certificate::{CertificateStatus, CertificateWanted};
use model::flow;
use model::image::BuiltImage;
use model::route::{ApplyReport, RouteTable};
use model::service::Transport;
use model::subnet::Cidr;
use model::{Bytes, Digest, DurationMs, InstanceId, Report, Service, Stack, Timestamp};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Called with one line of text whenever a build has something to say.
pub type Say = Arc<dyn Fn(String) + Send + Sync>;

/// Where images come from: builders, recipes, registries.
#[async_trait]
pub trait Images: Send + Sync {
    /// Fills in what a component's recipe knows and the file did not say: health check, volumes.
    fn complete(&self, stack: &mut Stack) -> Result<(), Report>;
    /// What the image of this service is a function of, without asking anybody outside.
    async fn inputs(&self, service: &Service) -> Result<Digest, Report>;
    /// Builds or fetches the image; it is in the store, unpacked, when this returns.
    async fn obtain(
        &self,
        service: &Service,
        say: Say,
        cancel: Arc<AtomicBool>,
    ) -> Result<BuiltImage, Report>;
    /// Whether everything of the image is still in the store.
    async fn holds(&self, image: &BuiltImage) -> bool;
    /// Images no release refers to any more may go; called now and then with what is in use.
    async fn keep_only(&self, used: Vec<BuiltImage>);
}

/// Who carries connections.
#[async_trait]
pub trait Router: Send + Sync {
    async fn apply(&self, table: &RouteTable) -> Result<ApplyReport, Report>;
    /// Waits until nothing goes to this instance any more, or the limit has passed.
    async fn drained(&self, instance: &InstanceId, limit: DurationMs);
    async fn pid(&self) -> Option<u32>;
    /// Puts a gateway of the present program in the place of the one that runs: listening sockets
    /// are handed over, the old one finishes what it has.
    async fn upgrade(&self) -> Result<GatewayUpgrade, Report>;
    /// What passes through it, as counted since it started.
    async fn traffic(&self) -> Result<flow::Status, Report> {
        Err(Report::environment("nothing is counted here"))
    }
    /// The oldest spans of requests that wait there; they wait no longer.
    async fn spans(&self) -> Result<Vec<flow::PassedSpan>, Report> {
        Ok(Vec::new())
    }
    /// Where a request would go, and why; none is sent.
    async fn explain(&self, _question: flow::Question) -> Result<flow::Explanation, Report> {
        Err(Report::environment("no request can be thought through here"))
    }
    /// From here on these certificates are kept, and no others; returns at once.
    fn want_certificates(&self, _wanted: Vec<CertificateWanted>) {}
    /// How each of them stands.
    fn certificates(&self) -> Vec<CertificateStatus> {
        Vec::new()
    }
}

/// What the loop asks of the machine beside its engine.
pub trait Machine: Send + Sync {
    fn now(&self) -> Timestamp;
    /// Subnets in use on this host, by addresses and routes.
    fn subnets(&self) -> Vec<Cidr>;
    /// What is free on the disk of this directory; absent when it cannot be told.
    fn disk_free(&self, directory: &std::path::Path) -> Option<Bytes>;
    /// Why nothing could listen there, if so.
    fn port_in_use(&self, address: std::net::SocketAddr, transport: Transport) -> Option<String>;
    /// A number that changes when the ways out of this host do.
    fn uplinks(&self) -> Option<u64> {
        None
    }
}
