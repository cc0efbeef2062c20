//! Random numbers as a function of (seed, stream name, n): nothing is drawn from a common source, so that one point
//! more changes no other.

use hilrig_wire::random::{STEP, hash, mix};

/// The stream of a name.
pub(crate) fn stream(seed: u64, name: &str) -> u64 {
    stir(hash(name) ^ stir(seed))
}

fn stir(z: u64) -> u64 {
    mix(z.wrapping_add(STEP))
}

fn nth(stream: u64, n: u64) -> u64 {
    stir(stream.wrapping_add(n.wrapping_mul(0xD1B5_4A32_D192_ED03)))
}

/// From 0 to below 1.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// From -1 to below 1, evenly.
pub(crate) fn even(stream: u64, n: u64) -> f64 {
    unit(nth(stream, n)) * 2.0 - 1.0
}

/// Normally spread with deviation 1 (Box and Muller).
pub(crate) fn normal(stream: u64, n: u64) -> f64 {
    let (a, b) = (nth(stream, n), nth(!stream, n));
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - unit(a)));
    radius * libm::cos(std::f64::consts::TAU * unit(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_as_they_say() {
        let s = stream(7, "pump.level");
        let n = 20_000;
        let mean = |f: &dyn Fn(u64) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        assert!(mean(&|i| even(s, i)).abs() < 0.02);
        assert!((mean(&|i| even(s, i).abs()) - 0.5).abs() < 0.02);
        assert!(mean(&|i| normal(s, i)).abs() < 0.03);
        assert!((mean(&|i| normal(s, i) * normal(s, i)) - 1.0).abs() < 0.05);
        assert!((0..n).all(|i| (-1.0..1.0).contains(&even(s, i)) && normal(s, i).is_finite()));
    }

    #[test]
    fn streams_differ_by_name_and_seed_and_stay_as_they_are() {
        assert_ne!(stream(1, "a"), stream(1, "b"));
        assert_ne!(stream(1, "a"), stream(2, "a"));
        // Logs of old runs are compared with new ones: these may never change.
        assert_eq!(even(stream(1, "pump.level"), 3).to_bits(), 4_604_413_018_143_857_580);
        assert_eq!(normal(stream(1, "pump.level"), 3).to_bits(), 13_830_661_832_822_928_914);
    }
}
