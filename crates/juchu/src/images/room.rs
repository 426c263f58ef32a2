//! Room in the caches before a build: it has the turn, so nobody else uses what goes.

use build::caches::Caches;
use juchu::caches::most;
use juchu::cli::BuildOrder;
use model::{Bytes, Report};
use run::ports::Say;

/// Brings the caches within their bound when they hold too much; `languages` is what those of the
/// languages hold, which has been measured already. Answers whether something went.
pub fn make(order: &BuildOrder, languages: u64, say: &Say) -> Result<bool, Report> {
    let caches = Caches::new(&order.cache, &order.store);
    let most = most(&order.store)?;
    if languages + caches.packages_held() <= most.0 {
        return Ok(false);
    }
    let gone = caches.keep_within(most.0).map_err(|error| error.report())?;
    if gone.entries > 0 {
        let (count, freed) = (gone.entries, Bytes(gone.bytes));
        say(format!(
            "the caches of builds hold more than {most}: {count} entries that were used longest ago are removed, {freed}"
        ));
    }
    Ok(gone.entries > 0)
}
