//! When a certificate is renewed, and when one that could not be had is tried again. Pure; times
//! are milliseconds, `chance` is anything between 0 and 1.

/// The first pause after a failure, how it grows, and where it ends. Let's Encrypt refuses a host
/// for an hour after five failures within one.
const FIRST_PAUSE_MS: f64 = 60_000.0;
const GROWTH: f64 = 3.0;
const LONGEST_PAUSE_MS: f64 = 6.0 * 3_600_000.0;
/// The part of its life after which a certificate is renewed, and the part over which renewals of
/// those made together are spread.
const RENEW_AT: f64 = 2.0 / 3.0;
const SPREAD: f64 = 1.0 / 24.0;

/// How long to wait after so many failures in a row.
pub fn pause_ms(failures: u32, chance: f64) -> i64 {
    let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX).min(16);
    let pause = (FIRST_PAUSE_MS * GROWTH.powi(exponent)).min(LONGEST_PAUSE_MS);
    (pause * (0.9 + 0.2 * chance)) as i64
}

/// When a certificate with this life is renewed.
pub fn renewal_ms(begin: i64, end: i64, chance: f64) -> i64 {
    let life = (end - begin).max(0) as f64;
    begin + (life * (RENEW_AT - SPREAD * chance)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_fit_the_limits_of_authorities() {
        let pauses: Vec<i64> = (1..=8).map(|failures| pause_ms(failures, 0.5)).collect();
        assert_eq!(pauses[..4], [60_000, 180_000, 540_000, 1_620_000]);
        assert_eq!((pauses[7], pause_ms(u32::MAX, 0.5)), (21_600_000, 21_600_000));
        let mut tries = 0;
        let mut at = 0;
        while at < 3_600_000 {
            tries += 1;
            at += pause_ms(tries, 0.0);
        }
        assert!(tries <= 5, "{tries} within an hour");
    }

    #[test]
    fn renewal_comes_after_two_thirds_or_a_little_earlier() {
        const DAY: i64 = 86_400_000;
        assert_eq!(renewal_ms(0, 90 * DAY, 0.0), 60 * DAY);
        let early = renewal_ms(0, 90 * DAY, 1.0);
        assert!((56 * DAY..60 * DAY).contains(&early), "{early}");
        assert_eq!(renewal_ms(5, 5, 0.5), 5);
    }
}
