//! A WebSocket that sends back each message.

use super::{FINISH_LIMIT, Stopping, stopped};
use crate::frame::{self, CLOSE, Frame, GOING_AWAY, PING, PONG, TEXT};
use crate::http::{Request, Wire, nonsense};
use std::io::Result;

pub async fn serve(mut wire: Wire, request: &Request, release: &str, mut stopping: Stopping) -> Result<()> {
    let Some(key) = request.fields.get("sec-websocket-key") else {
        wire.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await?;
        wire.finish(FINISH_LIMIT).await;
        return Ok(());
    };
    let accept = frame::accept(key);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nX-Release: {release}\r\n\r\n"
    );
    wire.send(head.as_bytes()).await?;
    loop {
        while let Some(received) = frame::take(&mut wire.received).map_err(nonsense)? {
            match received.opcode {
                TEXT => wire.send(&received.encode(None)).await?,
                PING => wire.send(&Frame { opcode: PONG, ..received }.encode(None)).await?,
                CLOSE => {
                    wire.send(&received.encode(None)).await?;
                    wire.finish(FINISH_LIMIT).await;
                    return Ok(());
                }
                _ => {}
            }
        }
        tokio::select! {
            biased;
            received = wire.fill() => if received? == 0 { return Ok(()) },
            () = stopped(&mut stopping) => break,
        }
    }
    say_goodbye(wire).await
}

/// Our close frame, then theirs, then the end of the connection.
async fn say_goodbye(mut wire: Wire) -> Result<()> {
    wire.send(&Frame::close(GOING_AWAY).encode(None)).await?;
    let answered = async {
        loop {
            while let Some(received) = frame::take(&mut wire.received).map_err(nonsense)? {
                if received.opcode == CLOSE {
                    return Ok(());
                }
            }
            if wire.fill().await? == 0 {
                return Ok(());
            }
        }
    };
    let answered: std::result::Result<Result<()>, _> = tokio::time::timeout(FINISH_LIMIT, answered).await;
    if let Ok(Err(error)) = answered {
        return Err(error);
    }
    wire.finish(FINISH_LIMIT).await;
    Ok(())
}
