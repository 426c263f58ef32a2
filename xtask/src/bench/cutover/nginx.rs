//! nginx: another upstream in its configuration, then `nginx -s reload`; for an upgrade a second
//! master takes the sockets over, as its manual says (USR2, then QUIT to the old one).

use super::super::home::{page, time_until};
use super::application::{Application, Releases, children, free_address, signal};
use super::run::{Figures, System};
use super::script::Change;
use crate::packages::Peers;
use crate::{Failure, Outcome};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use traffic::programs::Programs;

pub struct Nginx {
    server: Server,
    releases: Releases,
}

struct Server {
    peers: Peers,
    directory: PathBuf,
    http: SocketAddr,
    lines: SocketAddr,
}

impl Nginx {
    pub fn start(peers: &Peers, programs: &Programs) -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("juchu-nginx-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let releases = Releases::start(&programs.app)?;
        let (http, lines) = (free_address()?, free_address()?);
        let server = Server { peers: peers.clone(), directory, http, lines };
        server.configure(&releases.present)?;
        server.command(&[])?;
        let nginx = Self { server, releases };
        time_until("nginx", || page(http.port(), "/health").is_some())?;
        Ok(nginx)
    }
}

impl System for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.server.http, self.server.lines)
    }

    fn change(&mut self, change: Change) -> Result<Figures, Failure> {
        let server = &self.server;
        match change {
            Change::Deploy => self.releases.deploy(false, |to| server.switch(to))?,
            Change::Configure => self.releases.deploy(true, |to| server.switch(to))?,
            Change::Rollback => self.releases.rollback(|to| server.switch(to))?,
            Change::Upgrade => server.upgrade()?,
            Change::Kill | Change::KillWithin => return Err("nginx has no daemon beside it".into()),
        }
        Ok(Figures::default())
    }

    fn needs_help(&self) -> bool {
        true
    }

    fn proxies(&self) -> Vec<u32> {
        let master = self.server.master().unwrap_or_default().unsigned_abs();
        std::iter::once(master).chain(children(master)).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Ok(master) = self.server.master() {
            signal(master, libc::SIGTERM);
            let gone = || !PathBuf::from(format!("/proc/{master}")).exists();
            if let Err(failure) = time_until("the end of nginx", gone) {
                eprintln!("{failure}");
            }
        }
        // What is left is in a directory of its own for somebody to look at.
        let _ = std::fs::remove_dir_all(&self.server.directory);
    }
}

impl Server {
    fn switch(&self, to: &Application) -> Outcome {
        self.configure(to)?;
        self.command(&["-s", "reload"])
    }

    fn upgrade(&self) -> Outcome {
        let old = self.master()?;
        signal(old, libc::SIGUSR2);
        // The new master writes its own number; the old one's file gets another name.
        time_until("a new master of nginx", || {
            self.master().is_ok_and(|new| new != old && self.directory.join("nginx.pid.oldbin").exists())
        })?;
        signal(old, libc::SIGQUIT);
        Ok(())
    }

    fn master(&self) -> Result<i32, Failure> {
        Ok(std::fs::read_to_string(self.directory.join("nginx.pid"))?.trim().parse()?)
    }

    fn command(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(&self.peers.nginx);
        command.arg("-p").arg(&self.directory).args(["-c", "nginx.conf"]).args(arguments);
        // A daemon that keeps our pipe open would never let us read its end.
        let errors = std::fs::File::create(self.directory.join("said"))?;
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).status()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("nginx: {}", std::fs::read_to_string(self.directory.join("said"))?).into()),
        }
    }

    fn configure(&self, to: &Application) -> Outcome {
        let module = self.peers.nginx_stream.display();
        let (http, lines, web, echo) = (self.http, self.lines, to.http, to.lines);
        let text = format!(
            "load_module {module};
worker_processes 2;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_max_body_size 100m;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream web {{ server {web}; keepalive 64; }}
  server {{
    listen {http};
    location / {{
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
stream {{
  upstream echo {{ server {echo}; }}
  server {{ listen {lines}; proxy_pass echo; }}
}}
"
        );
        std::fs::write(self.directory.join("nginx.conf"), text)?;
        Ok(())
    }
}
