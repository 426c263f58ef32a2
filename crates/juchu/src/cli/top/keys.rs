//! `q` on a terminal, without waiting for the end of a line.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read, stdin};
use tokio::sync::mpsc;

/// Keys that may wait to be looked at.
const WAITING: usize = 8;

/// The keyboard, given back as it was when dropped.
pub struct Keys {
    before: Option<Termios>,
    pressed: mpsc::Receiver<u8>,
}

impl Keys {
    /// Without a terminal nobody can press anything.
    pub fn listen() -> Self {
        let (sender, pressed) = mpsc::channel(WAITING);
        let before = stdin().is_terminal().then(|| tcgetattr(stdin()).ok()).flatten();
        if let Some(before) = &before {
            let mut plain = before.clone();
            plain.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            // Where it cannot be changed, `q` and Enter do.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &plain);
            // Ends with the process: a read cannot be called off.
            std::thread::spawn(move || {
                for key in stdin().lock().bytes() {
                    if !key.is_ok_and(|key| sender.blocking_send(key).is_ok()) {
                        break;
                    }
                }
            });
        }
        Self { before, pressed }
    }

    /// Completes when somebody presses `q`.
    pub async fn quit(&mut self) {
        loop {
            match self.pressed.recv().await {
                Some(b'q' | b'Q') => return,
                Some(_) => {}
                // The end of the input is no wish to end.
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs nothing any more.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
