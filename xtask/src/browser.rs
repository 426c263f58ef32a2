//! Chromium without a window, driven by its DevTools protocol over two pipes.

use crate::Failure;
use serde_json::{Value, json};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For a page to be loaded.
const LOAD_LIMIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// The largest answer; a picture of a long page has some megabytes.
const ANSWER_MAX: usize = 64 << 20;
/// Where the protocol is read and written by the browser.
const INPUT: RawFd = 3;
const OUTPUT: RawFd = 4;

pub struct Browser {
    child: Child,
    to: PipeWriter,
    from: PipeReader,
    buffer: Vec<u8>,
    number: u64,
    session: Option<String>,
    profile: PathBuf,
}

impl Browser {
    /// Starts it with a profile of its own and one empty page.
    pub fn start() -> Result<Self, Failure> {
        let profile = std::env::temp_dir().join(format!("juchu-browser-{}", std::process::id()));
        let (their_input, to) = std::io::pipe()?;
        let (from, their_output) = std::io::pipe()?;
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (input, output) = (their_input.as_raw_fd(), their_output.as_raw_fd());
        // SAFETY: between fork and exec only calls that are safe there; the descriptors are open.
        unsafe {
            command.pre_exec(move || place(input, output));
        }
        let child = command.spawn().map_err(|e| format!("chromium: {e}; `apt-get install chromium`"))?;
        let mut browser = Self { child, to, from, buffer: Vec::new(), number: 0, session: None, profile };
        // Our copies: when the browser ends, reading ends.
        drop((their_input, their_output));
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", target)?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        Ok(browser)
    }

    /// One command and its answer; what is told meanwhile is passed over.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, Failure> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.to.write_all(&bytes)?;
        loop {
            let message = self.message()?;
            if message["id"] != self.number {
                continue;
            }
            return match message.get("error") {
                Some(error) => Err(format!("{method}: {error}").into()),
                None => Ok(message["result"].clone()),
            };
        }
    }

    fn message(&mut self) -> Result<Value, Failure> {
        let mut piece = vec![0; 64 << 10];
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == 0) {
                let rest = self.buffer.split_off(end + 1);
                let message = std::mem::replace(&mut self.buffer, rest);
                return Ok(serde_json::from_slice(&message[..end])?);
            }
            let read = self.from.read(&mut piece)?;
            if read == 0 || self.buffer.len() > ANSWER_MAX {
                return Err("chromium ended, or said too much".into());
            }
            self.buffer.extend_from_slice(&piece[..read]);
        }
    }

    /// What an expression is worth in the page.
    pub fn value(&mut self, expression: &str) -> Result<Value, Failure> {
        let params = json!({ "expression": expression, "returnByValue": true });
        Ok(self.call("Runtime.evaluate", params)?["result"]["value"].clone())
    }

    /// Opens an address and waits until the page at the end of it is loaded.
    pub fn open(&mut self, address: &str, until: &str) -> Result<(), Failure> {
        self.call("Page.navigate", json!({ "url": address }))?;
        let end = Instant::now() + LOAD_LIMIT;
        let loaded = format!("document.readyState === 'complete' && !!({until})");
        while Instant::now() < end {
            if self.value(&loaded)? == json!(true) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("{address} was not loaded within {} s", LOAD_LIMIT.as_secs()).into())
    }

    pub fn look(&mut self, width: u32, is_dark: bool) -> Result<(), Failure> {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).map(drop)
    }

    /// The whole page as a PNG file.
    pub fn picture(&mut self, file: &Path) -> Result<(), Failure> {
        let shot =
            self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }))?;
        let text = shot["data"].as_str().ok_or("chromium made no picture")?;
        std::fs::write(file, decoded(text)?)?;
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Puts both ends where the browser looks for them, in whatever order they lie.
fn place(input: RawFd, output: RawFd) -> std::io::Result<()> {
    let checked = |result: RawFd| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: these calls take and give numbers of descriptors only.
    unsafe {
        let input = checked(libc::fcntl(input, libc::F_DUPFD, OUTPUT + 1))?;
        let output = checked(libc::fcntl(output, libc::F_DUPFD, OUTPUT + 1))?;
        checked(libc::dup2(input, INPUT))?;
        checked(libc::dup2(output, OUTPUT))?;
    }
    Ok(())
}

/// Base64 as JSON carries pictures.
fn decoded(text: &str) -> Result<Vec<u8>, Failure> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = LETTERS.iter().position(|known| *known == letter).ok_or("the picture is not base64")?;
        held = held << 6 | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_decoded() {
        for (text, expect) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(decoded(text).expect("base64"), expect.as_bytes());
        }
        assert!(decoded("!").is_err());
    }
}
