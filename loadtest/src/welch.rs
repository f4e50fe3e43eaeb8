//! Whether two sets of repeated runs differ by more than chance: Welch's t-test, for means of samples
//! whose variances differ (B. L. Welch, Biometrika 34, 1947).

/// Mean and spread of repeated runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// How many.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample variance; 0 with one run.
    pub variance: f64,
}

impl Sample {
    /// Of values.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / (count as f64).max(1.0);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { count, mean, variance: if count > 1 { squares / (count - 1) as f64 } else { 0.0 } }
    }

    /// Standard deviation.
    pub fn deviation(&self) -> f64 {
        self.variance.sqrt()
    }
}

/// Probability of a difference at least this large if there were none: two-sided. `None` when one
/// side has a single run, or nothing varies.
pub fn p_value(a: &Sample, b: &Sample) -> Option<f64> {
    if a.count < 2 || b.count < 2 {
        return None;
    }
    let (va, vb) = (a.variance / a.count as f64, b.variance / b.count as f64);
    if va + vb <= 0.0 {
        return None;
    }
    let t = (a.mean - b.mean) / (va + vb).sqrt();
    // Welch–Satterthwaite.
    let freedom = (va + vb).powi(2) / (va.powi(2) / (a.count - 1) as f64 + vb.powi(2) / (b.count - 1) as f64);
    Some(incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t)))
}

/// Regularised incomplete beta function (DLMF 8.17.22, a continued fraction).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast on this side; the other follows by symmetry (8.17.4).
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    front * fraction(a, b, x)
}

/// Lentz's method.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for step in 1..300 {
        let m = f64::from(step);
        for term in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            result *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    result
}

/// Lanczos's approximation, g = 7, good to fifteen digits for positive numbers.
fn ln_gamma(x: f64) -> f64 {
    const C: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let t = x + 7.5;
    let sum: f64 = C[0] + C.iter().enumerate().skip(1).map(|(i, c)| c / (x + i as f64)).sum::<f64>();
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_tables_of_students_distribution() {
        // Two-sided critical values at 5 %: t = 2.776 with 4 degrees of freedom, 2.228 with 10.
        for (freedom, t) in [(4.0, 2.776_445), (10.0, 2.228_139), (1.0, 12.706_205)] {
            let p = incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t));
            assert!((p - 0.05).abs() < 1e-6, "{freedom}: {p}");
        }
    }

    #[test]
    fn agrees_with_numerical_integration() {
        // t = -2.96382, 27.58791 degrees of freedom; the density integrated by Simpson's rule in
        // 400,000 steps gives p = 0.006196483.
        let a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
        let b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 30.5];
        let p = p_value(&Sample::of(&a), &Sample::of(&b)).unwrap();
        assert!((p - 0.006_196_483).abs() < 1e-8, "{p}");
        assert_eq!(p_value(&Sample::of(&[1.0]), &Sample::of(&b)), None);
        assert_eq!(p_value(&Sample::of(&a), &Sample::of(&a)).map(|p| p > 0.999), Some(true));
    }
}
