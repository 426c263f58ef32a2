//! Puts one table after the other in force, in which the route leads to the one instance and then
//! to the other. Prints how many it were.

use gateway::GatewayClient;
use model::route::RouteTable;
use std::path::Path;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub async fn run(dir: &Path, every_ms: u64, seconds: u64) -> Outcome<()> {
    let mut table: RouteTable = serde_json::from_slice(&std::fs::read(dir.join("wanted.json"))?)?;
    let mut client = GatewayClient::connect(dir.join("gateway.sock")).await?;
    let mut ticks = interval(Duration::from_millis(every_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut count = 0_u64;
    while tokio::time::Instant::now() < end {
        ticks.tick().await;
        table.revision += 1;
        let mut backends: Vec<_> = table.backends.values_mut().collect();
        if let [first, second] = backends.as_mut_slice() {
            std::mem::swap(&mut first.endpoints, &mut second.endpoints);
        }
        let report = client.apply(&table).await?;
        if let Some(failed) = report.failed.first() {
            return Err(format!("{}: {}", failed.address, failed.error).into());
        }
        count += 1;
    }
    println!("{count}");
    Ok(())
}
