//! The whole command line and console before a control plane that exists in memory only: for
//! tests of both, and for looking at them. `SHOWCASE` chooses the scene: `guestbook`, `troubled`,
//! `changing`, `empty`; `kept`, `rolled-back`, `failed`, `undecided`, `held` for how changes end;
//! `echo` to see what is asked for; `broken` for a daemon that does not start, `stubborn` for one
//! that does not end.

use console::fake::{self, FakeControl, NOW, guestbook_status, line, troubled_status};
use console::{Access, Attached, bind_http, bind_unix, serve_http, serve_unix};
use juchu::cli::{DaemonOptions, Hooks, run};
use juchu::home::Home;
use model::Report;
use run::engine::Lack;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    run(std::env::args_os(), Hooks { daemon, lacks, make, inside: |_| {} })
}

/// The showcase has no images.
fn make(
    _: &juchu::home::Home,
    _: juchu::cli::BuildOrder,
    _: run::ports::Say,
    _: &std::sync::atomic::AtomicBool,
) -> Result<model::image::BuiltImage, model::Report> {
    Err(model::Report::environment("the showcase builds nothing"))
}

fn lacks(_: &Home, _: bool) -> Vec<Lack> {
    vec![Lack {
        what: "the kernel has no nf_tables".to_owned(),
        effect: "services cannot reach the outside".to_owned(),
        hint: "`modprobe nf_tables`".to_owned(),
        fatal: false,
    }]
}

fn daemon(options: DaemonOptions) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(serve(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            eprintln!("{report}");
            ExitCode::from(report.kind.exit_code())
        }
    }
}

async fn serve(options: DaemonOptions) -> Result<(), Report> {
    if std::env::var("SHOWCASE").as_deref() == Ok("broken") {
        return Err(Report::environment("the journal is held by another daemon"));
    }
    let control = Arc::new(scene());
    let access = Access::default();
    let socket = bind_unix(&options.home.socket())?;
    if let Some(address) = options.console {
        let (listener, note) = bind_http(address).await?;
        note.into_iter().for_each(|note| eprintln!("{note}"));
        access.set_port(listener.local_addr().expect("bound").port());
        tokio::spawn(serve_http(
            listener,
            control.clone(),
            access.clone(),
            Attached::default(),
            std::future::pending(),
        ));
    }
    tokio::spawn(talk(control.clone()));
    if std::env::var("SHOWCASE").as_deref() == Ok("changing") {
        tokio::spawn(change(control.clone()));
    }
    serve_unix(socket, control, access, Attached::default(), ended()).await;
    Ok(())
}

async fn ended() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be watched");
    terminate.recv().await;
    if std::env::var("SHOWCASE").as_deref() == Ok("stubborn") {
        std::future::pending::<()>().await;
    }
}

fn scene() -> FakeControl {
    let control = FakeControl::guestbook();
    let scene = std::env::var("SHOWCASE").unwrap_or_default();
    match scene.as_str() {
        "empty" => return FakeControl::empty(),
        "troubled" => control.change(|held| held.stacks = vec![troubled_status()]),
        "held" => control.change(|held| held.refusal = Some(fake::conflict())),
        "echo" => control.change(|held| held.echo = true),
        _ => {}
    }
    let ending = match scene.as_str() {
        "kept" => fake::kept(),
        "rolled-back" => fake::rolled_back(),
        "failed" => fake::failed(),
        "undecided" => fake::undecided(),
        _ => return control,
    };
    control.change(|held| held.story = fake::story_to(ending));
    control
}

/// Trouble comes and goes.
async fn change(control: Arc<FakeControl>) {
    for scene in [troubled_status(), guestbook_status()].iter().cycle() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        control.change(|held| held.stacks = vec![scene.clone()]);
    }
}

/// Something to follow.
async fn talk(control: Arc<FakeControl>) {
    for number in 1.. {
        tokio::time::sleep(Duration::from_millis(200)).await;
        control.say(line("web", 1, NOW, &format!("GET /{number} 200 in 2 ms")));
    }
}
