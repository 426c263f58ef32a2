//! The time to first byte of a published address, as somebody on this host would see it.

use crate::control::Address;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long an address may take to answer before it is shown without a time.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks each address once. What does not answer in HTTP becomes `tcp://` without a time.
pub async fn measure(addresses: Vec<Address>) -> Vec<Address> {
    let mut measured = Vec::with_capacity(addresses.len());
    for mut address in addresses {
        if let Some(target) = address.url.strip_prefix("http://").and_then(|a| a.parse().ok()) {
            match timeout(LIMIT, first_byte(target)).await {
                Ok(Ok(Some(elapsed))) => address.first_byte_us = Some(elapsed.as_micros() as u64),
                _ => address.url = address.url.replacen("http://", "tcp://", 1),
            }
        }
        measured.push(address);
    }
    measured
}

/// From before the connection until the first byte; `None` when it does not speak HTTP.
async fn first_byte(target: SocketAddr) -> std::io::Result<Option<Duration>> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(target).await?;
    let request =
        format!("GET / HTTP/1.1\r\nHost: {target}\r\nUser-Agent: juchu\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0u8; 5];
    stream.read_exact(&mut head).await?;
    Ok((&head == b"HTTP/").then(|| begun.elapsed()))
}
