//! Zipf's law: the k-th most popular of n bodies is asked for in proportion to 1 / k^s.

/// Ranks from 0, drawn by Zipf's law.
pub struct Zipf {
    /// Probability of a rank or any before it.
    cumulated: Vec<f64>,
}

impl Zipf {
    /// Of `count` ranks with exponent `exponent`; 0 makes all alike.
    pub fn new(count: u64, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = (1..=count.max(1))
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        cumulated.iter_mut().for_each(|value| *value /= sum);
        Self { cumulated }
    }

    /// The rank for a number drawn evenly from 0 to 1.
    pub fn rank(&self, even: f64) -> u64 {
        self.cumulated.partition_point(|value| *value < even).min(self.cumulated.len() - 1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_half_as_popular_as_the_first() {
        let zipf = Zipf::new(1000, 1.0);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut counts = [0u32; 1000];
        for _ in 0..200_000 {
            counts[zipf.rank(rng.f64()) as usize] += 1;
        }
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
        assert!(counts[0] > counts[9] && counts[9] > counts[99]);
        assert_eq!(Zipf::new(4, 0.0).rank(0.6), 2);
    }
}
