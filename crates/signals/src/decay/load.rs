//! Takes out of a course what the load explains: a process that serves more uses more.

use super::trend::{median, theil_sen};

/// A load that varies by less than this share of its median explains nothing.
const VARIES: f64 = 0.05;

/// The values as they would be under the median of the load. `loads` has one for each value, or none
/// where it is not known; they count only when all are known and rise together with the values.
pub fn without_load(values: &[f64], loads: &[Option<f64>]) -> Vec<f64> {
    let known: Option<Vec<f64>> = loads.iter().copied().collect();
    let Some(known) = known.filter(|known| known.len() == values.len()) else { return values.to_vec() };
    let Some(middle) = median(&mut known.clone()) else { return values.to_vec() };
    let mut deviations: Vec<f64> = known.iter().map(|load| (load - middle).abs()).collect();
    let varies = median(&mut deviations).is_some_and(|deviation| deviation > VARIES * middle.abs());
    // Of differences from one half hour to the next, so that a trend of both is not taken for a cause.
    let steps: Vec<(f64, f64)> = known
        .windows(2)
        .zip(values.windows(2))
        .map(|(load, value)| (load[1] - load[0], value[1] - value[0]))
        .collect();
    match theil_sen(&steps) {
        Some(line) if varies && line.slope > 0.0 => {
            values.iter().zip(known).map(|(value, load)| value - line.slope * (load - middle)).collect()
        }
        _ => values.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_load_is_flat_without_it() {
        let loads: Vec<f64> =
            (0..48).map(|at| 100.0 + 50.0 * (f64::from(at) / 7.0).sin() + f64::from(at)).collect();
        let values: Vec<f64> = loads.iter().map(|load| 20.0 + 3.0 * load).collect();
        let known: Vec<_> = loads.iter().copied().map(Some).collect();
        let flat = without_load(&values, &known);
        let spread = flat.iter().copied().fold(0.0, f64::max) - flat.iter().copied().fold(1e9, f64::min);
        assert!(spread < 1e-6, "{spread}");
        assert_eq!(without_load(&values, &[None; 48]), values);
        assert_eq!(without_load(&values, &known[..3]), values);
    }

    #[test]
    fn a_trend_is_not_explained_by_a_load_that_only_rises_as_well() {
        // Noise in the load that the values do not follow.
        let noise = |at: i32| f64::from((at * 7919) % 13);
        let loads: Vec<_> = (0..48).map(|at| Some(100.0 + f64::from(at) + 8.0 * noise(at))).collect();
        let values: Vec<f64> = (0..48).map(|at| 500.0 + 5.0 * f64::from(at)).collect();
        let left = without_load(&values, &loads);
        assert!(left[47] - left[0] > 150.0, "{left:?}");
    }
}
