//! The whole README, executed: every command of its `sh` blocks, in order, as a new user types them.

/// Builds the program for release and runs the example: minutes, and port 8080 of this machine.
mod slow {
    use std::io::{BufRead as _, BufReader, Read, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
    use std::time::{Duration, Instant};
    use testkit::{ProcessGuard, StrangerGuard, TempDir};
    use xtask::{readme, workspace::root};

    /// A release build on two cores, and the images.
    const UP_LIMIT: Duration = Duration::from_secs(20 * 60);
    /// After Ctrl-C: the services' grace, and more.
    const STOP_LIMIT: Duration = Duration::from_secs(60);
    const ANSWER_LIMIT: Duration = Duration::from_secs(10);

    /// The home of the program during the test; what runs from it ends with it.
    struct Home(TempDir);

    impl Home {
        fn command(&self, program: &Path, arguments: &[String]) -> Command {
            let mut command = Command::new(program);
            command
                .args(arguments)
                .current_dir(root())
                .env("JUCHU_HOME", self.0.path())
                .env("JUCHU_CONSOLE", "127.0.0.1:0")
                .env("NO_COLOR", "1")
                .stdin(Stdio::null());
            command
        }

        fn juchu(&self, arguments: &[&str]) -> String {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            let output = self.command(&program(), &arguments).output().expect("the program runs");
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        }

        /// The process that listens on a socket of this home.
        fn listener(&self, socket: &str) -> Option<StrangerGuard> {
            let stream = UnixStream::connect(self.0.path().join("run").join(socket)).ok()?;
            let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
            Some(StrangerGuard::new(peer.pid.as_raw_nonzero().get()))
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            if program().is_file() {
                eprintln!("{}", self.juchu(&["down", "--volumes", "-p", "guestbook"]));
            }
            // Dropping a guard ends the process it names.
            drop([self.listener("api.sock"), self.listener("gateway.sock")]);
        }
    }

    fn program() -> PathBuf {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        target.join("release/juchu")
    }

    /// Lines as they come; a program that says more than is read has to wait.
    fn lines_of(from: impl Read + Send + 'static, to: SyncSender<String>) {
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                eprintln!("{line}");
                if to.send(line).is_err() {
                    return;
                }
            }
        });
    }

    /// The first address a program says, and the lines after it.
    fn address_in(lines: &Receiver<String>) -> String {
        let end = Instant::now() + UP_LIMIT;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    // A link to the console is said, too; the example's address has no path.
                    let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
                    if let Some(url) = url.filter(|_| !line.contains("console")) {
                        return url.trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no address after {} s", UP_LIMIT.as_secs()),
                Err(RecvTimeoutError::Disconnected) => panic!("`up` ended without an address"),
            }
        }
    }

    fn get(address: &str) -> std::io::Result<String> {
        let address = address.replace("localhost", "127.0.0.1").replace("0.0.0.0", "127.0.0.1");
        let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Runs `up` in the foreground until it says where the system is reached, looks at it there,
    /// and ends it by Ctrl-C.
    fn up_and_ctrl_c(mut command: Command) {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut up = ProcessGuard::spawn(child);
        let (sender, lines) = sync_channel(1024);
        lines_of(up.child.stdout.take().expect("piped"), sender.clone());
        lines_of(up.child.stderr.take().expect("piped"), sender);
        let address = address_in(&lines);
        let page = get(&address).expect("the address that was printed answers");
        assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
        assert!(page.to_lowercase().contains("guestbook"), "{page}");
        // Its output is read on, or it would wait for us.
        let reader = std::thread::spawn(move || lines.iter().for_each(drop));
        up.signal(rustix::process::Signal::INT);
        testkit::wait_until(STOP_LIMIT, "`up` to end after Ctrl-C", || {
            up.child.try_wait().expect("our child").is_some()
        });
        let status = up.child.wait().expect("our child");
        assert!(status.success(), "`up` after Ctrl-C: {status}");
        reader.join().expect("no panic");
        // Without a terminal nobody can be asked, and Ctrl-C stops the services.
        let stopped = get(&address).map_or(true, |page| !page.starts_with("HTTP/1.1 200 "));
        assert!(stopped, "the example still answers after Ctrl-C");
    }

    /// First words of what stands in backquotes in the table of commands.
    fn commands_in_the_table(markdown: &str) -> Vec<String> {
        let rows = markdown.lines().filter(|line| line.starts_with("| `juchu "));
        let cells = rows.filter_map(|line| line.split('|').nth(1));
        let quoted = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let first = quoted.filter_map(|text| text.trim_start_matches("juchu ").split_whitespace().next());
        first.map(str::to_owned).collect()
    }

    #[test]
    fn every_command_of_the_readme_does_what_it_says() {
        if !testkit::require_root("the README") {
            return;
        }
        let text = std::fs::read_to_string(root().join("README.md")).expect("the README");
        let home = Home(TempDir::new());
        let mut ran = 0;
        for (line, command) in readme::commands(&text) {
            let words = readme::words(&command).unwrap_or_else(|| panic!("README.md:{line}: needs a shell"));
            eprintln!("README.md:{line}: {command}");
            // This is what runs just now.
            if words[..] == ["cargo", "xtask", "test"] {
                continue;
            }
            let (program, arguments) = words.split_first().expect("a program");
            let mut process = home.command(Path::new(program), arguments);
            let is_foreground = arguments.contains(&"up".to_owned()) && !arguments.contains(&"-d".to_owned());
            if is_foreground {
                up_and_ctrl_c(process);
            } else {
                let status = process.status().expect("it starts");
                assert!(status.success(), "README.md:{line}: `{command}`: {status}");
            }
            ran += 1;
        }
        assert!(ran > 0, "the README has no command to run");

        let help = home.juchu(&["--help"]);
        let known: Vec<&str> = help.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let named = commands_in_the_table(&text);
        assert!(named.len() > 10, "{named:?}");
        for command in named {
            assert!(known.contains(&command.as_str()), "`juchu {command}` of the README is not in the help");
        }
    }
}
