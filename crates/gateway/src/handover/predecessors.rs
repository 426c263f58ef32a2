//! Gateways that handed over to this one and still finish what they have: they follow its tables,
//! and what goes to an instance through them counts.

use crate::client::{ClientError, GatewayClient};
use crate::wire::PredecessorStatus;
use model::route::RouteTable;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long one may take to answer; one that does not is asked no more.
const ANSWER: Duration = Duration::from_secs(1);
/// Time between two looks at whether they have ended.
const LOOK: Duration = Duration::from_millis(100);

type Known = Rc<Mutex<GatewayClient>>;

#[derive(Default)]
pub struct Predecessors(RefCell<Vec<Known>>);

impl Predecessors {
    pub fn add(&self, client: GatewayClient) {
        self.0.borrow_mut().push(Rc::new(Mutex::new(client)));
    }

    /// Has them use the table for what they still serve.
    pub async fn follow(&self, table: &RouteTable) {
        for known in self.known() {
            let applied = async { known.lock().await.apply(table).await };
            let heard = matches!(timeout(ANSWER, applied).await, Ok(Ok(_) | Err(ClientError::Refused(_))));
            self.keep_if(&known, heard);
        }
    }

    /// Has them read the certificates anew.
    pub async fn certify(&self) {
        for known in self.known() {
            let read = async { known.lock().await.certificates().await };
            let heard = matches!(timeout(ANSWER, read).await, Ok(Ok(_) | Err(ClientError::Refused(_))));
            self.keep_if(&known, heard);
        }
    }

    /// Connections and requests going to the instance through them.
    pub async fn active(&self, instance: &str) -> u64 {
        let mut active = 0;
        for known in self.known() {
            let asked = async { known.lock().await.wait_drained(instance, Duration::ZERO).await };
            match timeout(ANSWER, asked).await {
                Ok(Ok(count)) => active += count,
                _ => self.keep_if(&known, false),
            }
        }
        active
    }

    /// Those that are left, with those that handed over to them.
    pub async fn status(&self) -> Vec<PredecessorStatus> {
        let mut all = Vec::new();
        for known in self.known() {
            let asked = async { known.lock().await.status().await };
            match timeout(ANSWER, asked).await {
                Ok(Ok(status)) => {
                    all.push(PredecessorStatus { pid: status.pid, connections: status.connections });
                    all.extend(status.predecessors);
                }
                _ => self.keep_if(&known, false),
            }
        }
        all
    }

    /// Completes when all have ended.
    pub async fn ended(&self) {
        while !self.status().await.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn known(&self) -> Vec<Known> {
        self.0.borrow().clone()
    }

    fn keep_if(&self, known: &Known, keep: bool) {
        if !keep {
            self.0.borrow_mut().retain(|other| !Rc::ptr_eq(known, other));
        }
    }
}
