//! `juchu image keygen`, `sign` and `verify`.

use super::work;
use super::{all, meant, open};
use crate::cli::args::{ImageKeygen, ImageSign, ImageVerify, StackArgs};
use crate::cli::screen::{Hue, Outcome, Screen};
use crate::home::Home;
use build::sign::{PrivateKey, PublicKey};
use serde::Serialize;
use std::path::PathBuf;

/// What `keygen --json` prints.
#[derive(Debug, Serialize)]
struct Pair {
    private: PathBuf,
    public: PathBuf,
}

pub fn keygen(screen: &Screen, args: &ImageKeygen) -> Outcome {
    let (_, public) = PrivateKey::generate(&args.file).map_err(|e| e.report())?;
    let pair = Pair { private: args.file.clone(), public };
    if args.output.json {
        return screen.json(&pair);
    }
    screen.note(format!("{} signs: keep it, and keep it to yourself", pair.private.display()));
    screen.note(format!("{} verifies: hand it to everybody", pair.public.display()));
    screen.print(&format!("{}\n{}\n", pair.private.display(), pair.public.display()))
}

pub async fn sign(screen: &Screen, home: &Home, args: &ImageSign, stack: &StackArgs) -> Outcome {
    let store = open(home)?;
    let key = PrivateKey::read(&args.key).map_err(|e| e.report())?;
    let images = all(&store)?;
    let digest = meant(home, &images, &args.image, stack).await?.digest.clone();
    let signed =
        work::run(screen, "nothing was signed", move |job| build::sign::sign(&store, &digest, &key, job))
            .await?;
    if args.output.json {
        return screen.json(&signed);
    }
    let lines = signed.iter().map(|one| {
        let form = if one.stored { "as it is stored" } else { "as it is pushed" };
        format!("{}  {form}\n", one.digest)
    });
    screen.print(&lines.collect::<String>())
}

pub async fn verify(screen: &Screen, home: &Home, args: &ImageVerify, stack: &StackArgs) -> Outcome {
    let store = open(home)?;
    let key = PublicKey::read(&args.key).map_err(|e| e.report())?;
    let images = all(&store)?;
    let image = meant(home, &images, &args.image, stack).await?;
    let verified = build::sign::verify(&store, &image.digest, &key).map_err(|e| e.report())?;
    match args.output.json {
        true => screen.json(&verified),
        false => screen.print(&format!(
            "{} {} is signed by {}\n",
            screen.out.on(Hue::Good, "●"),
            verified.digest,
            args.key.display()
        )),
    }
}
