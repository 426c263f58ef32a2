//! Evidence of one test: a mixture of likelihood ratios, kept as logarithms.

/// ln of the mean of `exp(log)`; one that cannot be a number counts as no evidence at all.
pub fn log_mean_exp(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let logs = logs.map(|log| if log.is_nan() { f64::NEG_INFINITY } else { log });
    let greatest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if !greatest.is_finite() {
        return greatest;
    }
    let (sum, count) = logs.fold((0.0, 0.0), |(sum, count), log| (sum + (log - greatest).exp(), count + 1.0));
    greatest + (sum / f64::max(count, 1.0)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_taken_of_what_the_logarithms_stand_for() {
        let mean = |logs: &[f64]| log_mean_exp(logs.iter().copied());
        assert!((mean(&[0.0, 3.0f64.ln()]) - 2.0f64.ln()).abs() < 1e-12);
        // Far beyond what a number can hold without the logarithm.
        assert!((mean(&[5000.0, 5000.0]) - 5000.0).abs() < 1e-9);
        assert_eq!(mean(&[f64::NAN, f64::NEG_INFINITY]), f64::NEG_INFINITY);
        assert_eq!(mean(&[]), f64::NEG_INFINITY);
        assert!((mean(&[f64::NAN, 0.0]) - 0.5f64.ln()).abs() < 1e-12);
    }
}
