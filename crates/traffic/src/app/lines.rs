//! A session over plain TCP: each line comes back.

use super::{FINISH_LIMIT, Stopping, stopped};
use crate::http::Wire;

pub async fn serve(mut wire: Wire, mut stopping: Stopping) {
    loop {
        tokio::select! {
            biased;
            line = wire.line() => match line {
                Ok(line) => if wire.send(line.as_bytes()).await.is_err() { return },
                Err(_) => return,
            },
            () = stopped(&mut stopping) => break,
        }
    }
    // All whole lines that had come were answered: the end stands at the end of a line.
    wire.finish(FINISH_LIMIT).await;
}
